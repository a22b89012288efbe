//! Keeps the tunnel up: dials, listens to what the server has to say, dials again.
//!
//! The only writer of the tunnel's status. A handshake that succeeded is not yet a tunnel that
//! works: the server may refuse the Hello a round trip later.

use super::Status;
use super::backoff::{Outcome, between};
use super::dial::{Dialled, dial};
use docxy_protocol::control::{CloseCode, Notice};
use docxy_protocol::frame;
use docxy_protocol::link::Link;
use quinn::{Connection, ConnectionError, RecvStream, VarInt};
use std::time::{Instant, SystemTime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Runs until `stop`.
pub(super) async fn keep(links: Vec<Link>, status: watch::Sender<Status>, stop: CancellationToken) {
    let work = async {
        let mut was_up = false;
        let mut down_since = Instant::now();
        for attempt in 0.. {
            let begun = Instant::now();
            // All servers before the next port or address of the first.
            let link = &links[attempt % links.len()];
            let ended = match dial(link, attempt / links.len()).await {
                Ok(dialled) => {
                    let ended = stay(dialled, &status).await;
                    if ended.welcomed {
                        was_up = true;
                        down_since = Instant::now();
                    }
                    ended
                }
                Err(error) => Ended { welcomed: false, refused: None, why: error.to_string() },
            };
            if let Some(code) = ended.refused {
                tracing::error!(reason = code.reason(), "the server refuses this client");
                status.send_replace(Status::Refused { why: code.reason() });
            } else if ended.welcomed {
                tracing::warn!(reason = %ended.why, "tunnel lost; reconnecting");
                status.send_replace(Status::Down { since: SystemTime::now(), why: ended.why });
            } else {
                tracing::warn!(reason = %ended.why, "no tunnel yet; trying again");
                status.send_modify(|status| blame(status, was_up, ended.why));
            }
            let outcome = if ended.refused.is_some() { Outcome::Refused } else { Outcome::Failed };
            let pause = between(outcome, down_since.elapsed(), random());
            // Counted from the attempt's beginning: after the loss of a tunnel that stood for a
            // while there is none, since somebody may be waiting and most losses are over at once.
            tokio::time::sleep(pause.saturating_sub(begun.elapsed())).await;
        }
    };
    tokio::select! {
        () = work => {}
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

/// How a connection ended.
struct Ended {
    welcomed: bool,
    refused: Option<CloseCode>,
    why: String,
}

/// Offers the connection to everybody until it is lost or the server says that it will end.
async fn stay(dialled: Dialled, status: &watch::Sender<Status>) -> Ended {
    let Dialled { line, mut control, address } = dialled;
    let connection = line.connection().clone();
    status.send_replace(Status::Up { line, since: SystemTime::now() });
    let mut welcomed = false;
    loop {
        match frame::read(&mut control).await {
            Ok(Notice::Welcome { version }) => {
                welcomed = true;
                tracing::info!(%address, %version, "tunnel up");
            }
            Ok(Notice::Draining) => {
                // Running answers keep the connection; new requests go over the next one.
                return Ended { welcomed, refused: None, why: CloseCode::Draining.reason().into() };
            }
            Err(_) => return lost(&connection, control, welcomed).await,
        }
    }
}

/// The control stream ends only together with the connection, whose reason is the one that counts.
async fn lost(connection: &Connection, control: RecvStream, welcomed: bool) -> Ended {
    drop(control);
    let broken = connection.close_reason();
    if broken.is_none() {
        connection
            .close(VarInt::from_u32(CloseCode::Violation.code()), CloseCode::Violation.reason().as_bytes());
    }
    let reason = connection.closed().await;
    let code = match &reason {
        ConnectionError::ApplicationClosed(close) => CloseCode::from_code(close.error_code.into_inner()),
        _ => None,
    };
    let why = code.map_or_else(|| reason.to_string(), |code| code.reason().to_owned());
    Ended { welcomed, refused: code.filter(|code| code.is_refusal()), why }
}

/// Keeps what users are told: since when there is no tunnel, and what is wrong now.
fn blame(status: &mut Status, was_up: bool, why: String) {
    match status {
        Status::Down { why: old, .. } => *old = why,
        _ if was_up => *status = Status::Down { since: SystemTime::now(), why },
        _ => *status = Status::Connecting { why: Some(why) },
    }
}

/// From 0 to 1. Without a source of randomness clients only come back in step, which does no harm.
fn random() -> f64 {
    let mut bytes = [0; 4];
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
}
