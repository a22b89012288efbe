//! What the fuzz targets reach in here (`tests/fuzz`). Built for them alone, and must stay that way.

use super::browser::refuse_foreign_pages;
use super::host::LocalHost;
use super::rewrite;
use docxy_protocol::name::Registry;
use http::{HeaderMap, HeaderValue, Uri, header};

/// Reads the lines of `text` as the fields of a request and its answer that name places: whatever
/// they say, only our own names are let in, and only we are named to the engine.
///
/// # Panics
/// Where that isn't so.
pub fn heads(text: &str) {
    let mut lines = text.split('\n').map(|line| HeaderValue::from_str(line).ok());
    let mut headers = HeaderMap::new();
    let fields = [header::HOST, header::ORIGIN, "sec-fetch-site".parse().expect("a header's name")];
    for (name, value) in fields.into_iter().zip(&mut lines) {
        headers.extend(value.filter(|value| !value.is_empty()).map(|value| (name, value)));
    }
    let Ok(host) = LocalHost::of(&headers, &[]) else { return };
    let realm: Uri = host.realm().parse().expect("a realm is a URL");
    assert_eq!(realm.path(), "/auth/token");
    let _ = refuse_foreign_pages(&headers, &host);

    let mut answer = HeaderMap::new();
    for (name, value) in [header::WWW_AUTHENTICATE, header::LINK].into_iter().cycle().zip(lines.take(6)) {
        answer.extend(value.map(|value| (name, value)));
    }
    rewrite::challenges(&mut answer, &host);
    rewrite::links(&mut answer, &Registry::docker_hub());
    for link in answer.get_all(header::LINK) {
        assert!(link.as_bytes().starts_with(b"</v2/"), "{link:?}");
    }
    for line in answer.get_all(header::WWW_AUTHENTICATE) {
        let again =
            docxy_protocol::challenge::Challenge::parse_all(line.to_str().expect("it was written as text"));
        for challenge in again.expect("it was written as a challenge") {
            let realm = challenge.parameter("realm");
            assert!(!challenge.is_bearer() || realm == Some(&host.realm()), "{line:?}");
        }
    }
}
