//! The links to the next page of a listing, as paths on the registry's API host.
//!
//! Must never drop the link to a next page in silence: without it, a list looks complete.

use crate::upstream::error::UpstreamError;
use crate::upstream::http::redirect::RedirectChain;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::uri::HttpUri;
use docxy_protocol::web_link;
use http::HeaderMap;

/// Resolves the links of a listing's response, and drops those that lead elsewhere.
///
/// # Errors
/// If one of these may be the next page: clients would take the first pages for the whole list.
pub(super) fn resolve(hop: Hop, headers: &mut HeaderMap, chain: &RedirectChain) -> Result<(), UpstreamError> {
    let dropped = web_link::rewrite(headers, |target| api_path(chain, &chain.responded.resolve(target)?));
    if dropped.next_page {
        let detail = "the next page of this list is not on the registry's API host, or its Link cannot be read, \
                      so the list would lack its end";
        return Err(UpstreamError::new(hop, FaultKind::RedirectRefused, detail));
    }
    if dropped.count > 0 {
        tracing::info!(links = dropped.count, "dropped links of a list that lead to no page of the registry");
    }
    Ok(())
}

/// The path and query on the API host with which a client gets this page.
fn api_path(chain: &RedirectChain, page: &HttpUri) -> Option<Vec<u8>> {
    let RedirectChain { requested, responded } = chain;
    if page.has_host_of(responded) && page.path() == responded.path() {
        // After a redirect, the path that a client knows is that of the request.
        let query = page.query().map(|query| [b"?", query].concat());
        return Some([requested.path(), &query.unwrap_or_default()].concat());
    }
    (page.has_host_of(requested) && page.path().starts_with(b"/v2/")).then(|| page.path_and_query())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header;

    const REQUESTED: &str = "https://registry.example/v2/a/b/tags/list?n=2";

    fn resolved(requested: &str, responded: &str, line: &str) -> Result<String, FaultKind> {
        let uri = |text: &str| HttpUri::parse(text.as_bytes()).unwrap();
        let chain = RedirectChain { requested: uri(requested), responded: uri(responded) };
        let mut headers = HeaderMap::new();
        headers.insert(header::LINK, line.parse().unwrap());
        resolve(Hop::Registry, &mut headers, &chain).map_err(|error| error.fault.kind)?;
        Ok(headers.get(header::LINK).map_or_else(String::new, |line| line.to_str().unwrap().to_owned()))
    }

    #[test]
    fn links_become_paths_on_the_api_host() {
        let path = "/v2/a/b/tags/list?last='x'&n=2";
        for target in [
            path,
            "?last='x'&n=2",
            "list?last='x'&n=2",
            "../../b/tags/./list?last='x'&n=2",
            "//registry.example/v2/a/b/tags/list?last='x'&n=2",
            "https://registry.example/v2/a/b/tags/list?last='x'&n=2",
            "http://REGISTRY.example:80/v2/a/b/tags/list?last='x'&n=2#x",
            "https://registry.example:443/v2/a/b/tags/list?last='x'&n=2",
        ] {
            let line = format!("<{target}>; rel=next");
            assert_eq!(resolved(REQUESTED, REQUESTED, &line), Ok(format!("<{path}>; rel=next")), "{target}");
        }
    }

    #[test]
    fn after_a_redirect_the_next_page_is_that_of_the_request() {
        let responded = "https://other.example/v2/org/a/b/tags/list?n=2";
        for target in
            ["?last=x", "/v2/org/a/b/tags/list?last=x", "https://other.example/v2/org/a/b/tags/list?last=x"]
        {
            let line = format!("<{target}>; rel=next");
            let expected = Ok("</v2/a/b/tags/list?last=x>; rel=next".to_owned());
            assert_eq!(resolved(REQUESTED, responded, &line), expected, "{target}");
        }
        let elsewhere = "</v2/other/tags/list?last=x>; rel=next";
        assert_eq!(resolved(REQUESTED, responded, elsewhere), Err(FaultKind::RedirectRefused));
    }

    #[test]
    fn a_next_page_elsewhere_is_an_error_and_another_link_is_dropped() {
        for target in
            ["https://evil.example/v2/a/b/tags/list?last=x", "/other?last=x", "mailto:a@b", "https://"]
        {
            let line = format!("<{target}>; rel=\"last next\"");
            assert_eq!(resolved(REQUESTED, REQUESTED, &line), Err(FaultKind::RedirectRefused), "{target}");
            let line = format!("<{target}>; rel=first, <?n=3>; rel=next");
            let expected = Ok("</v2/a/b/tags/list?n=3>; rel=next".to_owned());
            assert_eq!(resolved(REQUESTED, REQUESTED, &line), expected, "{target}");
        }
        assert_eq!(resolved(REQUESTED, REQUESTED, "</x; rel=next"), Err(FaultKind::RedirectRefused));
        assert_eq!(resolved(REQUESTED, REQUESTED, "nonsense"), Ok(String::new()));
    }
}
