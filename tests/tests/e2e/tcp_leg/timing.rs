//! How long a stranger waits for the 404: no longer for a wrong secret than for anything else, or names and secrets
//! could be guessed one by one.

use std::time::{Duration, Instant};

use docxy_protocol::link::{ClientSecret, Link};
use docxy_tests::statistics::median;
use http::{HeaderMap, Method, StatusCode};

use super::strangers::{ask, hello, http2};
use crate::support::testbed::{Testbed, invite};

/// Requests of each kind: 1,000 in all.
const ROUNDS: usize = 200;

/// What the issue allows between two medians.
const DIFFERENCE_MAX: Duration = Duration::from_millis(1);

/// All kinds take turns, so that other load on the machine meets all of them alike.
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
        for turn in 0..kinds.len() {
            // Another one is first in each round.
            let kind = (turn + round) % kinds.len();
            let (_, method, body) = &kinds[kind];
            let mut requests = http2(testbed.server.address(), link.pin).await.ready().await.unwrap();
            let started = Instant::now();
            let (status, ..) = ask(&mut requests, method.clone(), "/", &HeaderMap::new(), body).await;
            times[kind].push(started.elapsed().as_secs_f64());
            assert_eq!(status, StatusCode::NOT_FOUND);
        }
    }
    let medians: Vec<_> =
        kinds.iter().zip(&times).map(|((kind, ..), times)| (*kind, median(times.iter().copied()))).collect();
    let of = |pick: fn(f64, f64) -> f64| medians.iter().map(|(_, median)| *median).reduce(pick).unwrap();
    let difference = of(f64::max) - of(f64::min);
    assert!(difference < DIFFERENCE_MAX.as_secs_f64(), "{difference} s: {medians:?}");
}
