//! Congestion control on simulated networks: a sender that behaves like quinn-proto's, a link, and the
//! expected results. Time is virtual, and the same seed gives the same result.
//!
//! `cargo test -p docxy-protocol --release --test congestion scenarios_table -- --ignored --nocapture` prints
//! the results of each scenario; `competing_flows_table` those beside other flows; `trace` shows one run over
//! time.

mod app_limited;
mod bbr;
mod competing_flows;
mod constant_window;
mod cubic;
mod fixed_rate;
mod path_changes;
mod simulator;
mod steady_paths;
mod tables;

use docxy_protocol::congestion::Auto;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Time since the start of a simulation.
type Time = Duration;

/// UDP payload of a full packet in bytes.
const MTU: u64 = 1452;

/// The seeds of each test: two of them, or the number in `DOCXY_TEST_SEEDS`, as in `scripts/test --all`.
fn seeds() -> RangeInclusive<u64> {
    let count =
        std::env::var("DOCXY_TEST_SEEDS").map(|count| count.parse().expect("DOCXY_TEST_SEEDS is a number"));
    1..=count.unwrap_or(2)
}

/// Size of a full packet on the link in bytes, with IPv4 and UDP headers.
const PACKET_BYTES: u64 = MTU + 28;

/// Auto for a path of which nothing is known.
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
