//! Keeps the tunnel up: dials, listens to what the server has to say, dials again.
//!
//! The only writer of the tunnel's status. A handshake that succeeded is not yet a tunnel that
//! works: the server may refuse the Hello a round trip later.

use super::Status;
use super::backoff::{Outcome, between};
use super::course::Course;
use super::dial::{Dialled, dial};
use crate::settings::TunnelSettings;
use docxy_protocol::control::{CloseCode, Notice};
use docxy_protocol::frame;
use quinn::{Connection, ConnectionError, VarInt};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a server may take to answer the Hello. A flow that a filter has blocked looks like a
/// good handshake followed by silence; another one, from another port, may get through.
const WELCOME: Duration = Duration::from_secs(5);

/// Runs until `stop`.
pub(super) async fn keep(settings: TunnelSettings, status: watch::Sender<Status>, stop: CancellationToken) {
    tokio::select! {
        () = dial_for_ever(&settings, &status) => {}
        () = stop.cancelled() => {
            let line = match &*status.borrow() {
                Status::Up { line, .. } => Some(line.clone()),
                _ => None,
            };
            if let Some(line) = line {
                line.hang_up().await;
            }
        }
    }
}

async fn dial_for_ever(settings: &TunnelSettings, status: &watch::Sender<Status>) {
    let TunnelSettings { links, congestion } = settings;
    let mut course = Course::new(links.len());
    // Since when there has been no tunnel; never until there was one.
    let mut lost: Option<SystemTime> = None;
    let mut down_since = Instant::now();
    loop {
        let begun = Instant::now();
        let target = match course.next(begun) {
            Ok(target) => target,
            Err(until) => {
                tokio::time::sleep_until(until.into()).await;
                continue;
            }
        };
        let ended = match dial(&links[target.server], *congestion, target.attempt).await {
            Ok(dialled) => stay(dialled, status).await,
            Err(error) => Ended::Failed(error.to_string()),
        };
        let why = match ended {
            Ended::Lost(why) => {
                tracing::warn!(reason = %why, "tunnel lost; reconnecting");
                lost = Some(SystemTime::now());
                down_since = Instant::now();
                course.worked(target);
                why
            }
            Ended::Failed(why) => {
                tracing::warn!(reason = %why, "no tunnel yet; trying again");
                course.failed(target);
                why
            }
            Ended::Refused(code) => {
                tracing::error!(reason = code.reason(), "the server refuses this client");
                course.refused(target, Instant::now() + between(Outcome::Refused, Duration::ZERO, random()));
                if course.next(Instant::now()).is_err() {
                    status.send_replace(Status::Refused { why: code.reason() });
                    continue;
                }
                code.reason().to_owned()
            }
        };
        status.send_replace(match lost {
            Some(since) => Status::Down { since, why },
            None => Status::Connecting { why: Some(why) },
        });
        let pause = between(Outcome::Failed, down_since.elapsed(), random());
        // Counted from the attempt's beginning: after the loss of a tunnel that stood for a while
        // there is none, since somebody may be waiting and most losses are over at once.
        tokio::time::sleep(pause.saturating_sub(begun.elapsed())).await;
    }
}

/// How an attempt, or the connection that came of it, ended.
enum Ended {
    /// After it had been a tunnel.
    Lost(String),
    /// Before.
    Failed(String),
    /// The server doesn't want us.
    Refused(CloseCode),
}

/// Offers the connection to everybody until it is lost or the server says that it will end.
async fn stay(dialled: Dialled, status: &watch::Sender<Status>) -> Ended {
    let Dialled { line, mut control, address } = dialled;
    let connection = line.connection().clone();
    status.send_replace(Status::Up { line, since: SystemTime::now() });
    match tokio::time::timeout(WELCOME, frame::read(&mut control)).await {
        Ok(Ok(Notice::Welcome { version })) => tracing::info!(%address, %version, "tunnel up"),
        Ok(Ok(Notice::Draining)) => return Ended::Failed(CloseCode::Draining.reason().into()),
        Ok(Err(_)) => return ended(&connection, Ended::Failed).await,
        Err(_) => {
            hang_up(&connection, CloseCode::Done);
            return Ended::Failed(format!("{address}: a handshake and then silence; is the way filtered?"));
        }
    }
    match frame::read(&mut control).await {
        // Running answers keep the connection; new requests go over the next one.
        Ok(Notice::Draining) => Ended::Lost(CloseCode::Draining.reason().into()),
        Ok(Notice::Welcome { .. }) | Err(_) => ended(&connection, Ended::Lost).await,
    }
}

/// The control stream ends only together with the connection, whose reason is the one that counts.
async fn ended(connection: &Connection, without_refusal: fn(String) -> Ended) -> Ended {
    if connection.close_reason().is_none() {
        hang_up(connection, CloseCode::Violation);
    }
    let reason = connection.closed().await;
    let code = match &reason {
        ConnectionError::ApplicationClosed(close) => CloseCode::from_code(close.error_code.into_inner()),
        _ => None,
    };
    match code {
        Some(code) if code.is_refusal() => Ended::Refused(code),
        Some(code) => without_refusal(code.reason().to_owned()),
        None => without_refusal(reason.to_string()),
    }
}

fn hang_up(connection: &Connection, code: CloseCode) {
    connection.close(VarInt::from_u32(code.code()), code.reason().as_bytes());
}

/// From 0 to 1. Without a source of randomness clients only come back in step, which does no harm.
fn random() -> f64 {
    let mut bytes = [0; 4];
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
}
