//! The proxy on the way to the servers.

use super::error::SettingsError;
use crate::tunnel::{LegChoice, ProxyChoice};
use docxy_host::net::proxy::{Environment, Proxy, ProxyRules, ProxyTable};
use docxy_host::process::terminal::print_note;
use docxy_transport::Leg;
use std::ffi::OsString;
use std::path::Path;

/// The proxy of the argument, else of `DOCXY_PROXY`, else of the file: the only way. Without these, the one that all
/// programs use: one more way.
pub(super) fn proxy(
    argument: Option<Proxy>,
    environment: &Environment<impl Fn(&str) -> Option<OsString>>,
    file: ProxyTable,
    path: &Path,
) -> Result<Option<ProxyChoice>, SettingsError> {
    let named = match argument.or(environment.chosen()?) {
        Some(proxy) => Some(proxy),
        None => file.load(path)?,
    };
    if let Some(proxy) = named {
        return Ok(Some(ProxyChoice::Only(ProxyRules::everything(proxy))));
    }
    // It may be meant for programs that can use it.
    let usual = environment.usual().unwrap_or_else(|error| {
        print_note(&format!("docxy-client: not used: {error}"));
        None
    });
    Ok(usual.map(|proxy| ProxyChoice::Beside(ProxyRules::except(proxy, &environment.exceptions()))))
}

/// The leg that this proxy allows, if the user has set this one.
pub(super) fn leg(set: Option<LegChoice>, proxy: Option<&ProxyChoice>) -> Result<LegChoice, SettingsError> {
    match (set, proxy) {
        (Some(LegChoice::Only(Leg::Quic)), Some(ProxyChoice::Only(_))) => Err(SettingsError::ProxyWithQuic),
        (_, Some(ProxyChoice::Only(_))) => Ok(LegChoice::Only(Leg::Tcp)),
        (set, _) => Ok(set.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::file::ConfigFile;
    use docxy_host::files::toml_file;

    fn choice(
        file: &str,
        argument: Option<&str>,
        set: &[(&str, &str)],
    ) -> Result<Option<ProxyChoice>, String> {
        let config: ConfigFile = toml_file::parse(file).map_err(|error| error.to_string())?;
        let environment = Environment::new(|name| {
            set.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value))
        });
        let argument = argument.map(|argument| argument.parse().unwrap());
        proxy(argument, &environment, config.proxy, Path::new("client.toml"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_proxy_that_the_user_names_is_the_only_way_and_that_of_all_programs_one_more() {
        let set = [("DOCXY_PROXY", "http://b:1"), ("HTTPS_PROXY", "http://d:1"), ("NO_PROXY", "example.org")];
        let file = "[proxy]\nurl = 'http://c:1'";
        for (file, argument, set, expected) in [
            (file, Some("http://a:1"), &set[..], "http://a:1"),
            (file, None, &set, "http://b:1"),
            (file, None, &set[1..], "http://c:1"),
        ] {
            let Some(ProxyChoice::Only(rules)) = choice(file, argument, set).unwrap() else {
                panic!("{file}")
            };
            assert_eq!(rules.proxy_for("example.org").unwrap().to_string(), expected);
        }
        let Some(ProxyChoice::Beside(rules)) = choice("", None, &set[1..]).unwrap() else { panic!() };
        assert!(rules.proxy_for("example.org").is_none() && rules.proxy_for("other.example").is_some());
        assert_eq!(choice("", None, &[("ALL_PROXY", "socks4://d:1")]), Ok(None));
        assert!(
            choice("", None, &[("DOCXY_PROXY", "socks4://d:1")]).unwrap_err().starts_with("DOCXY_PROXY: ")
        );
        let error = choice("[proxy]\npassword_file = 'x'", None, &[]).unwrap_err();
        assert!(error.starts_with("client.toml, line "), "{error}");
    }

    #[test]
    fn only_the_tcp_leg_goes_through_a_proxy() {
        let rules = || ProxyRules::everything("http://p:1".parse().unwrap());
        let (only, beside) = (ProxyChoice::Only(rules()), ProxyChoice::Beside(rules()));
        let tcp = LegChoice::Only(Leg::Tcp);
        for set in [None, Some(LegChoice::Auto), Some(tcp)] {
            assert_eq!(leg(set, Some(&only)).unwrap(), tcp);
            assert_eq!(leg(set, Some(&beside)).unwrap(), set.unwrap_or_default());
        }
        assert!(leg(Some(LegChoice::Only(Leg::Quic)), Some(&only)).is_err());
    }
}
