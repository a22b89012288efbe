//! Replaces the parts of a response head that would lead an engine past this client: the realm of tokens, and
//! the next page of a listing.

use super::host_header::LocalHost;
use docxy_protocol::challenge::Challenge;
use docxy_protocol::name::Registry;
use docxy_protocol::request::Operation;
use docxy_protocol::route::NamedBy;
use http::{HeaderMap, HeaderValue, header};

/// The registry and the repository that an engine's request is for.
#[derive(Debug)]
pub(super) struct RequestTarget {
    registry: Registry,
    /// The repository as the engine names it in the scope of a token request.
    repository: Option<String>,
}

impl RequestTarget {
    pub(super) fn new(registry: &Registry, operation: &Operation, named_by: NamedBy) -> Self {
        let repository = operation.repository().map(|repository| match named_by {
            NamedBy::Path if !registry.is_docker_hub() => format!("{registry}/{repository}"),
            _ => repository.to_string(),
        });
        Self { registry: registry.clone(), repository }
    }

    pub(super) const fn registry(&self) -> &Registry {
        &self.registry
    }
}

/// Challenges of one response that reach an engine. Registries send one or two; a hostile one could put
/// thousands into one field line.
const CHALLENGES_MAX: usize = 8;

/// Points every challenge of an answer to the realm of the target's registry on this client, and limits
/// its scopes to pulling from the target's repository (see [`Challenge::without_foreign_credentials`]).
/// Drops challenges beyond [`CHALLENGES_MAX`].
pub(super) fn challenges(headers: &mut HeaderMap, host: &LocalHost, target: &RequestTarget) {
    let realm = host.realm(&target.registry);
    let theirs: Vec<_> = Challenge::of_response(headers).take(CHALLENGES_MAX).collect();
    headers.remove(header::WWW_AUTHENTICATE);
    for challenge in theirs {
        let challenge = challenge.without_foreign_credentials(&realm, target.repository.as_deref());
        if let Some(value) = challenge.to_header() {
            headers.append(header::WWW_AUTHENTICATE, value);
        }
    }
}

/// Makes the `Link` of a listing (distribution spec, "Listing Tags") lead to this client. A link to elsewhere
/// is dropped: the origin is blocked.
pub(super) fn links(headers: &mut HeaderMap, registry: &Registry) {
    for line in take(headers, &header::LINK) {
        if let Some(value) = line.to_str().ok().and_then(|text| local_link(text, registry)) {
            headers.append(header::LINK, value);
        }
    }
}

fn local_link(text: &str, registry: &Registry) -> Option<HeaderValue> {
    let (target, parameters) = text.trim().strip_prefix('<')?.split_once('>')?;
    let path = match target.split_once("://") {
        Some((_, rest)) => &rest[rest.find('/')?..],
        None => target,
    };
    let rest = path.strip_prefix("/v2/")?;
    // An engine that resolves dot segments (RFC 3986, section 5.2.4) must not leave the registry's path.
    let (name, _) = rest.split_once('?').unwrap_or((rest, ""));
    if name.split('/').any(|segment| matches!(&*segment.to_ascii_lowercase().replace("%2e", "."), "." | ".."))
    {
        return None;
    }
    let prefix = if registry.is_docker_hub() { String::new() } else { format!("{registry}/") };
    HeaderValue::from_str(&format!("</v2/{prefix}{rest}>{parameters}")).ok()
}

fn take(headers: &mut HeaderMap, name: &header::HeaderName) -> Vec<HeaderValue> {
    match headers.entry(name) {
        header::Entry::Occupied(entry) => entry.remove_entry_mult().1.collect(),
        header::Entry::Vacant(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::listing_query::ListingQuery;

    fn target(registry: &str, repository: &str, named_by: NamedBy) -> RequestTarget {
        let operation = Operation::Tags {
            repository: repository.parse().unwrap(),
            page: ListingQuery::from_query(None).unwrap(),
        };
        RequestTarget::new(&registry.parse().unwrap(), &operation, named_by)
    }

    fn rewritten(lines: &[&str], target: &RequestTarget) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "127.0.0.1:5080".parse().unwrap());
        let host = LocalHost::of(&headers, &[]).unwrap();
        for line in lines {
            headers.append(header::WWW_AUTHENTICATE, line.parse().unwrap());
        }
        challenges(&mut headers, &host, target);
        let lines = headers.get_all(header::WWW_AUTHENTICATE).iter();
        lines.map(|line| line.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn only_the_realm_of_a_challenge_changes() {
        let theirs = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull",error="invalid_token""#;
        let ours = theirs.replace("https://auth.docker.io/token", "http://127.0.0.1:5080/auth/token");
        let lines =
            rewritten(&[theirs, r#"Basic realm="x""#], &target("docker.io", "a/b", NamedBy::Namespace));
        assert_eq!(lines, [ours.as_str(), r#"Basic realm="x""#]);
    }

    #[test]
    fn no_challenge_leads_to_another_registry_or_repository() {
        let hostile = r#"Bearer realm="http://127.0.0.1:5080/auth/token",service="registry.docker.io",scope="repository:alice/private:pull,push""#;
        let lines =
            [hostile, "Bearer realm=\"unclosed", &format!("{hostile}, {hostile}"), r#"Bearer realm="é""#];
        let realm = "http://127.0.0.1:5080/auth/token/evil.example";
        for (named_by, name) in [(NamedBy::Namespace, "x/y"), (NamedBy::Path, "evil.example/x/y")] {
            let ours = format!(
                r#"Bearer realm="{realm}",service="registry.docker.io",scope="repository:{name}:pull""#
            );
            // What cannot be read of a line is dropped.
            let bare = format!(r#"Bearer realm="{realm}""#);
            let expected = [&ours, &bare, &ours, &ours, &bare];
            assert_eq!(
                rewritten(&lines, &target("evil.example", "x/y", named_by)).iter().collect::<Vec<_>>(),
                expected
            );
        }
        let ping = RequestTarget::new(&"evil.example".parse().unwrap(), &Operation::Ping, NamedBy::Namespace);
        let ours = format!(r#"Bearer realm="{realm}",service="registry.docker.io""#);
        assert_eq!(rewritten(&[hostile], &ping), [ours]);
    }

    #[test]
    fn a_line_of_thousands_of_challenges_becomes_a_few_lines() {
        let target = target("evil.example", "x/y", NamedBy::Namespace);
        let line = "Bearer,".repeat(8000);
        assert_eq!(rewritten(&[&line, &line], &target).len(), CHALLENGES_MAX);
    }

    #[test]
    fn the_next_page_of_a_listing_leads_to_this_client() {
        for (theirs, registry, ours) in [
            (
                "</v2/a/tags/list?last=x&n=2>; rel=\"next\"",
                "docker.io",
                Some("</v2/a/tags/list?last=x&n=2>; rel=\"next\""),
            ),
            (
                "<https://ghcr.io/v2/a/b/tags/list?n=2>; rel=\"next\"",
                "ghcr.io",
                Some("</v2/ghcr.io/a/b/tags/list?n=2>; rel=\"next\""),
            ),
            ("<https://elsewhere.example/list>; rel=\"next\"", "docker.io", None),
            ("<https://elsewhere.example>; rel=\"next\"", "docker.io", None),
            ("</v2/../../auth/token?ns=docker.io>; rel=\"next\"", "evil.example", None),
            ("</v2/a/%2E%2e/b/tags/list>; rel=\"next\"", "evil.example", None),
            ("nonsense", "docker.io", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::LINK, theirs.parse().unwrap());
            links(&mut headers, &registry.parse().unwrap());
            assert_eq!(headers.get(header::LINK).map(|v| v.to_str().unwrap()), ours);
        }
    }
}
