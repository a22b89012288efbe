//! The named links of tests and benches, from easy to hopeless.
//! Must never change to make a test pass: figures measured months apart are compared by these names.

use std::time::Duration;

use crate::wan::link::{
    conditions::{Conditions, Link, Loss, Recurrence},
    middlebox::rules::{QuicRejection, TcpRule, UdpRule},
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
    ONE_WAY_UDP,
    QUIC_CRYPTO_ERROR,
    QUIC_RETRY,
    QUIC_VERSIONS,
    FROZEN_TCP,
    DROPPED_SERVERHELLO,
    RESET_PORT,
    BLACK_HOLED_IPV6,
    WORSENS_AND_MENDS,
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

/// Two of these, to two servers, are one hundred.
pub const TRANSPACIFIC_50M: LinkPreset =
    named("transpacific-50M", "half of a line across the sea", Conditions::clean(Rate::mbit(50), rtt(200)));

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
        outages: Some(Recurrence { period: Duration::from_secs(8), duration: Duration::from_millis(400) }),
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

/// After 64 KiB of a UDP flow nothing comes back.
pub const ONE_WAY_UDP: LinkPreset = downstream(
    "one-way-udp",
    "an operator that stops long UDP flows in one direction",
    Conditions { udp: UdpRule::Limited { bytes: 64 * 1024 }, ..LONG_DISTANCE },
);

/// QUIC's handshake is answered with CONNECTION_CLOSE.
pub const QUIC_CRYPTO_ERROR: LinkPreset =
    rejected_quic("rejected-quic-crypto-error", QuicRejection::CryptoError);

/// QUIC's handshake is answered with Retry.
pub const QUIC_RETRY: LinkPreset = rejected_quic("rejected-quic-retry", QuicRejection::Retry);

/// QUIC's handshake is answered with Version Negotiation.
pub const QUIC_VERSIONS: LinkPreset = rejected_quic("rejected-quic-versions", QuicRejection::Versions);

/// A TCP connection freezes after 16 KiB from the server.
pub const FROZEN_TCP: LinkPreset = downstream(
    "frozen-tcp",
    "a filter that lets TCP connections to foreign hosters begin",
    Conditions { tcp: TcpRule::Frozen { bytes: 16 * 1024 }, ..LONG_DISTANCE },
);

/// No TLS handshake over TCP gets its first answer.
pub const DROPPED_SERVERHELLO: LinkPreset = downstream(
    "dropped-serverhello",
    "a filter that drops the first flight of a TLS server",
    Conditions { tcp: TcpRule::NoServerHello, ..LONG_DISTANCE },
);

/// TCP port 443 is reset, its UDP dropped; other ports work.
pub const RESET_PORT: LinkPreset =
    named("reset-port", "a filter of port 443 alone", Conditions { reset_port: Some(443), ..LONG_DISTANCE });

/// IPv6 addresses exist, but no packet arrives.
pub const BLACK_HOLED_IPV6: LinkPreset = named(
    "black-holed-ipv6",
    "a network whose IPv6 leads nowhere",
    Conditions { drops_ipv6: true, ..LONG_DISTANCE },
);

/// UDP is nearly useless for 20 s of each minute.
pub const WORSENS_AND_MENDS: LinkPreset = named(
    "worsens-and-mends",
    "an operator that polices UDP now and then",
    Conditions {
        udp: policed_at_times(
            Rate::mbit(5),
            Recurrence { period: Duration::from_secs(60), duration: Duration::from_secs(20) },
        ),
        ..LONG_DISTANCE
    },
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

/// These conditions for what the server sends alone; the client's direction is only as long and fast.
const fn downstream(name: &'static str, description: &'static str, conditions: Conditions) -> LinkPreset {
    let upstream = Conditions { delay: conditions.delay, rate: conditions.rate, ..Conditions::PERFECT };
    LinkPreset { name, description, link: Link { left_to_right: upstream, right_to_left: conditions } }
}

/// QUIC is rejected in the client's direction.
const fn rejected_quic(name: &'static str, how: QuicRejection) -> LinkPreset {
    let rejected = Conditions { udp: UdpRule::Rejected(how), ..LONG_DISTANCE };
    let link = Link { left_to_right: rejected, right_to_left: LONG_DISTANCE };
    LinkPreset { name, description: "a filter that answers QUIC's handshake itself", link }
}

const fn policed_at_times(rate: Rate, times: Recurrence) -> UdpRule {
    match UdpRule::policed(rate) {
        UdpRule::Policed { rate, burst, .. } => UdpRule::Policed { rate, burst, times: Some(times) },
        other => other,
    }
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
