//! The link that a user pastes: the server's address, its pin, and the client's name and secret.
//!
//! `docxy://NAME:SECRET@HOST:PORT[,PORT…]?pin=PIN[&sum=SUM][&sni=NAME]`. A link is a secret: `Debug` must never print
//! the client's secret, and no error may quote the link.

mod checksum;

use crate::identity::{Pin, PinError};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use derive_more::{Display, Into};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

const SCHEME: &str = "docxy://";

/// The most ports of a link. They are tried a second apart.
const PORTS_MAX: usize = 16;

/// Why a text is not a link. Never quotes the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It does not start with `docxy://`.
    #[error("a link starts with docxy://")]
    Scheme,
    /// Name or secret is missing.
    #[error("a link has NAME:SECRET@ before the host; was it cut off?")]
    Client,
    /// The name is invalid.
    #[error(transparent)]
    Name(#[from] ClientNameError),
    /// The secret is invalid.
    #[error("the link's secret is damaged; was it cut off?")]
    Secret,
    /// The host is invalid.
    #[error("the link's host is not a host name or address that can be dialed")]
    Host,
    /// A port is missing or invalid.
    #[error("the link needs at least one port from 1 to 65535 after the host")]
    Port,
    /// There are more ports than a client tries.
    #[error("the link has more than {PORTS_MAX} ports")]
    Ports,
    /// A parameter is there twice.
    #[error("the link has two parameters {0:?}; copy it again")]
    Repeated(String),
    /// The pin is missing.
    #[error("the link has no pin=…; was it cut off?")]
    NoPin,
    /// The pin is invalid.
    #[error("the link's pin is damaged: {0}")]
    Pin(#[from] PinError),
    /// The checksum is no checksum.
    #[error("the link's sum is damaged; was it cut off, or is something after it?")]
    Sum,
    /// These parts are not those of the checksum.
    #[error("the {0} was changed in copying (if you changed it yourself, remove the sum=… too)")]
    Changed(String),
    /// A parameter that this version does not know.
    #[error(
        "the link has a parameter {0:?} that this version does not know; copy it again, or update docxy-client"
    )]
    Parameter(String),
}

/// The text is not a client name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a client's name has 1 to 64 of the characters A-Z a-z 0-9 . _ -")]
pub struct ClientNameError;

/// Everything that a client needs to connect to one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The client's name.
    pub name: ClientName,
    /// The client's secret.
    pub secret: ClientSecret,
    /// The server's host name or address, without brackets.
    pub host: Host,
    /// The UDP ports of the server, at least one.
    pub ports: Vec<u16>,
    /// The pin of the server's key.
    pub pin: Pin,
    /// The server name to send in the handshake, if any.
    pub sni: Option<Host>,
}

impl FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let text = without_quotes(text);
        let (scheme, rest) = text.split_at_checked(SCHEME.len()).ok_or(LinkError::Scheme)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(LinkError::Scheme);
        }
        let (client, rest) = rest.split_once('@').ok_or(LinkError::Client)?;
        let (name, secret) = client.split_once(':').ok_or(LinkError::Client)?;
        let (address, query) = rest.split_once('?').ok_or(LinkError::NoPin)?;
        let (host, ports) = address.rsplit_once(':').ok_or(LinkError::Port)?;
        let (host, is_in_brackets) = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(host) => (host, true),
            None => (host, false),
        };
        let host: Host = host.parse()?;
        if host.is_ipv6() != is_in_brackets {
            return Err(LinkError::Host);
        }
        let port = |text: &str| {
            // The standard library takes `+1` too.
            let digits = text.bytes().all(|b| b.is_ascii_digit()).then_some(text);
            digits.and_then(|digits| digits.parse().ok()).filter(|p: &u16| *p != 0).ok_or(LinkError::Port)
        };
        let ports: Vec<u16> = ports.split(',').map(port).collect::<Result<_, _>>()?;
        if ports.len() > PORTS_MAX {
            return Err(LinkError::Ports);
        }
        let (mut pin, mut sum, mut sni) = (None, None, None);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            // A page's source has `&amp;` for `&`.
            match key.strip_prefix("amp;").unwrap_or(&key) {
                "pin" if pin.is_some() => return Err(LinkError::Repeated("pin".into())),
                "sum" if sum.is_some() => return Err(LinkError::Repeated("sum".into())),
                "sni" if sni.is_some() => return Err(LinkError::Repeated("sni".into())),
                "sum" => sum = Some(value),
                "pin" => pin = Some(value.parse()?),
                "sni" => sni = Some(value.parse()?),
                _ => return Err(LinkError::Parameter(key.chars().take(40).collect())),
            }
        }
        let pin = pin.ok_or(LinkError::NoPin)?;
        let link = Self { name: name.parse()?, secret: secret.parse()?, host, ports, pin, sni };
        match sum {
            Some(sum) => checksum::check(&link, &sum).map(|()| link),
            None => Ok(link),
        }
    }
}

/// The text without what mails, chats and shells put around a link.
#[must_use]
pub fn without_quotes(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || "\"'`<>“”„‘’‚«»‹›\u{feff}\u{200b}".contains(c))
}

/// Where a link begins in a text, which must then not be shown.
#[must_use]
pub fn find_link(text: &str) -> Option<usize> {
    text.to_ascii_lowercase().find(SCHEME)
}

impl Link {
    /// The link as text, with the secret, to be stored. Never log it.
    #[must_use]
    pub fn expose(&self) -> String {
        self.expose_with("")
    }

    /// The same with the checksum, to be copied by people.
    #[must_use]
    pub fn expose_with_sum(&self) -> String {
        self.expose_with(&format!("&sum={}", checksum::of(self)))
    }

    fn expose_with(&self, sum: &str) -> String {
        let sni = self.sni.as_ref().map(|name| format!("&sni={name}")).unwrap_or_default();
        let Self { name, secret, pin, .. } = self;
        format!("{SCHEME}{name}:{}@{}?pin={pin}{sum}{sni}", secret.expose(), self.address())
    }

    /// Where its server is: `HOST:PORT[,PORT…]`. No secret.
    #[must_use]
    pub fn address(&self) -> String {
        let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
        format!("{}:{}", self.host.in_url(), ports.join(","))
    }

    /// Whether both are links of one server: host and ports tell servers apart. Several may have the same pin.
    #[must_use]
    pub fn is_for_same_server(&self, other: &Self) -> bool {
        let ports = |link: &Self| link.ports.iter().copied().collect::<BTreeSet<_>>();
        self.host.is_same(&other.host) && ports(self) == ports(other)
    }
}

/// A host name, or an IPv4 or IPv6 address.
#[derive(Debug, Clone, PartialEq, Eq, Display)]
pub struct Host(String);

impl Host {
    /// The host as text, an IPv6 address without brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both are the same name or address: neither case nor the root's dot at the end matters.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self.0.parse::<IpAddr>(), other.0.parse::<IpAddr>()) {
            (Ok(one), Ok(other)) => one == other,
            _ => self.0.trim_end_matches('.').eq_ignore_ascii_case(other.0.trim_end_matches('.')),
        }
    }

    /// Whether it is an IPv6 address, which needs brackets before a port.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.0.parse::<Ipv6Addr>().is_ok()
    }

    /// The host as it stands before a port: an IPv6 address is in brackets.
    #[must_use]
    pub fn in_url(&self) -> String {
        if self.is_ipv6() { format!("[{self}]") } else { self.to_string() }
    }
}

impl FromStr for Host {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let is_valid = match text.parse::<IpAddr>() {
            Ok(address) => can_be_dialed(address),
            Err(_) => is_name(text),
        };
        if is_valid { Ok(Self(text.to_owned())) } else { Err(LinkError::Host) }
    }
}

/// Whether an address may be that of one server.
fn can_be_dialed(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && address != Ipv4Addr::BROADCAST
}

/// Whether a text is a host name. Names with `_` are in use, though no DNS host name has one.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let text_without_root = text.strip_suffix('.').unwrap_or(text);
    let last = text_without_root.rsplit('.').next().unwrap_or_default();
    // A name that ends in a number would be an IPv4 address (WHATWG URL, section 3.5).
    text.len() <= 253
        && text_without_root.split('.').all(is_label)
        && !last.bytes().all(|b| b.is_ascii_digit())
}

/// The name that the operator gave a client.
#[derive(
    Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Display, derive_more::Debug, Into, Serialize, Deserialize,
)]
#[debug("{_0}")]
#[serde(try_from = "String", into = "String")]
pub struct ClientName(String);

impl FromStr for ClientName {
    type Err = ClientNameError;

    fn from_str(text: &str) -> Result<Self, ClientNameError> {
        let ok = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if ok { Ok(Self(text.to_owned())) } else { Err(ClientNameError) }
    }
}

impl TryFrom<String> for ClientName {
    type Error = ClientNameError;

    fn try_from(text: String) -> Result<Self, ClientNameError> {
        text.parse()
    }
}

/// 32 random bytes that only the client knows. The server creates them and stores only their hash.
#[derive(Clone, derive_more::Debug, Serialize, Deserialize)]
#[debug("[secret]")]
pub struct ClientSecret([u8; 32]);

impl ClientSecret {
    /// A secret of these bytes, which must come from a cryptographic random number generator.
    #[must_use]
    pub const fn from_random(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash that the server stores. The secret has 256 random bits and cannot be guessed, so salt and
    /// key stretching are not needed.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }

    fn expose(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl FromStr for ClientSecret {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| LinkError::Secret)?;
        bytes.try_into().map(Self).map_err(|_| LinkError::Secret)
    }
}

impl PartialEq for ClientSecret {
    fn eq(&self, other: &Self) -> bool {
        crate::secret::constant_time_eq(&self.0, &other.0)
    }
}

impl Eq for ClientSecret {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    const PIN: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8";

    #[test]
    fn a_link_has_the_documented_format() {
        for address in ["example.org:61443", "192.0.2.1:61443,443", "[2001:db8::1]:61443"] {
            for sni in ["", "&sni=cdn.example.org"] {
                let text = format!("docxy://laptop:{SECRET}@{address}?pin={PIN}{sni}");
                let link: Link = text.parse().unwrap();
                assert_eq!(link.expose(), text);
                assert_eq!(link.expose_with_sum().parse(), Ok(link));
            }
        }
    }

    #[test]
    fn what_surrounds_a_link_does_not_matter() {
        let good = format!("docxy://laptop:{SECRET}@example.org:61443?pin={PIN}");
        let link: Link = good.parse().unwrap();
        for text in [
            format!(" \"{good}\"\r\n"),
            format!("<{good}>"),
            format!("“ {good} ”"),
            format!("\u{feff}'{good}"),
            good.replace("docxy", "Docxy"),
            good.replace("docxy", "DOCXY"),
            format!("{}&amp;sum={}", good, checksum::of(&link)),
        ] {
            assert_eq!(text.parse(), Ok(link.clone()), "{text}");
            assert!(find_link(&text).is_some());
        }
    }

    #[test]
    fn a_damaged_link_is_rejected_and_the_error_does_not_quote_it() {
        let good = format!("docxy://laptop:{SECRET}@example.org:61443?pin={PIN}");
        for (text, expected) in [
            (good.replace("docxy", "https"), LinkError::Scheme),
            ("dócxy".to_owned(), LinkError::Scheme),
            (good.replace('@', ""), LinkError::Client),
            (good.replace("laptop", "lap top"), LinkError::Name(ClientNameError)),
            (good.replace(SECRET, "AAEC"), LinkError::Secret),
            (good.replace("example.org", "exa mple"), LinkError::Host),
            (good.replace("example.org", "[example.org]"), LinkError::Host),
            (good.replace("example.org", "2001:db8::1"), LinkError::Host),
            (good.replace("61443", &["1"; PORTS_MAX + 1].join(",")), LinkError::Ports),
            (format!("{good}&sni=a.example&sni=b.example"), LinkError::Repeated("sni".into())),
            (format!("{good}&pin={PIN}"), LinkError::Repeated("pin".into())),
            (format!("{good}&sum=AAAAAAAA&sum=AAAAAAAA"), LinkError::Repeated("sum".into())),
            (good.replace(":61443", ""), LinkError::Port),
            (good.replace("61443", "0"), LinkError::Port),
            (good.replace("61443", "61443,"), LinkError::Port),
            (good.replace("61443", "+61443"), LinkError::Port),
            (good.replace("61443", "65536"), LinkError::Port),
            (good.replace("?pin", "?spin"), LinkError::Parameter("spin".into())),
            (good.replace(PIN, "AA"), LinkError::Pin(PinError::Malformed)),
            (good.split('?').next().unwrap().to_owned(), LinkError::NoPin),
        ] {
            let error = text.parse::<Link>().unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains(&SECRET[..20]));
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_that_can_be_dialed() {
        let long_label = "a".repeat(64);
        for text in [
            "-",
            "a-",
            "-a.example",
            "..",
            ".",
            "",
            "a..b",
            ".a",
            "1",
            "999.1.1.1",
            "1.2.3",
            "a.1",
            "a b",
            "[::1]",
        ]
        .into_iter()
        .chain(["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", &long_label])
        {
            assert_eq!(text.parse::<Host>(), Err(LinkError::Host), "{text}");
        }
        for text in [
            "a",
            "localhost",
            "vpn-1.example.org",
            "example.org.",
            "my_host",
            "1.example",
            "4u",
            "192.0.2.1",
            "::1",
        ] {
            assert_eq!(text.parse::<Host>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        let link: Link = format!("docxy://laptop:{SECRET}@example.org:61443?pin={PIN}").parse().unwrap();
        assert!(!format!("{link:?}").contains(&SECRET[..8]));
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text in "(docxy://)?\\PC{0,80}") {
            let _ = text.parse::<Link>();
        }
    }
}
