//! Which registry a token service belongs to, so that no registry can name another one's in its challenge.
//!
//! A registry would get tokens of that service, and the service credentials that are not for it.

use crate::settings::{RegistrySettings, Settings};
use docxy_protocol::name::Registry;
use url::{Host, Url};

/// The owners of token services, as one registry sees them: its own API, and those of the other listed registries.
#[derive(Debug)]
pub(in crate::upstream) struct TokenServiceOwners {
    own: Url,
    others: Vec<(Registry, Url)>,
}

impl TokenServiceOwners {
    /// As the registry of this entry sees them.
    pub(in crate::upstream) fn new(entry: &RegistrySettings, settings: &Settings) -> Self {
        let others = settings.registries.iter().filter(|other| other.name != entry.name);
        let others = others.map(|other| (other.name.clone(), other.api.clone()));
        // Docker Hub's is never another registry's, even if this server does not serve Docker Hub.
        let hub = Url::parse("https://registry-1.docker.io").ok().map(|api| (Registry::docker_hub(), api));
        let hub = hub.filter(|_| !entry.name.is_docker_hub());
        Self { own: entry.api.clone(), others: others.chain(hub).collect() }
    }

    /// The other registry that the token service at `realm` belongs to, unless it is this registry's too.
    pub(in crate::upstream) fn other_owner(&self, realm: &Url) -> Option<&Registry> {
        if realm.origin() == self.own.origin() {
            return None;
        }
        let find =
            |is_owned: fn(&Url, &Url) -> bool| self.others.iter().find(|(_, api)| is_owned(realm, api));
        let owner = find(|realm, api| realm.origin() == api.origin()).or_else(|| {
            let is_own = is_in_domain_of(realm, &self.own);
            find(is_in_domain_of).filter(|_| !is_own)
        });
        owner.map(|(name, _)| name)
    }
}

/// Whether a URL's host is an API's host, or in the domain above it: `auth.docker.io` and `registry-1.docker.io`.
fn is_in_domain_of(url: &Url, api: &Url) -> bool {
    match (url.host(), api.host()) {
        (Some(Host::Domain(host)), Some(Host::Domain(api))) => {
            let (host, api) = (host.trim_end_matches('.'), api.trim_end_matches('.'));
            // A top-level domain is not one owner's.
            let domain = api.split_once('.').map(|(_, domain)| domain).filter(|domain| domain.contains('.'));
            let domain = domain.unwrap_or(api);
            host == api
                || host == domain
                || host.strip_suffix(domain).is_some_and(|below| below.ends_with('.'))
        }
        (host, api) => host == api,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(own: &str, others: &[&str], realm: &str) -> Option<String> {
        let url = |text: &str| text.parse::<Url>().unwrap();
        let others =
            others.iter().map(|api| (url(api).host_str().unwrap().parse().unwrap(), url(api))).collect();
        let owners = TokenServiceOwners { own: url(own), others };
        owners.other_owner(&url(realm)).map(ToString::to_string)
    }

    #[test]
    fn a_token_service_in_the_domain_of_another_registry_is_that_registrys() {
        let others = ["https://ghcr.io", "https://registry.gitlab.com", "https://registry-1.docker.io"];
        for (realm, expected) in [
            ("https://evil.example/token", None),
            ("https://auth.elsewhere.example/token", None),
            ("https://ghcr.io/token", Some("ghcr.io")),
            ("https://GHCR.io./token", Some("ghcr.io")),
            ("https://ghcr.io:8443/token", Some("ghcr.io")),
            ("https://auth.ghcr.io/token", Some("ghcr.io")),
            ("https://notghcr.io/token", None),
            ("https://gitlab.com/jwt/auth", Some("registry.gitlab.com")),
            ("https://auth.docker.io/token", Some("docker.io")),
            ("https://docker.io.evil.example/token", None),
        ] {
            assert_eq!(owner("https://evil.example", &others, realm).as_deref(), expected, "{realm}");
        }
    }

    #[test]
    fn a_service_of_both_is_usable_unless_it_is_the_others_own_origin() {
        let others = ["https://mirror.corp.example", "https://registry.corp.example:6000"];
        for (realm, expected) in [
            ("https://auth.corp.example/token", None),
            ("https://registry.corp.example:5000/token", None),
            ("https://registry.corp.example:5001/token", None),
            ("https://registry.corp.example:6000/token", Some("registry.corp.example")),
            ("https://mirror.corp.example/token", Some("mirror.corp.example")),
        ] {
            let found = owner("https://registry.corp.example:5000", &others, realm);
            assert_eq!(found.as_deref(), expected, "{realm}");
        }
        let local = |realm| owner("https://127.0.0.1:5000", &["https://127.0.0.1:6000"], realm);
        assert_eq!(local("https://127.0.0.1:5001/token"), None);
        assert_eq!(local("https://127.0.0.1:6000/token").as_deref(), Some("127.0.0.1"));
    }
}
