//! Dials the ways to a server, each a step behind the one before, until one is up.

use crate::tunnel::dial::{DialError, DialedSession};
use crate::tunnel::leg::{DialOrder, Way};
use futures_util::future::select_all;
use std::future::Future;
use std::pin::Pin;
use tokio::time::{Instant, sleep_until};

/// The session that is up first, and QUIC's attempt, if that goes on. If all fail, the error has all reasons.
pub(in super::super) async fn race<F>(
    order: DialOrder,
    dial: impl Fn(Way) -> F,
) -> Result<(DialedSession, Option<Pin<Box<F>>>), DialError>
where
    F: Future<Output = Result<DialedSession, DialError>>,
{
    let mut ways = order.ways.iter().copied().peekable();
    let mut attempts: Vec<(Way, Pin<Box<F>>)> = Vec::new();
    let mut errors = Vec::new();
    let mut next_at = Instant::now();
    loop {
        if let Some(way) = ways.next_if(|_| Instant::now() >= next_at) {
            attempts.push((way, Box::pin(dial(way))));
            next_at = Instant::now() + order.head_start;
        }
        let is_next = ways.peek().is_some();
        let dialed = async {
            let (dialed, at, _) = select_all(attempts.iter_mut().map(|(_, attempt)| attempt)).await;
            (dialed, at)
        };
        let (dialed, at) = tokio::select! {
            dialed = dialed => dialed,
            () = sleep_until(next_at), if is_next => continue,
        };
        let is_last = at + 1 == attempts.len();
        let (way, _) = attempts.remove(at);
        match dialed {
            Ok(session) => {
                let quic = attempts.into_iter().find(|(way, _)| *way == Way::Quic);
                return Ok((session, quic.map(|(_, attempt)| attempt)));
            }
            Err(error) => errors.push((way, error)),
        }
        if is_last {
            next_at = Instant::now();
        }
        if attempts.is_empty() && !is_next {
            errors.sort_by_key(|(way, _)| order.ways.iter().position(|other| other == way));
            let mut errors: Vec<_> = errors.into_iter().map(|(_, error)| error).collect();
            return Err(if errors.len() == 1 { errors.remove(0) } else { DialError::All(errors) });
        }
    }
}
