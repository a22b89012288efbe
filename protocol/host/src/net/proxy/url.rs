//! The URL of a proxy: `http://[USER[:PASSWORD]@]HOST[:PORT]`, or the same with `socks5://`.
//!
//! Must never quote the URL in an error: it may contain a password.

use docxy_protocol::link::Host;
use docxy_protocol::secret::Secret;
use http::Uri;
use percent_encoding::percent_decode_str;
use std::str::FromStr;

/// Why a text is not the URL of a proxy that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyUrlError {
    /// It is no URL, or has more than a host.
    #[error(
        "a proxy is http://HOST:PORT or socks5://HOST:PORT, with USER@ before the host if it needs one; \
         write / : @ ? # and % in a user or a password as %2F %3A %40 %3F %23 and %25"
    )]
    Syntax,
    /// It is a proxy of another kind.
    #[error("{0}:// proxies are not supported; use the proxy's http:// or socks5:// port")]
    Scheme(String),
    /// There is a password, and no user that it is for.
    #[error("a password needs a user: write USER@ before the proxy's host")]
    NoUser,
    /// There is a password where others can read it.
    #[error(
        "a proxy's password must not be written here; set DOCXY_PROXY=http://USER:PASSWORD@HOST:PORT in the \
         environment, or url and password_file under [proxy] in the config file"
    )]
    Password,
}

/// A proxy. `Debug` and `Display` show scheme, host and port only.
#[derive(Clone, PartialEq, Eq, derive_more::Debug, derive_more::Display)]
#[debug("{self}")]
#[display("{scheme}://{}:{port}", host.in_url())]
pub struct Proxy {
    pub(super) scheme: Scheme,
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) credentials: Option<Credentials>,
}

/// What the proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, derive_more::Display)]
pub(super) enum Scheme {
    #[display("http")]
    Http,
    #[display("socks5")]
    Socks5,
}

/// A user and a password, which is empty if there is none.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: Option<Secret>,
}

impl FromStr for Proxy {
    type Err = ProxyUrlError;

    fn from_str(text: &str) -> Result<Self, ProxyUrlError> {
        let text = text.trim();
        // As curl has it: a proxy without a scheme is an HTTP proxy.
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            // In curl, `socks5h` says that the proxy resolves names. Here the caller decides that.
            "socks5" | "socks5h" => Scheme::Socks5,
            other if other.bytes().all(|b| b.is_ascii_alphanumeric()) && other.len() <= 10 => {
                return Err(ProxyUrlError::Scheme(other.to_owned()));
            }
            _ => return Err(ProxyUrlError::Syntax),
        };
        if rest.contains('#') {
            // The parser would drop what follows, and take what precedes for host and port.
            return Err(ProxyUrlError::Syntax);
        }
        let uri: Uri = format!("http://{rest}").parse().map_err(|_| ProxyUrlError::Syntax)?;
        let authority = uri.authority().ok_or(ProxyUrlError::Syntax)?;
        let has_port = authority.as_str().len() > authority.host().len()
            && authority.as_str().rsplit(['@', ']']).next().is_some_and(|end| end.contains(':'));
        let port = match authority.port_u16() {
            Some(0) => return Err(ProxyUrlError::Syntax),
            Some(port) => port,
            None if has_port => return Err(ProxyUrlError::Syntax),
            None => scheme.default_port(),
        };
        if uri.path() != "/" || uri.query().is_some() {
            return Err(ProxyUrlError::Syntax);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let host = host.parse().map_err(|_| ProxyUrlError::Syntax)?;
        let credentials = match authority.as_str().rsplit_once('@') {
            Some((user_information, _)) => Some(Credentials::parse(user_information)?),
            None => None,
        };
        Ok(Self { scheme, host, port, credentials })
    }
}

impl Proxy {
    /// Parses a URL in an argument or in a config file, where others can read it.
    ///
    /// # Errors
    /// If it is not the URL of a proxy, or has a password.
    pub fn without_password(text: &str) -> Result<Self, ProxyUrlError> {
        let proxy: Self = text.parse()?;
        let has_password =
            proxy.credentials.as_ref().is_some_and(|credentials| credentials.password.is_some());
        if has_password { Err(ProxyUrlError::Password) } else { Ok(proxy) }
    }

    /// The same proxy with this password for its user.
    ///
    /// # Errors
    /// If the URL names no user.
    pub(super) fn with_password(self, password: Secret) -> Result<Self, ProxyUrlError> {
        let Credentials { user, .. } = self.credentials.ok_or(ProxyUrlError::NoUser)?;
        Ok(Self { credentials: Some(Credentials { user, password: Some(password) }), ..self })
    }
}

impl Scheme {
    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Socks5 => 1080,
        }
    }

    /// The protocol, for users.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Socks5 => "SOCKS5",
        }
    }
}

impl Credentials {
    /// Parses `USER[:PASSWORD]`.
    fn parse(text: &str) -> Result<Self, ProxyUrlError> {
        let (user, password) = match text.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (text, None),
        };
        let decode = |text: &str| {
            let decoded = percent_decode_str(text).decode_utf8().map_err(|_| ProxyUrlError::Syntax)?;
            // No protocol can carry them.
            let is_valid = !decoded.contains(char::is_control);
            if is_valid { Ok(decoded.into_owned()) } else { Err(ProxyUrlError::Syntax) }
        };
        let password = password.filter(|password| !password.is_empty()).map(decode).transpose()?;
        let user = decode(user)?;
        if user.is_empty() {
            return Err(ProxyUrlError::NoUser);
        }
        Ok(Self { user, password: password.map(Secret::new) })
    }

    pub(super) fn password(&self) -> &str {
        self.password.as_ref().map_or("", Secret::expose)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_proxy_is_shown_without_its_user_and_password() {
        for (text, shown) in [
            ("http://proxy.corp:3128", "http://proxy.corp:3128"),
            ("HTTP://me:hunter2@proxy.corp:3128/", "http://proxy.corp:3128"),
            ("proxy.corp:3128", "http://proxy.corp:3128"),
            ("me:hunter2@proxy.corp", "http://proxy.corp:80"),
            ("http://proxy.corp:80", "http://proxy.corp:80"),
            ("socks5://10.0.0.1", "socks5://10.0.0.1:1080"),
            ("socks5h://me@[2001:db8::1]:80", "socks5://[2001:db8::1]:80"),
            ("socks5://[::1]", "socks5://[::1]:1080"),
        ] {
            let proxy: Proxy = text.parse().unwrap();
            assert_eq!((proxy.to_string(), format!("{proxy:?}")), (shown.to_owned(), shown.to_owned()));
            let readable = Proxy::without_password(text);
            assert_eq!(readable == Err(ProxyUrlError::Password), text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn user_and_password_are_percent_decoded() {
        let credentials = |text: &str| text.parse::<Proxy>().unwrap().credentials.unwrap();
        let special = credentials("http://d%40corp:p%2Fa%3As%25s@proxy:1");
        assert_eq!((special.user.as_str(), special.password()), ("d@corp", "p/a:s%s"));
        let colons = credentials("socks5://me:a:b@proxy");
        assert_eq!((colons.user.as_str(), colons.password()), ("me", "a:b"));
        for without in ["http://me@proxy", "http://me:@proxy"] {
            assert_eq!(credentials(without).password(), "");
        }
    }

    #[test]
    fn a_password_may_be_added_to_a_user() {
        let with = |text: &str| text.parse::<Proxy>().unwrap().with_password(Secret::new("hunter2"));
        assert_eq!(with("http://me@proxy").unwrap(), "http://me:hunter2@proxy".parse().unwrap());
        assert_eq!(with("http://proxy").unwrap_err(), ProxyUrlError::NoUser);
    }

    #[test]
    fn other_texts_are_refused_and_not_quoted() {
        for (text, expected) in [
            ("", ProxyUrlError::Syntax),
            ("http://", ProxyUrlError::Syntax),
            ("http://:3128", ProxyUrlError::Syntax),
            ("http://me:hunter2@", ProxyUrlError::Syntax),
            ("http://proxy:0", ProxyUrlError::Syntax),
            ("http://proxy:", ProxyUrlError::Syntax),
            ("http://proxy:99999", ProxyUrlError::Syntax),
            ("http://me:hunter2/x@proxy:3128", ProxyUrlError::Syntax),
            ("http://me:1984#hunter2@proxy:3128", ProxyUrlError::Syntax),
            ("http://me:hunter2%ff@proxy:3128", ProxyUrlError::Syntax),
            ("http://me:hunter2%0d%0aX: y@proxy", ProxyUrlError::Syntax),
            ("http://proxy:3128/pac", ProxyUrlError::Syntax),
            ("http://proxy:3128?hunter2", ProxyUrlError::Syntax),
            ("http://:hunter2@proxy", ProxyUrlError::NoUser),
            ("https://me:hunter2@proxy", ProxyUrlError::Scheme("https".into())),
            ("socks4://proxy", ProxyUrlError::Scheme("socks4".into())),
            ("hunter2 hunter2://proxy", ProxyUrlError::Syntax),
        ] {
            let error = text.parse::<Proxy>().unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text in "((http|socks5)://)?\\PC{0,80}") {
            let _ = text.parse::<Proxy>();
        }
    }
}
