//! Pulls work with every congestion control, within the rates that client and operator allow.

use docxy_tests::docxy::{self, Server};
use futures_util::future::join_all;
use http::StatusCode;
use hub_stand_in::Blob;
use std::time::{Duration, Instant};
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient},
    testbed::{Testbed, bytes, client, config, hub, invite, server},
};

const MIB: u64 = 1024 * 1024;

/// Connections whose stated rate was capped.
fn capped(server: &mut Server) -> u64 {
    block_in_place(|| docxy::count(&server.status().unwrap(), "capped_rates")).unwrap()
}

/// What may be sent without waiting, and what is on its way when the response begins.
const BURST: Duration = Duration::from_millis(50);

/// Several initial windows of any congestion control.
const LARGE_BLOB: u64 = 8 * MIB;

#[tokio::test(flavor = "multi_thread")]
async fn every_congestion_control_pulls() {
    for how in ["auto", "cubic", "down=400 Mbit/s,up=20 Mbit/s"] {
        let hub = hub().await;
        let config = config(&hub);
        let testbed = Testbed::with(hub, &config, &["--congestion", how]);
        let health = testbed.engine.get("/health", &[]).await;
        assert_eq!(health.json()["congestion"], how);
        let (blob, path) = testbed.with_blob(1, LARGE_BLOB);
        let bearer = testbed.engine.anonymous("library/hello").await;
        let response = testbed.engine.get(&path, &[("authorization", &bearer), ANY]).await;
        assert_eq!(response.status, StatusCode::OK, "{how}");
        assert!(response.body == bytes(&blob), "{how}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stated_rate_is_capped_by_the_operators_limit() {
    let hub = hub().await;
    let mut config = config(&hub);
    config.fixed_rate_limit = Some("300 Mbit/s".to_owned());
    let mut server = server(&config);
    let link = invite(&mut server, "laptop");

    let modest = client(&link, &["--congestion", "down=300 Mbit/s"]);
    assert_eq!(capped(&mut server), 0);
    drop(modest);

    let greedy = client(&link, &["--congestion", "down=500 Mbit/s"]);
    assert_eq!(capped(&mut server), 1);
    let response = HttpClient::at(greedy.address()).get("/v2/", &[]).await;
    assert_eq!(response.status, StatusCode::UNAUTHORIZED);
    drop(greedy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stated_rate_is_not_exceeded_on_tcp() {
    let hub = hub().await;
    let config = config(&hub);
    let testbed = Testbed::with(hub, &config, &["--leg", "tcp", "--congestion", "down=40 Mbit/s"]);
    let (blob, path) = testbed.with_blob(1, LARGE_BLOB);
    let bearer = testbed.engine.anonymous("library/hello").await;
    let begun = Instant::now();
    let response = testbed.engine.get(&path, &[("authorization", &bearer), ANY]).await;
    assert!(response.body == bytes(&blob));
    let least = Duration::from_secs_f64(LARGE_BLOB as f64 / 5e6) - BURST;
    assert!(begun.elapsed() >= least, "{LARGE_BLOB} bytes in {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_congestion_control_exceeds_the_maximum_rate() {
    const MAX: (&str, f64) = ("40 Mbit/s", 40e6 / 8.0);
    for (operator, client) in [(Some(MAX.0), None), (None, Some(MAX.0)), (Some(MAX.0), Some("90 Mbit/s"))] {
        let ways = ["auto", "cubic", "down=400 Mbit/s"].map(|how| ["quic", "tcp"].map(|leg| (how, leg)));
        for (how, leg) in ways.into_iter().flatten() {
            let hub = hub().await;
            let mut config = config(&hub);
            config.client_max_rate = operator.map(str::to_owned);
            let max_rate = client.map(|rate| format!("down={rate}"));
            let mut flags = vec!["--congestion", how, "--leg", leg];
            flags.extend(max_rate.iter().flat_map(|rate| ["--max-rate", rate]));
            let testbed = Testbed::with(hub, &config, &flags);
            let (blob, path) = testbed.with_blob(1, LARGE_BLOB);
            let bearer = testbed.engine.anonymous("library/hello").await;
            let begun = Instant::now();
            let response = testbed.engine.get(&path, &[("authorization", &bearer), ANY]).await;
            let elapsed = begun.elapsed();
            assert!(response.body == bytes(&blob), "{how}, {leg}");
            let least = Duration::from_secs_f64(LARGE_BLOB as f64 / MAX.1) - BURST;
            assert!(elapsed >= least, "{how}, {leg}: {LARGE_BLOB} bytes in {elapsed:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maximum_rate_holds_for_the_client_that_asks_for_it_and_for_no_other_one_of_its_link() {
    const MAX: (&str, f64) = ("down=8 Mbit/s", 8e6 / 8.0);
    for is_limited_first in [true, false] {
        let hub = hub().await;
        let config = config(&hub);
        let mut server = server(&config);
        let link = invite(&mut server, "laptop");
        let limits: [&[&str]; 2] = [&["--max-rate", MAX.0], &[]];
        let order = if is_limited_first { [0, 1] } else { [1, 0] };
        let mut clients = order.map(|n| (n, client(&link, limits[n])));
        clients.sort_by_key(|(n, _)| *n);
        let blobs = [1, 2].map(|seed| Blob::generated(seed, LARGE_BLOB));
        let begun = Instant::now();
        let pulls = clients.iter().zip(&blobs).map(|((_, client), blob)| {
            hub.store().add_blob("library/hello", blob.clone());
            let path = format!("/v2/library/hello/blobs/{}", blob.digest());
            let engine = HttpClient::at(client.address());
            async move {
                let bearer = engine.anonymous("library/hello").await;
                let response = engine.get(&path, &[("authorization", &bearer), ANY]).await;
                assert!(response.body == bytes(blob));
                begun.elapsed()
            }
        });
        let [limited, unlimited] = join_all(pulls).await[..] else { unreachable!("two clients") };
        let least = Duration::from_secs_f64(LARGE_BLOB as f64 / MAX.1) - BURST;
        assert!(limited >= least, "{LARGE_BLOB} bytes in {limited:?}");
        assert!(unlimited < limited, "{unlimited:?} without a limit, {limited:?} with one");
    }
}
