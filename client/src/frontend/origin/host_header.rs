//! Checks the `Host` of requests.
//!
//! A web page can point a name of its own at 127.0.0.1, so that the browser sends requests here (DNS
//! rebinding). Such a request has the host of the page. The realm of challenges is built from the host, so a
//! foreign one would send credentials to another host.

use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::name::Registry;
use docxy_protocol::text::CleanText;
use http::{HeaderMap, header};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A `Host` of this client, with its port, as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalHost(String);

impl LocalHost {
    /// Checks the `Host` of a request (RFC 9110, section 7.2): a loopback address, `localhost`, the host name
    /// of Docker Desktop, or a name that the user allowed.
    pub(crate) fn of(headers: &HeaderMap, allowed: &[String]) -> Result<Self, Fault> {
        let mut lines = headers.get_all(header::HOST).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return Err(refused("a request must have exactly one Host header"));
        };
        let text = line.to_str().unwrap_or_default();
        let (name, port) = split(text);
        let port_is_fine = port.is_none_or(|port| port.parse::<u16>().is_ok());
        if port_is_fine && is_ours(name, allowed) {
            Ok(Self(text.to_owned()))
        } else {
            let shown = CleanText::<100>::new(text);
            Err(refused(format!(
                "{shown:?} is not a name of this docxy-client; if it should be, start it with --host NAME"
            )))
        }
    }

    /// The origin of a page of this host (RFC 6454, section 6.1).
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.0)
    }

    /// The realm for the challenges of a registry. Its path alone names the registry of a token request.
    pub(crate) fn realm(&self, registry: &Registry) -> String {
        let of_docker_hub = format!("{}/auth/token", self.origin());
        if registry.is_docker_hub() { of_docker_hub } else { format!("{of_docker_hub}/{registry}") }
    }
}

fn is_ours(name: &str, allowed: &[String]) -> bool {
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let address = match literal {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        // IPv6 without brackets is not valid in a URL.
        None => name.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    let ours = ["localhost", "host.docker.internal"];
    address.is_some_and(|address| address.is_loopback())
        || ours.iter().any(|own| name.eq_ignore_ascii_case(own))
        || allowed.iter().any(|own| name.eq_ignore_ascii_case(own))
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
        LocalHost::of(&headers, &["box.lan".to_owned()])
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
            "box.lan:80",
        ] {
            let realm = |registry: &str| check(host).unwrap().realm(&registry.parse().unwrap());
            assert_eq!(realm("docker.io"), format!("http://{host}/auth/token"));
            assert_eq!(realm("GHCR.io"), format!("http://{host}/auth/token/ghcr.io"));
            assert_eq!(realm("registry.corp:5000"), format!("http://{host}/auth/token/registry.corp:5000"));
        }
        for host in [
            "evil.example",
            "evil.example:5080",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "127.0.0.1:80@evil",
            "10.0.0.1",
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
        assert!(LocalHost::of(&headers, &[]).is_err());
        headers.append(header::HOST, "localhost".parse().unwrap());
        headers.append(header::HOST, "evil.example".parse().unwrap());
        assert!(LocalHost::of(&headers, &[]).is_err());
    }
}
