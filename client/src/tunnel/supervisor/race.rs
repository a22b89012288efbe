//! Dials both legs, the second a step behind, until one is up.

use crate::tunnel::dial::{DialError, DialedSession};
use crate::tunnel::leg::DialOrder;
use docxy_transport::Leg;
use std::future::Future;
use std::pin::{Pin, pin};

/// The session that is up first, and the attempt of the leg that was dialed first, if the other one came up before it.
/// If both fail, the error has both reasons.
pub(super) async fn race<F>(
    order: DialOrder,
    dial: impl Fn(Leg) -> F,
) -> Result<(DialedSession, Option<Pin<Box<F>>>), DialError>
where
    F: Future<Output = Result<DialedSession, DialError>>,
{
    let mut first = Box::pin(dial(order.first));
    let Some((leg, head_start)) = order.second else { return Ok((first.await?, None)) };
    let mut failed = match tokio::time::timeout(head_start, &mut first).await {
        Ok(Ok(session)) => return Ok((session, None)),
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    let mut second = pin!(dial(leg));
    let mut second_failed = None;
    loop {
        tokio::select! {
            dialed = &mut first, if failed.is_none() => match dialed {
                Ok(session) => return Ok((session, None)),
                Err(error) => failed = Some(error),
            },
            dialed = &mut second, if second_failed.is_none() => match dialed {
                Ok(session) => return Ok((session, failed.is_none().then_some(first))),
                Err(error) => second_failed = Some(error),
            },
        }
        match (failed.take(), second_failed.take()) {
            (Some(one), Some(other)) => return Err(DialError::All(vec![one, other])),
            waiting => (failed, second_failed) = waiting,
        }
    }
}
