//! What the fuzz targets use (`tests/fuzz`). Compiled for them only, and must stay so.

use super::rewrite::{self, RequestTarget};
use docxy_host::net::web_origin::{LocalHost, Scheme, refuse_foreign_pages};
use docxy_protocol::challenge::Challenge;
use docxy_protocol::listing_query::ListingQuery;
use docxy_protocol::name::Registry;
use docxy_protocol::request::Operation;
use docxy_protocol::route::NamedBy;
use docxy_protocol::web_link::WebLink;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

/// Parses the lines of `text` as the fields of a request and its response that name hosts. Only the names of
/// this client are accepted, and only this client is named to the engine.
///
/// # Panics
/// If another name passes.
pub fn heads(text: &str) {
    let mut lines = text.split('\n').map(|line| HeaderValue::from_str(line).ok());
    let mut headers = HeaderMap::new();
    let fields = [header::HOST, header::ORIGIN, "sec-fetch-site".parse().expect("a header's name")];
    for (name, value) in fields.into_iter().zip(&mut lines) {
        headers.extend(value.filter(|value| !value.is_empty()).map(|value| (name, value)));
    }
    let Ok(host) = LocalHost::of(Scheme::Http, &headers, &[], None) else { return };
    let _ = refuse_foreign_pages(&headers, &host);

    let lines: Vec<HeaderValue> = lines.take(6).flatten().collect();
    for (registry, path) in [("docker.io", "/auth/token"), ("ghcr.io:8443", "/auth/token/ghcr.io:8443")] {
        answer(&lines, &host, &registry.parse().expect("a registry"), path);
    }
}

/// Checks what an engine receives of the response of this registry to a request for `asked/for`.
fn answer(lines: &[HeaderValue], host: &LocalHost, registry: &Registry, path: &str) {
    let realm: Uri = rewrite::realm(host, registry).parse().expect("a realm is a URL");
    assert_eq!(realm.path(), path);
    let mut answer = HeaderMap::new();
    for (name, value) in [header::WWW_AUTHENTICATE, header::LINK].into_iter().cycle().zip(lines) {
        answer.append(name, value.clone());
    }
    let page = ListingQuery::from_query(None).expect("no query is a page");
    let operation = Operation::Tags { repository: "asked/for".parse().expect("a repository"), page };
    let target = RequestTarget::new(registry, &operation, NamedBy { namespace: true, path: true });
    rewrite::challenges(&mut answer, host, &target);
    let _ = rewrite::links(&mut answer, StatusCode::OK, &target);
    let prefix = format!("/v2/{registry}/");
    for link in answer.get_all(header::LINK).iter().flat_map(|line| WebLink::parse_all(line.as_bytes())) {
        let link = link.expect("it was written as a link");
        assert!(link.target().starts_with(prefix.as_bytes()), "{link:?}");
    }
    for line in answer.get_all(header::WWW_AUTHENTICATE) {
        for challenge in Challenge::parse_all(line) {
            let leads_here = challenge.parameter("realm") == Some(&rewrite::realm(host, registry));
            let is_title = !challenge.is_bearer()
                && !challenge.parameter("realm").unwrap_or_default().contains(['/', ':', '"', '\\']);
            assert!(leads_here || is_title, "{line:?}");
            for scope in challenge.parameter("scope").unwrap_or_default().split(' ') {
                assert!(
                    !scope.to_ascii_lowercase().starts_with("repository")
                        || scope.ends_with(":asked/for:pull")
                );
            }
        }
    }
}
