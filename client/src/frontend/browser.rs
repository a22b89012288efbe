//! Whether a browser sends a request for a web page of somebody else.
//!
//! A page may not read our answers, but its requests would be carried out: they would use up quota
//! and find out what runs here. Browsers say whose page it is; engines say nothing of the kind, so
//! what isn't said must never be held against a request.

use super::host::LocalHost;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::text::CleanText;
use http::{HeaderMap, HeaderName, header};

/// How far the page is from what it asks (Fetch Metadata, "The Sec-Fetch-Site HTTP Request Header").
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a request that a foreign page makes, which includes other ports of this machine, links
/// to us, frames, and the question before a request (CORS preflight). What a user types into the
/// address bar, and pages of our own, may ask.
///
/// # Errors
/// Where the request is a foreign page's.
pub(super) fn refuse_foreign_pages(headers: &HeaderMap, host: &LocalHost) -> Result<(), Fault> {
    let ours = host.origin();
    // RFC 6454, section 7; "null" is what a page says that hides its own.
    let origin = headers.get_all(header::ORIGIN).iter().find(|origin| **origin != *ours);
    let mut sites = headers.get_all(&SEC_FETCH_SITE).iter();
    let site = sites.find(|site| !["none", "same-origin"].iter().any(|known| **site == **known));
    match origin.or(site) {
        None => Ok(()),
        Some(foreign) => {
            let shown = CleanText::<100>::new(String::from_utf8_lossy(foreign.as_bytes()));
            let detail =
                format!("a web page ({shown:?}) made a browser ask this; docxy answers engines only");
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
    fn engines_people_and_our_own_pages_may_ask() {
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
    fn pages_of_others_may_not() {
        for lines in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "")],
            // Another port is another page, and so is another name of this machine.
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
