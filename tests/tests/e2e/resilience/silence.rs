//! `/health` tells when a server is not heard any more, and only then.

use std::time::{Duration, Instant};

use docxy_tests::process::PROCESS_TIMEOUT;
use serde_json::Value;
use tokio::task::block_in_place;

use crate::support::{
    relay::QUIC,
    relayed_testbed::RelayedTestbed,
    testbed::{config, hub},
};

/// Pings of an idle client that a session lives through: one each two seconds, and each a round trip longer.
const PINGS: u32 = 4;
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// What a busy machine may add.
const SLACK: Duration = Duration::from_millis(600);

/// An idle client with this leg is up while its pings are answered, and tells within this time of the last answer that
/// there is none any more.
async fn an_idle_client_tells_a_death(round_trip: Duration, leg: [&str; 2], within: Duration) {
    let hub = hub().await;
    let config = config(&hub);
    let RelayedTestbed { testbed, relay } = RelayedTestbed::with(hub, &config, round_trip / 2, &leg).await;
    let mut client = testbed.client;
    block_in_place(|| {
        let watched = Instant::now();
        let stays_up = |health: &Value| {
            assert_eq!(health["tunnel"], "up", "after {:?}: {health:#}", watched.elapsed());
            watched.elapsed() > (PING_INTERVAL + round_trip) * PINGS
        };
        let before = client.wait_for_health("stay up", PROCESS_TIMEOUT, stays_up).unwrap();
        let is_answered = |health: &Value| received(health) > received(&before);
        client.wait_for_health("be answered", PROCESS_TIMEOUT, is_answered).unwrap();
        relay.set_connected(false);
        let cut = Instant::now();
        let is_told = |health: &Value| health["tunnel"] != "up";
        let health = client.wait_for_health("tell it", PROCESS_TIMEOUT, is_told).unwrap();
        let told = cut.elapsed();
        assert_eq!(health["tunnel"], "suspected", "{health:#}");
        assert!(told <= within + SLACK, "{round_trip:?} {leg:?}: {told:?}");
    });
}

fn received(health: &Value) -> u64 {
    health["servers"][0]["bytes_received"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_is_told_within_three_seconds() {
    let (round_trip, within) = (Duration::from_millis(300), Duration::from_secs(3));
    for leg in [QUIC, ["--leg", "tcp"]] {
        an_idle_client_tells_a_death(round_trip, leg, within).await;
    }
}

/// The answer to a ping comes after three seconds: a session that works must not be suspected until then.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_line_of_a_second_a_death_is_told_when_the_answer_to_a_ping_is_overdue() {
    let (round_trip, within) = (Duration::from_secs(1), Duration::from_millis(3330));
    for leg in [QUIC, ["--leg", "tcp"]] {
        an_idle_client_tells_a_death(round_trip, leg, within).await;
    }
}
