//! `Link` and the references in it: every link is kept or counted, a written link is parsed as itself, and a
//! resolved reference keeps its query and stays below the root of one host.
#![no_main]

use docxy_protocol::uri::HttpUri;
use docxy_protocol::web_link::{self, WebLink};
use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let base = HttpUri::parse(b"https://registry.example/v2/a/tags/list?n=1").unwrap();
    let links: Vec<_> = WebLink::parse_all(line).collect();
    for link in links.iter().flatten() {
        let written = link.with_target(link.target());
        assert_eq!(WebLink::parse_all(&written).collect::<Vec<_>>(), [Ok(link.clone())]);
        check(&base, link.target());
    }
    check(&base, line);
    if let Ok(value) = HeaderValue::from_bytes(line) {
        let mut headers = HeaderMap::new();
        headers.insert(header::LINK, value);
        let dropped = web_link::rewrite(&mut headers, |target| Some(target.to_owned()));
        let kept = headers.get(header::LINK).map_or(0, |line| WebLink::parse_all(line.as_bytes()).count());
        assert_eq!(kept + dropped.count, links.len());
    }
});

fn check(base: &HttpUri, reference: &[u8]) {
    let Some(uri) = base.resolve(reference) else { return };
    assert!(!uri.authority().is_empty() && uri.path().starts_with(b"/"));
    assert!(uri.path().split(|byte| *byte == b'/').all(|segment| segment != b"." && segment != b".."));
    if let Some(query) = uri.query().filter(|query| !query.is_empty() && Some(*query) != base.query()) {
        assert!(reference.windows(query.len()).any(|window| window == query), "the query is not changed");
    }
    let scheme: &[u8] = if uri.is_https() { b"https://" } else { b"http://" };
    let written = [scheme, uri.authority(), &uri.path_and_query()].concat();
    assert_eq!(HttpUri::parse(&written), Some(uri));
}
