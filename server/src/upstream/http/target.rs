//! The URL of one request: the host as the URL parser reads it, for the guard, and path and query as they were
//! written, for the request line. A CDN's signature may cover every byte of these.
//!
//! Must never let guard and request line name different hosts: both get the parsed one.

use crate::upstream::error::UpstreamError;
use bytes::Bytes;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::uri::HttpUri;
use http::uri::{Authority, PathAndQuery, Scheme};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use url::{Position, Url};

/// What may stand in no request line. `hyper` refuses some of it; no server can tell it from its encoded form.
const NOT_IN_A_URI: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A URL that a request is sent to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    as_written: HttpUri,
    /// The URL without path and query.
    origin: Url,
    uri: http::Uri,
}

impl Target {
    /// The target of a URL that was made here.
    ///
    /// # Errors
    /// If it is no `http` or `https` URL.
    pub(crate) fn of(url: &Url) -> Result<Self, UpstreamError> {
        let parsed = HttpUri::parse(url.as_str().as_bytes()).and_then(Self::new);
        parsed.ok_or_else(|| UpstreamError::internal(format!("{} is no URL", &url[..Position::BeforePath])))
    }

    /// What a reference in the response of `hop` leads to from here.
    ///
    /// # Errors
    /// If it is no URL of a host.
    pub(crate) fn resolve(&self, hop: Hop, reference: &[u8]) -> Result<Self, UpstreamError> {
        self.as_written.resolve(reference).and_then(Self::new).ok_or_else(|| {
            UpstreamError::new(hop, FaultKind::MalformedResponse, "a redirect to something that is no URL")
        })
    }

    fn new(as_written: HttpUri) -> Option<Self> {
        let authority = std::str::from_utf8(as_written.authority()).ok()?;
        if authority.contains(|c: char| c == '\\' || c.is_whitespace() || c.is_control()) {
            // The URL parser would end the host there, or remove it.
            return None;
        }
        let scheme = if as_written.is_https() { Scheme::HTTPS } else { Scheme::HTTP };
        let origin = Url::parse(&format!("{scheme}://{authority}/")).ok()?;
        if origin.path() != "/" || origin.query().is_some() || origin.fragment().is_some() {
            return None;
        }
        let host = &origin[Position::BeforeHost..Position::AfterPort];
        let mut parts = http::uri::Parts::default();
        parts.authority = Some(host.parse::<Authority>().ok()?);
        parts.path_and_query = Some(request_target(as_written.path_and_query())?);
        parts.scheme = Some(scheme);
        let uri = http::Uri::from_parts(parts).ok()?;
        Some(Self { as_written, origin, uri })
    }

    /// The URL without path and query, with user information if there is any.
    pub(crate) const fn origin(&self) -> &Url {
        &self.origin
    }

    /// The URL for the request line and the field `Host`.
    pub(crate) const fn uri(&self) -> &http::Uri {
        &self.uri
    }

    /// The URL as it was written.
    pub(crate) const fn as_written(&self) -> &HttpUri {
        &self.as_written
    }
}

/// Path and query as they were written. If `hyper` refuses that, without the bytes that may not stand there.
fn request_target(as_written: Vec<u8>) -> Option<PathAndQuery> {
    let bytes = Bytes::from(as_written);
    PathAndQuery::from_maybe_shared(bytes.clone()).ok().or_else(|| {
        let encoded = percent_encode(&bytes, NOT_IN_A_URI).to_string();
        encoded.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(reference: &[u8]) -> Option<Target> {
        let base = Target::of(&Url::parse("https://registry.example/v2/a/blobs/x?y").unwrap()).unwrap();
        base.resolve(Hop::Registry, reference).ok()
    }

    #[test]
    fn path_and_query_go_out_as_they_were_written() {
        for path in [
            "/a'b?sig='x'%27%2f%2F+~!$&()*,;=:@",
            "/{a}|b\"c\\?{a}|b\\^`",
            "/ü?ü",
            "/a//b/%2e%2e/c?d/../e",
            "/?",
            "/?a?b",
        ] {
            for reference in [path.to_owned(), format!("https://cdn.example{path}#fragment")] {
                let target = resolved(reference.as_bytes()).unwrap();
                assert_eq!(target.uri().path_and_query().unwrap().as_str(), path, "{reference}");
            }
        }
        let sent = |reference: &[u8]| resolved(reference).unwrap().uri().to_string();
        assert_eq!(sent(b"//CDN.example:443?a=1#b"), "https://cdn.example/?a=1");
        assert_eq!(sent(b"?z"), "https://registry.example/v2/a/blobs/x?z");
        // These cannot stand in a request line.
        assert_eq!(sent(b"/a b?c d\t\"<>'"), "https://registry.example/a%20b?c%20d%09%22%3C%3E'");
        assert_eq!(sent(b"/a?\xff'"), "https://registry.example/a?%FF'");
    }

    #[test]
    fn guard_and_request_line_have_the_same_host() {
        for reference in [
            "https://cdn.example/x",
            "https://CDN.EXAMPLE:8443",
            "//0x7f000001/x",
            "https://127.1",
            "https://[::1]:1/x",
            "https://b\u{fc}cher.example/",
            "https://user:password@cdn.example/",
            "https://cdn.example:443@evil.example/",
            "http://cdn.example/",
        ] {
            let target = resolved(reference.as_bytes()).unwrap();
            let (url, uri) = (target.origin(), target.uri());
            assert_eq!(url.host_str(), uri.host(), "{reference}");
            assert_eq!(url.port(), uri.port_u16(), "{reference}");
        }
        for reference in [
            &b"https://cdn.example\\@evil.example/"[..],
            b"https://cdn.example\t.evil.example/",
            b"https://cdn example/",
            b"https://\xff/",
            b"https://%00/",
            b"https://cdn.example:99999/",
            b"https://",
            b"https:/x",
            b"ftp://cdn.example/",
        ] {
            assert!(resolved(reference).is_none(), "{}", String::from_utf8_lossy(reference));
        }
    }
}
