//! `[proxy]`: the proxy through which the server reaches registries, token services and CDNs.

use super::error::SettingsError;
use docxy_host::files::toml_file::Spanned;
use docxy_host::net::proxy::{Environment, Proxy, ProxyRules, ProxyTable, ReadableUrl};
use docxy_protocol::link::Host;
use serde::Deserialize;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The proxy, and what it may resolve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySettings {
    /// The proxy, and the hosts that are reached without it.
    pub rules: ProxyRules,
    /// The hosts beside the registries' own that the proxy may resolve if this server cannot, or if the proxy refuses
    /// their addresses. The server cannot check where they lead.
    pub allow_hosts: Vec<HostPattern>,
}

/// A host, or with `*.` all names below a domain. In lower case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HostPattern(String);

impl HostPattern {
    /// Whether it includes this host, which must be in lower case.
    pub(crate) fn includes(&self, host: &str) -> bool {
        match self.0.strip_prefix('*') {
            Some(domain) => host.len() > domain.len() && host.ends_with(domain),
            None => self.0 == host,
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.strip_prefix("*.").unwrap_or(&text).parse::<Host>() {
            Ok(host) if !host.is_ipv6() => Ok(Self(text.to_ascii_lowercase())),
            _ => Err(format!(
                "{text:?} is not a host name, or a domain as in \"*.example.org\", without a port"
            )),
        }
    }
}

/// The table in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table with url, as in { url = 'http://HOST:PORT' }")]
pub(super) struct ServerProxyTable {
    url: Option<ReadableUrl>,
    password_file: Option<Spanned<PathBuf>>,
    allow_hosts: Vec<HostPattern>,
}

impl ServerProxyTable {
    /// The proxy of the argument, else of `DOCXY_PROXY`, else of the file at `config`, else the one that all programs
    /// use. `NO_PROXY` applies to each.
    pub(super) fn load(
        self,
        argument: Option<Proxy>,
        environment: &Environment<impl Fn(&str) -> Option<OsString>>,
        config: &Path,
    ) -> Result<Option<ProxySettings>, SettingsError> {
        let Self { url, password_file, allow_hosts } = self;
        let file = ProxyTable { url, password_file }.load(config)?;
        let proxy = match argument.or(environment.chosen()?).or(file) {
            Some(proxy) => Some(proxy),
            None => environment.usual()?,
        };
        let rules = proxy.map(|proxy| ProxyRules::except(proxy, &environment.exceptions()));
        Ok(rules.map(|rules| ProxySettings { rules, allow_hosts }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_host::files::toml_file;

    fn load(
        table: &str,
        argument: Option<&str>,
        set: &[(&str, &str)],
    ) -> Result<Option<ProxySettings>, String> {
        let table: ServerProxyTable = toml_file::parse(table).map_err(|error| error.to_string())?;
        let environment = Environment::new(|name| {
            set.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value))
        });
        let argument = argument.map(|argument| argument.parse().unwrap());
        table.load(argument, &environment, Path::new("server.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_argument_wins_over_the_variable_over_the_file_over_the_proxy_of_all_programs() {
        let set =
            [("DOCXY_PROXY", "http://b:1"), ("HTTPS_PROXY", "http://d:1"), ("NO_PROXY", "corp.example")];
        let file = "url = 'http://c:1'";
        for (table, argument, set, expected) in [
            (file, Some("http://a:1"), &set[..], "http://a:1"),
            (file, None, &set, "http://b:1"),
            (file, None, &set[1..], "http://c:1"),
            ("", None, &set[1..], "http://d:1"),
        ] {
            let settings = load(table, argument, set).unwrap().unwrap();
            assert_eq!(settings.rules.proxy().to_string(), expected);
            assert!(settings.rules.proxy_for("corp.example").is_none());
        }
        assert_eq!(load("allow_hosts = ['a.io']", None, &set[2..]), Ok(None));
    }

    #[test]
    fn an_error_says_where_it_is() {
        for (table, set, words) in [
            ("password_file = 'x'", ("", ""), "server.toml, line 1: password_file needs a url"),
            ("", ("DOCXY_PROXY", "https://x"), "DOCXY_PROXY: https:// proxies are not supported"),
            ("", ("ALL_PROXY", "socks4://x"), "ALL_PROXY: socks4:// proxies are not supported"),
            ("hosts = []", ("", ""), "unknown field `hosts`"),
            ("allow_hosts = ['a.io:443']", ("", ""), "without a port"),
            ("allow_hosts = ['*']", ("", ""), "is not a host name"),
        ] {
            let error = load(table, None, &[set]).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_pattern_is_a_host_or_what_is_below_a_domain() {
        let pattern = |text: &str| HostPattern::try_from(text.to_owned()).unwrap();
        assert!(pattern("Auth.docker.io").includes("auth.docker.io"));
        assert!(!pattern("docker.io").includes("auth.docker.io"));
        let domain = pattern("*.docker.io");
        assert!(domain.includes("a.docker.io") && domain.includes("a.b.docker.io"));
        assert!(
            !domain.includes("docker.io")
                && !domain.includes("evil-docker.io")
                && !domain.includes(".docker.io")
        );
    }
}
