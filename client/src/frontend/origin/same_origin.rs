//! Refuses requests that a web page makes a browser send.
//!
//! A page cannot read the responses, but its requests would use up the rate limit and reveal what runs here.
//! Browsers report the origin of a page and engines report none, so a missing field must never count against
//! a request.

use super::host_header::LocalHost;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::text::CleanText;
use http::{HeaderMap, HeaderName, header};

/// How the site of the page relates to this one (Fetch Metadata, "The Sec-Fetch-Site HTTP Request Header").
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a request of a foreign page, which includes other ports of this machine, links to this client,
/// frames, and CORS preflight requests. An address that a user typed and pages of this client are accepted.
///
/// # Errors
/// If a foreign page sent the request.
pub(crate) fn refuse_foreign_pages(headers: &HeaderMap, host: &LocalHost) -> Result<(), Fault> {
    let ours = host.origin();
    // RFC 6454, section 7. "null" is a hidden origin.
    let origin = headers.get_all(header::ORIGIN).iter().find(|origin| **origin != *ours);
    let mut sites = headers.get_all(&SEC_FETCH_SITE).iter();
    let site = sites.find(|site| !["none", "same-origin"].iter().any(|known| **site == **known));
    match origin.or(site) {
        None => Ok(()),
        Some(foreign) => {
            let shown = CleanText::<100>::new(String::from_utf8_lossy(foreign.as_bytes()));
            let detail =
                format!("a web page ({shown:?}) made a browser send this request; docxy serves engines only");
            Err(Fault::new(Hop::Engine, FaultKind::OriginNotServed, detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status of the refusal, for a request to `127.0.0.1:5080`.
    fn refusal(lines: &[(&str, &str)]) -> Option<u16> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "127.0.0.1:5080".parse().unwrap());
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let host = LocalHost::of(&headers, &[]).unwrap();
        refuse_foreign_pages(&headers, &host).err().map(|fault| fault.status().as_u16())
    }

    #[test]
    fn engines_users_and_own_pages_are_accepted() {
        for lines in [
            &[][..],
            &[("user-agent", "docker/29.0"), ("accept", "*/*")],
            &[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")],
            &[("sec-fetch-site", "same-origin")],
            &[("origin", "http://127.0.0.1:5080"), ("sec-fetch-site", "same-origin")],
        ] {
            assert_eq!(refusal(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn foreign_pages_are_refused() {
        for lines in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "")],
            // Another port is another origin, and so is another name of this machine.
            &[("origin", "http://127.0.0.1:8080")],
            &[("origin", "http://localhost:5080")],
            &[("origin", "https://127.0.0.1:5080")],
            &[("origin", "http://127.0.0.1:5080.evil.example")],
            &[("origin", "http://127.0.0.1:5080"), ("origin", "https://evil.example")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "something-new")],
            &[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")],
            &[("origin", "http://127.0.0.1:5080"), ("sec-fetch-site", "cross-site")],
        ] {
            assert_eq!(refusal(lines), Some(403), "{lines:?}");
        }
    }
}
