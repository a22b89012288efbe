//! The connection settings that the user names for one command: a running client serves it only if it has the same.
//!
//! Holds hashes, since a link is a secret.

use super::{ConnectionFlags, Flags, LinkSource};
use crate::tunnel::TunnelConfig;
use docxy_protocol::digester::Digester;
use serde::{Deserialize, Serialize};

/// The settings that a flag, a variable or a config file of the command names, each with the hash of its value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenSettings(Vec<(String, String)>);

impl GivenSettings {
    /// Those that these flags, and the environment, name. `config` was loaded with them. What the default config file and
    /// the joined links say does not count: the running client has read them too.
    #[must_use]
    pub fn of(flags: &Flags, config: &TunnelConfig) -> Self {
        let ConnectionFlags { link_file, congestion, max_rate, leg, proxy, cache, cache_size: _ } =
            &flags.connection;
        let is_given = |name: &str| match name {
            _ if flags.config.is_some() => true,
            "links" => LinkSource::named(link_file.clone()).is_some(),
            "congestion" => congestion.is_some(),
            "max_rate" => max_rate.is_some(),
            "leg" => leg.is_some(),
            "proxy" => proxy.is_some() || std::env::var_os("DOCXY_PROXY").is_some(),
            _ => cache.is_some(),
        };
        Self(values(config).into_iter().filter(|(name, _)| is_given(name)).collect())
    }

    /// The same of the cache directory alone, for a command that only needs that.
    #[must_use]
    pub fn cache(flags: &Flags, config: &TunnelConfig) -> Self {
        let Self(mut given) = Self::of(flags, config);
        given.retain(|(name, _)| name == "cache");
        Self(given)
    }

    /// Whether a client that runs with `config` has these settings.
    pub(crate) fn are_those_of(&self, config: &TunnelConfig) -> bool {
        let values = values(config);
        self.0.iter().all(|given| values.contains(given))
    }
}

/// All settings with the hashes of their values.
fn values(config: &TunnelConfig) -> [(String, String); 6] {
    let TunnelConfig { links, congestion, max_rate, leg, proxy, cache, runtime: _ } = config;
    // `Debug` of a link shows no secret.
    let links: Vec<_> = links.iter().map(|joined| (joined.link.expose(), joined.trust)).collect();
    [
        ("links", format!("{links:?}")),
        ("congestion", format!("{congestion:?}")),
        ("max_rate", format!("{max_rate:?}")),
        ("leg", format!("{leg:?}")),
        ("proxy", format!("{proxy:?}")),
        ("cache", format!("{cache:?}")),
    ]
    .map(|(name, value)| (name.to_owned(), Digester::sha256().digest(value.as_bytes()).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_setting_must_be_the_same_and_others_may_differ() {
        let leg = |leg: &str| TunnelConfig { leg: leg.parse().unwrap(), ..TunnelConfig::default() };
        let mut flags = Flags::default();
        let none = GivenSettings::of(&flags, &leg("tcp"));
        flags.connection.leg = Some("tcp".parse().unwrap());
        let tcp = GivenSettings::of(&flags, &leg("tcp"));
        assert!(none.are_those_of(&leg("tcp")) && none.are_those_of(&leg("quic")));
        assert!(tcp.are_those_of(&leg("tcp")) && !tcp.are_those_of(&leg("quic")));
        let other_cache = TunnelConfig { cache: Some("/other".into()), ..leg("tcp") };
        assert!(tcp.are_those_of(&other_cache));
        flags.config = Some("client.toml".into());
        assert!(!GivenSettings::of(&flags, &leg("tcp")).are_those_of(&other_cache), "a file gives all");
    }
}
