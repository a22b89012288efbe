//! The variables of the environment that name a proxy, as curl and most other programs know them.
//!
//! Must never quote a value: it may contain a password.

use super::url::{Proxy, ProxyUrlError};
use std::ffi::OsString;

/// The variables for TLS connections, the first one wins. `HTTP_PROXY` is for plain HTTP, which Docxy never sends.
const VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// The variable for the user's choice.
const CHOSEN: &str = "DOCXY_PROXY";

/// The variables for exceptions.
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// A variable has no usable value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {source}")]
pub struct EnvironmentError {
    variable: &'static str,
    source: ProxyUrlError,
}

/// The variables that name a proxy. An empty one counts as not set.
pub struct Environment<F>(F);

impl Environment<fn(&str) -> Option<OsString>> {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self(|name| std::env::var_os(name))
    }
}

impl<F: Fn(&str) -> Option<OsString>> Environment<F> {
    /// Those that this function reads.
    pub const fn new(read: F) -> Self {
        Self(read)
    }

    /// The proxy that `DOCXY_PROXY` names.
    ///
    /// # Errors
    /// If it is set to something that is not a proxy.
    pub fn chosen(&self) -> Result<Option<Proxy>, EnvironmentError> {
        self.proxy([CHOSEN])
    }

    /// The proxy that all programs use, by `HTTPS_PROXY` or `ALL_PROXY`.
    ///
    /// # Errors
    /// If the variable is set to something that is not a proxy.
    pub fn usual(&self) -> Result<Option<Proxy>, EnvironmentError> {
        self.proxy(VARIABLES)
    }

    /// The destinations that all programs reach without a proxy: the value of `NO_PROXY`.
    pub fn exceptions(&self) -> String {
        EXCEPTIONS.into_iter().find_map(|name| self.read(name)).unwrap_or_default()
    }

    fn proxy<const N: usize>(&self, variables: [&'static str; N]) -> Result<Option<Proxy>, EnvironmentError> {
        let mut set = variables.into_iter().filter_map(|name| Some((name, self.read(name)?)));
        let Some((variable, value)) = set.next() else { return Ok(None) };
        value.parse().map(Some).map_err(|source| EnvironmentError { variable, source })
    }

    fn read(&self, name: &str) -> Option<String> {
        let value = (self.0)(name).filter(|value| !value.is_empty())?;
        Some(value.to_string_lossy().into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(set: &[(&str, &str)]) -> Environment<impl Fn(&str) -> Option<OsString>> {
        Environment::new(|name| {
            set.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn https_wins_over_all_and_upper_case_over_lower_case() {
        let shown = |set: &[(&str, &str)]| environment(set).usual().unwrap().map(|proxy| proxy.to_string());
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
        assert_eq!(environment(&set).chosen(), Ok(None));
        set.push(("DOCXY_PROXY", "http://e:1"));
        assert_eq!(environment(&set).chosen().unwrap().unwrap().to_string(), "http://e:1");
    }

    #[test]
    fn exceptions_have_two_names() {
        assert_eq!(environment(&[]).exceptions(), "");
        assert_eq!(environment(&[("no_proxy", "a"), ("NO_PROXY", "b")]).exceptions(), "b");
        assert_eq!(environment(&[("no_proxy", "a")]).exceptions(), "a");
    }

    #[test]
    fn an_error_names_the_variable_and_not_its_value() {
        for variable in ["ALL_PROXY", "DOCXY_PROXY"] {
            let set = [(variable, "https://me:hunter2@proxy:1")];
            let environment = environment(&set);
            let error = environment.usual().and(environment.chosen()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{variable}: https:// proxies are not supported")), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
