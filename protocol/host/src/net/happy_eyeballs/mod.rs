//! Connects to a host with several addresses, IPv6 and IPv4, at about the speed of the best one (RFC 8305).
//!
//! What a connection is, the caller decides: a TCP connection, or one whose peer has proved its identity. Must never
//! let an address that does not answer delay the next one by more than [`ATTEMPT_DELAY`].

mod candidates;

pub use candidates::{ATTEMPT_DELAY, CANDIDATES_MAX};

use candidates::{Candidates, Next};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use tokio::time::Instant;

/// No address led to a connection.
#[derive(Debug)]
pub struct RaceError<E> {
    /// Why the host could not be resolved, if that failed.
    pub resolve: Option<io::Error>,
    /// The failed attempts, in the order in which they failed.
    pub attempts: Vec<(SocketAddr, E)>,
}

/// Connects to the addresses of a host, each a little later than the one before, and at once if one has failed.
/// Returns the first connection; the other attempts are dropped.
///
/// `resolve` yields the addresses, in the order of preference. `last_good` is where a connection was made the last
/// time. It is a candidate too, whatever `resolve` yields and however long that takes: a resolver may fail, or lie.
///
/// # Errors
/// If no attempt succeeds. Attempts must end by themselves.
pub async fn race<T, E, F>(
    resolve: impl Future<Output = io::Result<impl Iterator<Item = SocketAddr>>>,
    last_good: Option<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<(SocketAddr, T), RaceError<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let now = || Instant::now().into_std();
    let mut candidates = Candidates::new(last_good, now());
    let mut resolve = pin!(resolve);
    let mut running = FuturesUnordered::new();
    let mut failed = RaceError { resolve: None, attempts: Vec::new() };
    loop {
        let until = match candidates.next(now()) {
            Next::Start(address) => {
                let attempt = connect(address);
                running.push(async move { (address, attempt.await) });
                continue;
            }
            Next::WaitUntil(time) => Some(time),
            Next::Exhausted if running.is_empty() => return Err(failed),
            Next::Wait | Next::Exhausted => None,
        };
        let next_start = async {
            match until {
                Some(time) => tokio::time::sleep_until(time.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            resolved = &mut resolve, if !candidates.is_resolved() => match resolved {
                Ok(addresses) => candidates.resolved(addresses, now()),
                Err(error) => {
                    failed.resolve = Some(error);
                    candidates.resolved(std::iter::empty(), now());
                }
            },
            Some((address, ended)) = running.next(), if !running.is_empty() => match ended {
                Ok(connection) => return Ok((address, connection)),
                Err(error) => {
                    failed.attempts.push((address, error));
                    candidates.failed(now());
                }
            },
            () = next_start => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use std::time::Duration;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn resolved(texts: &[&str]) -> impl Future<Output = io::Result<std::vec::IntoIter<SocketAddr>>> {
        ready(Ok(texts.iter().map(|text| address(text)).collect::<Vec<_>>().into_iter()))
    }

    /// Attempts that take so many milliseconds. Those to a port above 1000 fail; those to port 0 never end.
    async fn attempt(to: SocketAddr, milliseconds: u64) -> Result<(), u16> {
        if to.port() == 0 {
            pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        if to.port() > 1000 { Err(to.port()) } else { Ok(()) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_black_hole_costs_no_more_than_the_delay() {
        let start = Instant::now();
        let raced = race(resolved(&["[2001:db8::1]:0", "192.0.2.1:1"]), None, |to| attempt(to, 200)).await;
        assert_eq!(raced.unwrap().0, address("192.0.2.1:1"));
        assert_eq!(start.elapsed(), Duration::from_millis(450));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_refuses_costs_only_its_refusal() {
        let start = Instant::now();
        let raced = race(resolved(&["192.0.2.1:2000", "192.0.2.2:1"]), None, |to| attempt(to, 5)).await;
        assert_eq!(raced.unwrap().0, address("192.0.2.2:1"));
        assert_eq!(start.elapsed(), Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_good_address_works_while_the_resolver_is_silent_or_lies() {
        let good = address("192.0.2.9:1");
        let silent = pending::<io::Result<std::vec::IntoIter<SocketAddr>>>();
        assert_eq!(race(silent, Some(good), |to| attempt(to, 5)).await.unwrap().0, good);
        for wrong in ["198.51.100.1:0", "198.51.100.1:2000"] {
            let raced = race(resolved(&[wrong]), Some(good), |to| attempt(to, 5)).await;
            assert_eq!(raced.unwrap().0, good);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_connection_all_failures_are_reported() {
        let raced = race(resolved(&["192.0.2.1:2001", "192.0.2.2:2002"]), None, |to| attempt(to, 5)).await;
        let error = raced.unwrap_err();
        assert_eq!(error.attempts.iter().map(|(_, port)| *port).collect::<Vec<_>>(), [2001, 2002]);
        assert!(error.resolve.is_none());
        let unknown = ready(Err::<std::vec::IntoIter<SocketAddr>, _>(io::Error::other("no such host")));
        let raced = race(unknown, None, |to| attempt(to, 5)).await;
        let error = raced.unwrap_err();
        assert!(error.resolve.is_some() && error.attempts.is_empty());
    }
}
