//! How many round trips a request takes over a long path. Each test takes a few seconds of delay.

use std::time::{Duration, Instant};

use docxy_tests::docxy::Client;
use http::{Method, StatusCode};
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient},
    testbed::{config, hello, hub, server, wait_until_up},
    udp_relay::{QUIC, UdpRelay},
};

const ONE_WAY: Duration = Duration::from_millis(300);
const LATEST: &str = "/v2/library/hello/manifests/latest";
const PUBLIC: (&str, &str) = ("authorization", "Bearer docxy-public");
const DOCKERD: (&str, &str) = ("user-agent", "docker/29.0.1 go/go1.25.4");

/// Measurements, of which a busy machine may disturb all but one.
const ATTEMPTS: usize = 4;

/// The shortest duration of `measured` in round trips. Repeats the measurement until one is below `target`.
async fn fewest_round_trips(target: f64, measured: impl AsyncFn() -> Duration) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ATTEMPTS {
        best = best.min(measured().await.as_secs_f64() / (2 * ONE_WAY).as_secs_f64());
        println!("{best:.2} round trips");
        if best < target {
            break;
        }
    }
    best
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_client_answers_after_two_round_trips() {
    let hub = hub().await;
    let server = server(&config(&hub));
    let relay = UdpRelay::with_delay(server.address(), ONE_WAY).await;
    let link = relay.link_to(&server, "laptop");
    let measured = fewest_round_trips(2.75, async || {
        let started = Instant::now();
        let client = block_in_place(|| Client::start_with(None, &link, &QUIC)).unwrap();
        let engine = HttpClient::at(client.address());
        let response = engine.request(Method::HEAD, LATEST, &[PUBLIC, ANY, DOCKERD]).await;
        assert_eq!(response.status, StatusCode::OK);
        started.elapsed()
    });
    let measured = measured.await;
    assert!((2.0..2.75).contains(&measured), "{measured} round trips");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_image_takes_one_round_trip_after_idle_time() {
    let hub = hub().await;
    let server = server(&config(&hub));
    let relay = UdpRelay::with_delay(server.address(), ONE_WAY).await;
    let link = relay.link_to(&server, "laptop");
    let image = hello();
    let platform = image.platform(if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }).unwrap();
    let paths = [
        format!("/v2/library/hello/manifests/{}", image.digest()),
        format!("/v2/library/hello/manifests/{}", platform.manifest.digest),
        format!("/v2/library/hello/blobs/{}", platform.config.digest()),
        format!("/v2/library/hello/blobs/{}", platform.layers[0].blob.digest()),
    ];
    let measured = fewest_round_trips(1.75, async || {
        let mut client = block_in_place(|| Client::start_with(None, &link, &QUIC)).unwrap();
        wait_until_up(&mut client);
        // Idle except for keep-alive pings.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let engine = HttpClient::at(client.address());
        let started = Instant::now();
        assert_eq!(engine.get("/v2/", &[DOCKERD]).await.status, StatusCode::UNAUTHORIZED);
        engine.anonymous("library/hello").await;
        let head = engine.request(Method::HEAD, LATEST, &[PUBLIC, ANY, DOCKERD]).await;
        assert_eq!(head.status, StatusCode::OK);
        for path in &paths {
            let response = engine.get(path, &[PUBLIC, ANY, DOCKERD]).await;
            assert!(response.status == StatusCode::OK && response.whole, "{path}");
        }
        started.elapsed()
    });
    let measured = measured.await;
    assert!((1.0..1.75).contains(&measured), "{measured} round trips");
}
