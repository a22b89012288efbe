//! Congestion control over modelled networks: a sender that behaves like quinn-proto's, a link, and
//! what must come of it. Virtual time only, and a seed replays exactly.
//!
//! `cargo test -p docxy-protocol --release --test congestion figures -- --ignored --nocapture` prints
//! what each link gives; `trace` beside it shows one run as it goes.

mod app_limited;
mod bbr;
mod competing_flows;
mod constant_window;
mod cubic;
mod fixed_rate;
mod link;
mod pacer;
mod path_changes;
mod receiver;
mod report;
mod rtt_estimator;
mod scenarios;
mod sender;
mod simulation;
mod steady_paths;
mod tables;
mod traffic_source;

use docxy_protocol::congestion::Auto;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Time since a simulation began.
type Time = Duration;

/// UDP payload of a full packet.
const MTU: u64 = 1452;

/// What expectations are tried with.
const SEEDS: RangeInclusive<u64> = 1..=2;

/// What the link carries for it: with IPv4 and UDP headers.
const PACKET_BYTES: u64 = MTU + 28;

/// The controller, for a path that it knows nothing of.
fn auto(now: Instant) -> Auto {
    Auto::new(now, MTU as u16)
}

const fn us(microseconds: u64) -> Duration {
    Duration::from_micros(microseconds)
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
