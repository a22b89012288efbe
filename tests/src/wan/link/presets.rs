//! The named links of tests and benches, from easy to hopeless.
//! Must never change to make a test pass: figures measured months apart are compared by these names.

use std::time::Duration;

use crate::wan::link::{
    conditions::{Conditions, Link, Loss, Outages, UdpRule},
    rate::Rate,
};

/// A link with a name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkPreset {
    /// The name on a command line.
    pub name: &'static str,
    /// Where such a link is found.
    pub description: &'static str,
    /// Its conditions.
    pub link: Link,
}

/// All named links.
pub const PRESETS: &[LinkPreset] = &[
    CLEAN_METRO,
    FAT_METRO,
    CONTINENTAL,
    TRANSPACIFIC,
    TRANSPACIFIC_1,
    TRANSPACIFIC_5,
    TRANSPACIFIC_10,
    TRANSPACIFIC_15,
    FAT_TRANSPACIFIC_5,
    TRANSPACIFIC_50M,
    TRANSPACIFIC_20M,
    TRANSPACIFIC_5M,
    BURSTY_MOBILE,
    FLAKY_WIFI,
    POLICED_UDP,
    BLOCKED_UDP,
];

/// A server in the same town.
pub const CLEAN_METRO: LinkPreset =
    named("clean-metro", "a server in the same town", Conditions::clean(Rate::mbit(100), rtt(10)));

/// The same with a higher rate than most tunnels reach.
pub const FAT_METRO: LinkPreset =
    named("fat-metro", "a server in the same town, fibre", Conditions::clean(Rate::mbit(200), rtt(10)));

/// Fairness beside other flows is measured here.
pub const CONTINENTAL: LinkPreset = named(
    "continental",
    "a server some countries away; flows compete here",
    Conditions::clean(Rate::mbit(100), rtt(50)),
);

const LONG_DISTANCE: Conditions = Conditions::clean(Rate::mbit(100), rtt(200));

/// The link that the product is made for, without loss.
pub const TRANSPACIFIC: LinkPreset =
    named("transpacific", "a server across the sea, on a good day", LONG_DISTANCE);

/// 1 % loss.
pub const TRANSPACIFIC_1: LinkPreset =
    named("transpacific-1%", "the same on most evenings", lossy(LONG_DISTANCE, 0.01));

/// 5 % loss.
pub const TRANSPACIFIC_5: LinkPreset =
    named("transpacific-5%", "the same on a bad evening", lossy(LONG_DISTANCE, 0.05));

/// 10 % loss.
pub const TRANSPACIFIC_10: LinkPreset =
    named("transpacific-10%", "the same on a holiday", lossy(LONG_DISTANCE, 0.10));

/// 15 % loss.
pub const TRANSPACIFIC_15: LinkPreset =
    named("transpacific-15%", "about as bad as is still used", lossy(LONG_DISTANCE, 0.15));

/// A machine with two cores may be the limit here.
pub const FAT_TRANSPACIFIC_5: LinkPreset = named(
    "fat-transpacific-5%",
    "fibre across the sea on a bad evening",
    lossy(Conditions::clean(Rate::mbit(300), rtt(200)), 0.05),
);

/// Half of the rate: two servers behind such links give all of it.
pub const TRANSPACIFIC_50M: LinkPreset =
    named("transpacific-50M", "a line across the sea", Conditions::clean(Rate::mbit(50), rtt(200)));

/// A fifth of the rate.
pub const TRANSPACIFIC_20M: LinkPreset =
    named("transpacific-20M", "a cheap line across the sea", Conditions::clean(Rate::mbit(20), rtt(200)));

/// A layer takes minutes here, so nothing may wait for another one.
pub const TRANSPACIFIC_5M: LinkPreset =
    named("transpacific-5M", "a slow line across the sea", Conditions::clean(Rate::mbit(5), rtt(200)));

/// Loss in bursts.
pub const BURSTY_MOBILE: LinkPreset = named(
    "bursty-mobile",
    "a phone's hotspot abroad",
    Conditions {
        loss: Loss::Bursty { share: 0.02, burst: 8.0 },
        ..Conditions::clean(Rate::mbit(50), rtt(250))
    },
);

/// Jitter, short outages and some loss.
pub const FLAKY_WIFI: LinkPreset = named(
    "flaky-wifi",
    "a café's Wi-Fi",
    Conditions {
        jitter: Duration::from_millis(15),
        loss: Loss::Random { share: 0.01 },
        outages: Some(Outages { period: Duration::from_secs(8), duration: Duration::from_millis(400) }),
        ..Conditions::clean(Rate::mbit(50), rtt(60))
    },
);

/// UDP gets a fifth of the rate of TCP.
pub const POLICED_UDP: LinkPreset = named(
    "policed-udp",
    "an operator that polices UDP",
    Conditions { udp: UdpRule::policed(Rate::mbit(20)), ..LONG_DISTANCE },
);

/// UDP is blocked.
pub const BLOCKED_UDP: LinkPreset = named(
    "blocked-udp",
    "a network where only TCP gets out",
    Conditions { udp: UdpRule::Blocked, ..LONG_DISTANCE },
);

impl LinkPreset {
    /// The link with this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|link| link.name == name)
    }
}

const fn named(name: &'static str, description: &'static str, conditions: Conditions) -> LinkPreset {
    LinkPreset { name, description, link: Link::symmetric(conditions) }
}

const fn lossy(conditions: Conditions, share: f64) -> Conditions {
    Conditions { loss: Loss::Random { share }, ..conditions }
}

const fn rtt(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_is_found_by_its_name() {
        for link in PRESETS {
            assert_eq!(LinkPreset::find(link.name), Some(link));
        }
        assert_eq!(LinkPreset::find("transatlantic"), None);
    }
}
