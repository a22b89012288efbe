//! The variables of the environment that name a proxy, as curl and most other programs know them.
//!
//! Must never quote a value: it may contain a password.

use super::rules::ProxyRules;
use super::url::{Proxy, ProxyUrlError};
use std::ffi::OsString;

/// The variables for TLS connections, the first one wins. `HTTP_PROXY` is for plain HTTP, which Docxy never sends.
const VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// The variables for exceptions.
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// A variable has no usable value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {source}")]
pub struct EnvironmentError {
    variable: &'static str,
    source: ProxyUrlError,
}

/// The proxy of the environment, with its exceptions. An empty variable counts as not set. `variable` reads one, such
/// as [`std::env::var_os`].
///
/// # Errors
/// If a variable is set to something that is not a proxy.
pub fn from_environment(
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<ProxyRules>, EnvironmentError> {
    let read = |name: &'static str| {
        let value = variable(name).filter(|value| !value.is_empty())?;
        Some((name, value.to_string_lossy().into_owned()))
    };
    let Some((variable, value)) = VARIABLES.into_iter().find_map(read) else { return Ok(None) };
    let proxy: Proxy = value.parse().map_err(|source| EnvironmentError { variable, source })?;
    let exceptions = EXCEPTIONS.into_iter().find_map(read).map(|(_, value)| value).unwrap_or_default();
    Ok(Some(ProxyRules::except(proxy, &exceptions)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy_of(set: &[(&str, &str)]) -> Result<Option<ProxyRules>, EnvironmentError> {
        from_environment(|name| {
            set.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn https_wins_over_all_and_upper_case_over_lower_case() {
        let shown = |set: &[(&str, &str)]| proxy_of(set).unwrap().map(|rules| rules.proxy().to_string());
        let mut set = vec![("http_proxy", "http://plain:1"), ("all_proxy", "socks5://d:1")];
        assert_eq!(shown(&set[..1]), None);
        assert_eq!(shown(&set), Some("socks5://d:1".into()));
        for (name, value) in
            [("ALL_PROXY", "http://c:1"), ("https_proxy", "http://b:1"), ("HTTPS_PROXY", "http://a:1")]
        {
            set.push((name, value));
            assert_eq!(shown(&set).as_deref(), Some(value));
        }
        assert_eq!(shown(&[("HTTPS_PROXY", ""), ("https_proxy", "http://b:1")]), Some("http://b:1".into()));
    }

    #[test]
    fn exceptions_come_from_no_proxy_in_either_case() {
        for name in ["NO_PROXY", "no_proxy"] {
            let rules = proxy_of(&[("HTTPS_PROXY", "p:1"), (name, "corp.example")]).unwrap().unwrap();
            assert!(rules.proxy_for("a.corp.example").is_none() && rules.proxy_for("docker.io").is_some());
        }
    }

    #[test]
    fn an_error_names_the_variable_and_not_its_value() {
        let error = proxy_of(&[("ALL_PROXY", "https://me:hunter2@proxy:1")]).unwrap_err().to_string();
        assert!(error.starts_with("ALL_PROXY: https:// proxies are not supported"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
