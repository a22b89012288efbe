//! Where a request comes from, and to which host: any web page can make a browser send requests to localhost.
//!
//! A web page can point a name of its own at 127.0.0.1, so that the browser sends requests here (DNS
//! rebinding). Such a request has the host of the page. The realm of the client's challenges is built from the host, so
//! a foreign one would send credentials to another host.
//!
//! A page cannot read the responses, but its requests would use up the rate limit and reveal what runs here.
//! Browsers report the origin of a page and engines report none, so a missing field must never count against
//! a request. Must never let a request through whose `Host` is not this program's, or that a foreign page caused.

use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::text::CleanText;
use http::{HeaderMap, HeaderName, header};
use parking_lot::RwLock;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The host names that engines may use, beside those of loopback. Can be replaced while the client runs.
pub type AllowedHosts = Arc<RwLock<Vec<String>>>;

/// How the site of the page relates to this one (Fetch Metadata, "The Sec-Fetch-Site HTTP Request Header").
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A `Host` of this program, with its port, as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalHost {
    scheme: Scheme,
    text: String,
}

/// How requests reach this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, derive_more::Display)]
pub enum Scheme {
    /// Without TLS.
    #[display("http")]
    Http,
    /// With TLS.
    #[display("https")]
    Https,
}

impl LocalHost {
    /// Checks the `Host` of a request (RFC 9110, section 7.2): a loopback address, `localhost`, a name of
    /// this machine in an engine's virtual machine, a name that the user allowed, or the address that the peer `reached`,
    /// which is no name that a web page could point elsewhere.
    ///
    /// # Errors
    /// If it is another one, or there is not exactly one.
    pub fn of(
        scheme: Scheme,
        headers: &HeaderMap,
        allowed: &[String],
        reached: Option<IpAddr>,
    ) -> Result<Self, Fault> {
        let mut lines = headers.get_all(header::HOST).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return Err(refused("a request must have exactly one Host header"));
        };
        let text = line.to_str().unwrap_or_default();
        let (name, port) = split(text);
        let port_is_fine = port.is_none_or(|port| port.parse::<u16>().is_ok());
        let is_reached = || reached.is_some_and(|reached| literal(name) == Some(reached.to_canonical()));
        if port_is_fine && (is_ours(name, allowed) || is_reached()) {
            Ok(Self { scheme, text: text.to_owned() })
        } else {
            let shown = CleanText::<100>::new(text);
            Err(refused(format!(
                "{shown:?} is not a name of this docxy-client; if it should be, start it with --host NAME"
            )))
        }
    }

    /// Whether it is a name that every client has. A proxy on this machine, which may serve others, has a name that the
    /// user allowed.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        is_ours(split(&self.text).0, &[])
    }

    /// The origin of a page of this host (RFC 6454, section 6.1).
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.text)
    }
}

/// Refuses a request of a foreign page, which includes other ports of this machine, links to this client,
/// frames, and CORS preflight requests. An address that a user typed and pages of this client are accepted.
///
/// # Errors
/// If a foreign page sent the request.
pub fn refuse_foreign_pages(headers: &HeaderMap, host: &LocalHost) -> Result<(), Fault> {
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

fn is_ours(name: &str, allowed: &[String]) -> bool {
    let ours = [
        "localhost",
        // This machine's names in the virtual machines and containers of engines.
        "host.docker.internal",
        "host.lima.internal",
        "host.minikube.internal",
        "host.containers.internal",
        "host.internal",
    ];
    literal(name).is_some_and(|address| address.is_loopback())
        || ours.iter().any(|own| name.eq_ignore_ascii_case(own))
        || allowed.iter().any(|own| name.eq_ignore_ascii_case(own))
}

/// The address that a host is written as (RFC 3986, section 3.2.2).
fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        // IPv6 without brackets is not valid in a URL.
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// Splits `host:port`; a colon within brackets belongs to an IPv6 address.
fn split(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (text, None),
    }
}

fn refused(detail: impl std::fmt::Display) -> Fault {
    Fault::new(Hop::Engine, FaultKind::HostNotServed, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str) -> Result<LocalHost, Fault> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        LocalHost::of(Scheme::Http, &headers, &["box.lan".to_owned()], "192.168.1.2".parse().ok())
    }

    #[test]
    fn only_names_of_this_machine_are_served() {
        for host in [
            "127.0.0.1:5080",
            "127.1.2.3",
            "[::1]:5080",
            "[::1]",
            "localhost",
            "LocalHost:1",
            "host.docker.internal:5080",
            "host.lima.internal:5080",
            "box.lan:80",
            "192.168.1.2:5080",
        ] {
            assert_eq!(check(host).unwrap().origin(), format!("http://{host}"));
        }
        for host in [
            "evil.example",
            "evil.example:5080",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "127.0.0.1:80@evil",
            "10.0.0.1",
            "192.168.1.3:5080",
            "0.0.0.0:5080",
            "[::2]",
            "",
            "::1",
            "::1:50",
            "localhost:x",
            "localhost:80/x",
        ] {
            let fault = check(host).unwrap_err();
            assert_eq!(fault.status(), 421, "{host}");
        }
    }

    #[test]
    fn a_request_with_two_hosts_is_refused() {
        let mut headers = HeaderMap::new();
        assert!(LocalHost::of(Scheme::Http, &headers, &[], None).is_err());
        headers.append(header::HOST, "localhost".parse().unwrap());
        headers.append(header::HOST, "evil.example".parse().unwrap());
        assert!(LocalHost::of(Scheme::Http, &headers, &[], None).is_err());
    }

    /// The status of the refusal, for a request to `127.0.0.1:5080`.
    fn refusal(lines: &[(&str, &str)]) -> Option<u16> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "127.0.0.1:5080".parse().unwrap());
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let host = LocalHost::of(Scheme::Http, &headers, &[], None).unwrap();
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
