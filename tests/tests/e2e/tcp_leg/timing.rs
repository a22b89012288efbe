//! How long a stranger waits for the 404: no longer for a wrong secret than for anything else, or names and secrets
//! could be guessed one by one.

use std::time::{Duration, Instant};

use docxy_protocol::link::{ClientSecret, Link};
use docxy_tests::statistics::median;
use futures_util::future::join_all;
use http::{HeaderMap, Method, StatusCode};

use super::strangers::{ask, hello, http2};
use crate::support::testbed::{Testbed, invite};

/// Requests of each kind.
const ROUNDS: usize = 400;

/// What the issue allows between two medians.
const DIFFERENCE_MAX: Duration = Duration::from_millis(1);

/// A request of each kind is on its way at any moment, so that other load on the machine meets all of them alike.
#[ignore = "other load delays the kinds unequally: scripts/test --all runs it alone"]
#[tokio::test(flavor = "multi_thread")]
async fn strangers_wait_equally_long() {
    let mut testbed = Testbed::new().await;
    let link: Link = invite(&mut testbed.server, "phone").parse().unwrap();
    let revoked: Link = invite(&mut testbed.server, "lost").parse().unwrap();
    tokio::task::block_in_place(|| testbed.server.revoke("lost")).unwrap();
    let wrong = || ClientSecret::from_random([7; 32]);
    let kinds = [
        ("wrong name", Method::POST, hello("nobody", link.secret.clone())),
        ("wrong secret", Method::POST, hello("phone", wrong())),
        ("wrong secret of a revoked name", Method::POST, hello(&revoked.name.to_string(), wrong())),
        ("no Hello", Method::POST, vec![b'x'; hello("phone", wrong()).len()]),
        ("another request", Method::GET, Vec::new()),
    ];
    let mut times = vec![Vec::new(); kinds.len()];
    for round in 0..ROUNDS {
        let connections = join_all(kinds.iter().map(|_| http2(testbed.server.address(), link.pin))).await;
        let mut order: Vec<_> = connections.into_iter().zip(&kinds).enumerate().collect();
        // Another one is first in each round.
        order.rotate_left(round % kinds.len());
        let answers = order.into_iter().map(|(kind, (requests, (_, method, body)))| async move {
            let mut requests = requests.ready().await.unwrap();
            let started = Instant::now();
            let (status, ..) = ask(&mut requests, method.clone(), "/", &HeaderMap::new(), body).await;
            assert_eq!(status, StatusCode::NOT_FOUND);
            (kind, started.elapsed().as_secs_f64())
        });
        for (kind, time) in join_all(answers).await {
            times[kind].push(time);
        }
    }
    let medians: Vec<_> =
        kinds.iter().zip(&times).map(|((kind, ..), times)| (*kind, median(times.iter().copied()))).collect();
    let of = |pick: fn(f64, f64) -> f64| medians.iter().map(|(_, median)| *median).reduce(pick).unwrap();
    println!("medians in seconds: {medians:?}");
    let difference = of(f64::max) - of(f64::min);
    assert!(difference < DIFFERENCE_MAX.as_secs_f64(), "{difference} s: {medians:?}");
}
