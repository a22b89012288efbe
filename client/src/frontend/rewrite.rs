//! Replaces the parts of a response head that would lead an engine past this client: the realm of tokens, and
//! the next page of a listing.
//!
//! Must never drop the next page of a list in silence: the engine would take the first pages for the whole list.

use docxy_host::net::web_origin::LocalHost;
use docxy_protocol::challenge::Challenge;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::name::Registry;
use docxy_protocol::request::Operation;
use docxy_protocol::route::NamedBy;
use docxy_protocol::uri::HttpUri;
use docxy_protocol::web_link;
use http::{HeaderMap, StatusCode, header};

/// What an engine's request is for, and how the engine names it.
#[derive(Debug)]
pub(super) struct RequestTarget {
    registry: Registry,
    named_by: NamedBy,
    /// The repository as the engine names it in the scope of a token request.
    repository: Option<String>,
    /// The path and query of a listing on the registry.
    listing: Option<String>,
}

impl RequestTarget {
    pub(super) fn new(registry: &Registry, operation: &Operation, named_by: NamedBy) -> Self {
        let is_part_of_name = named_by.path && !named_by.namespace && !registry.is_docker_hub();
        let repository = operation.repository().map(|repository| {
            if is_part_of_name { format!("{registry}/{repository}") } else { repository.to_string() }
        });
        let is_listing = matches!(operation, Operation::Tags { .. } | Operation::Referrers { .. });
        let listing = operation.path().filter(|_| is_listing);
        Self { registry: registry.clone(), named_by, repository, listing }
    }
}

/// The realm for the challenges of a registry. Its path alone names the registry of a token request.
pub(super) fn realm(host: &LocalHost, registry: &Registry) -> String {
    let of_docker_hub = format!("{}/auth/token", host.origin());
    if registry.is_docker_hub() { of_docker_hub } else { format!("{of_docker_hub}/{registry}") }
}

/// Challenges of one response that reach an engine. Registries send one or two; a hostile one could put
/// thousands into one field line.
const CHALLENGES_MAX: usize = 8;

/// Points every challenge of an answer to the realm of the target's registry on this client, and limits
/// its scopes to pulling from the target's repository (see [`Challenge::without_foreign_credentials`]).
/// Drops challenges beyond [`CHALLENGES_MAX`].
pub(super) fn challenges(headers: &mut HeaderMap, host: &LocalHost, target: &RequestTarget) {
    let realm = realm(host, &target.registry);
    let theirs: Vec<_> = Challenge::of_response(headers).take(CHALLENGES_MAX).collect();
    headers.remove(header::WWW_AUTHENTICATE);
    for challenge in theirs {
        let challenge = challenge.without_foreign_credentials(&realm, target.repository.as_deref());
        if let Some(value) = challenge.to_header() {
            headers.append(header::WWW_AUTHENTICATE, value);
        }
    }
}

/// Makes the links of a listing lead to this client, in the form in which the engine named the registry. Other
/// links are dropped: their origin is blocked.
///
/// # Errors
/// If the next page of the listing is not at this registry.
pub(super) fn links(
    headers: &mut HeaderMap,
    status: StatusCode,
    target: &RequestTarget,
) -> Result<(), Fault> {
    let dropped = web_link::rewrite(headers, |reference| target.local_path(reference));
    if dropped.next_page && status.is_success() && target.listing.is_some() {
        let detail = "the next page of this list is not at this registry, so the list would lack its end";
        return Err(Fault::new(Hop::Registry, FaultKind::RedirectRefused, detail));
    }
    if dropped.count > 0 {
        tracing::info!(
            links = dropped.count,
            "dropped links of a response that do not lead to this registry"
        );
    }
    Ok(())
}

impl RequestTarget {
    /// The path and query on this client of what a listing's response refers to.
    fn local_path(&self, reference: &[u8]) -> Option<Vec<u8>> {
        let registry = &self.registry;
        let base = HttpUri::parse(format!("https://{registry}{}", self.listing.as_ref()?).as_bytes())?;
        let page = base.resolve(reference)?;
        let rest = page.path().strip_prefix(b"/v2/").filter(|_| page.has_host_of(&base))?;
        // An engine may take these for dot segments, and must not leave the registry's path.
        let text = std::str::from_utf8(rest).ok()?.to_ascii_lowercase().replace("%2e", ".");
        if text.split('/').any(|segment| matches!(segment, "." | "..")) {
            return None;
        }
        let prefix = if self.named_by.path { format!("/v2/{registry}/") } else { "/v2/".to_owned() };
        let namespace = self.named_by.namespace.then(|| format!("ns={registry}"));
        let pairs = [page.query(), namespace.as_deref().map(str::as_bytes)];
        let pairs: Vec<&[u8]> = pairs.into_iter().flatten().filter(|pair| !pair.is_empty()).collect();
        let query = if pairs.is_empty() { Vec::new() } else { [b"?", &pairs.join(&b'&')[..]].concat() };
        Some([prefix.as_bytes(), rest, &query].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_host::net::web_origin::Scheme;
    use docxy_protocol::listing_query::ListingQuery;
    use http::HeaderValue;

    const NAMESPACE: NamedBy = NamedBy { namespace: true, path: false };
    const PATH: NamedBy = NamedBy { namespace: false, path: true };
    const NEITHER: NamedBy = NamedBy { namespace: false, path: false };
    const BOTH: NamedBy = NamedBy { namespace: true, path: true };

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
        let host = LocalHost::of(Scheme::Http, &headers, &[], None).unwrap();
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
        let lines = rewritten(&[theirs, r#"Basic realm="x""#], &target("docker.io", "a/b", NAMESPACE));
        assert_eq!(lines, [ours.as_str(), r#"Basic realm="x""#]);
    }

    #[test]
    fn no_challenge_leads_to_another_registry_or_repository() {
        let hostile = r#"Bearer realm="http://127.0.0.1:5080/auth/token",service="registry.docker.io",scope="repository:alice/private:pull,push""#;
        let lines =
            [hostile, "Bearer realm=\"unclosed", &format!("{hostile}, {hostile}"), r#"Bearer realm="é""#];
        let realm = "http://127.0.0.1:5080/auth/token/evil.example";
        for (named_by, name) in [(NAMESPACE, "x/y"), (BOTH, "x/y"), (PATH, "evil.example/x/y")] {
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
        let ping = RequestTarget::new(&"evil.example".parse().unwrap(), &Operation::Ping, NAMESPACE);
        let ours = format!(r#"Bearer realm="{realm}",service="registry.docker.io""#);
        assert_eq!(rewritten(&[hostile], &ping), [ours]);
    }

    #[test]
    fn a_line_of_thousands_of_challenges_becomes_a_few_lines() {
        let target = target("evil.example", "x/y", NAMESPACE);
        let line = "Bearer,".repeat(8000);
        assert_eq!(rewritten(&[&line, &line], &target).len(), CHALLENGES_MAX);
    }

    fn link(line: &str, registry: &str, named_by: NamedBy) -> Result<String, Fault> {
        let mut headers = HeaderMap::new();
        headers.insert(header::LINK, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        links(&mut headers, StatusCode::OK, &target(registry, "a/b", named_by))?;
        let line = headers.get(header::LINK);
        Ok(line.map_or_else(String::new, |line| line.to_str().unwrap().to_owned()))
    }

    #[test]
    fn the_next_page_of_a_listing_is_named_as_the_engine_named_the_list() {
        for (registry, named_by, ours) in [
            ("docker.io", NEITHER, "/v2/a/b/tags/list?last=x&n='2'"),
            ("docker.io", PATH, "/v2/docker.io/a/b/tags/list?last=x&n='2'"),
            ("ghcr.io", NAMESPACE, "/v2/a/b/tags/list?last=x&n='2'&ns=ghcr.io"),
            ("ghcr.io", PATH, "/v2/ghcr.io/a/b/tags/list?last=x&n='2'"),
            ("host:5000", BOTH, "/v2/host:5000/a/b/tags/list?last=x&n='2'&ns=host:5000"),
        ] {
            for theirs in ["/v2/a/b/tags/list", "", "list", &format!("https://{registry}/v2/a/b/tags/list")] {
                let line = format!("<{theirs}?last=x&n='2'>; rel=\"next\"");
                let expected = format!("<{ours}>; rel=\"next\"");
                assert_eq!(link(&line, registry, named_by), Ok(expected), "{line}");
            }
        }
        let two = "</v2/a/b/tags/list>; rel=\"first\", </v2/a/b/tags/list?last=x>; rel=next";
        let ours =
            "</v2/a/b/tags/list?ns=ghcr.io>; rel=\"first\", </v2/a/b/tags/list?last=x&ns=ghcr.io>; rel=next";
        assert_eq!(link(two, "ghcr.io", NAMESPACE), Ok(ours.to_owned()));
    }

    #[test]
    fn a_next_page_elsewhere_is_an_error() {
        for theirs in [
            "https://elsewhere.example/v2/a/b/tags/list?last=x",
            "https://elsewhere.example",
            "//elsewhere.example/v2/a",
            "/v2/../auth/token?ns=docker.io",
            "/v2/a/%2E%2e/b/tags/list",
            "/auth/token",
            "mailto:a@b",
        ] {
            let error = link(&format!("<{theirs}>; rel=\"next\""), "evil.example", NAMESPACE).unwrap_err();
            assert_eq!((error.hop, error.kind), (Hop::Registry, FaultKind::RedirectRefused), "{theirs}");
            assert_eq!(link(&format!("<{theirs}>; rel=first"), "evil.example", NAMESPACE), Ok(String::new()));
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::LINK, "<https://elsewhere.example/>; rel=next".parse().unwrap());
        let ping = RequestTarget::new(&Registry::docker_hub(), &Operation::Ping, NEITHER);
        links(&mut headers, StatusCode::OK, &ping).unwrap();
        assert!(headers.is_empty(), "no list: the link is dropped");
    }
}
