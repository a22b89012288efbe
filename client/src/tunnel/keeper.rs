//! Keeps the tunnel up: dials, listens to what the server has to say, dials again.
//!
//! The only writer of the tunnel's status. A handshake that succeeded is not yet a tunnel that
//! works: the server may refuse the Hello a round trip later. And a tunnel that has worked may have
//! gone silent: then another one is dialled beside it, and whichever answers first is kept.

use super::Status;
use super::backoff::{Outcome, between};
use super::bulk::Load;
use super::course::{Course, Target};
use super::dial::{DialError, Dialled, Line, dial};
use super::silence::{Counts, LOOK, Silence, Suspicion};
use crate::settings::TunnelSettings;
use docxy_protocol::control::{CloseCode, ControlMessage};
use docxy_protocol::frame;
use docxy_protocol::text::{CleanText, clean};
use quinn::{Connection, ConnectionError, RecvStream, VarInt};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a server may take to answer the Hello. A flow that a filter has blocked looks like a
/// good handshake followed by silence; another one, from another port, may get through.
const WELCOME: Duration = Duration::from_secs(5);

/// What requests are told between the end of a connection by old settings and the first by new ones.
const SETTINGS_CHANGED: &str = "the links or the congestion control were changed";

/// Runs until `stop`, anew each time that the settings change.
pub(super) async fn keep(
    mut settings: watch::Receiver<TunnelSettings>,
    status: watch::Sender<Status>,
    stop: CancellationToken,
) {
    let load = Arc::default();
    let mut lost = None;
    loop {
        let current = settings.borrow_and_update().clone();
        let course = Course::new(current.links.len());
        let load = Arc::clone(&load);
        let mut keeper = Keeper { settings: current, course, load, lost, status: &status };
        tokio::select! {
            () = keeper.dial_for_ever() => {}
            () = changed(&mut settings) => {
                tracing::info!(reason = SETTINGS_CHANGED, "dialling anew");
                lost = keeper.lost;
                let line = line(&status);
                if line.is_some() {
                    lost = Some(SystemTime::now());
                }
                status.send_replace(match lost {
                    Some(since) => Status::Down { since, why: SETTINGS_CHANGED.into() },
                    None => Status::Connecting { why: None },
                });
                if let Some(line) = line {
                    hang_up(line.connection(), CloseCode::Done);
                }
            }
            () = stop.cancelled() => {
                if let Some(line) = line(&status) {
                    line.hang_up().await;
                }
                return;
            }
        }
    }
}

/// Resolves when there are other settings.
async fn changed(settings: &mut watch::Receiver<TunnelSettings>) {
    if settings.changed().await.is_err() {
        // There is nobody left who could change them.
        std::future::pending().await
    }
}

/// The connection in use.
fn line(status: &watch::Sender<Status>) -> Option<Line> {
    match &*status.borrow() {
        Status::Up { line, .. } => Some(line.clone()),
        _ => None,
    }
}

struct Keeper<'a> {
    settings: TunnelSettings,
    course: Course,
    load: Arc<Load>,
    /// When the last tunnel went; never until there was one.
    lost: Option<SystemTime>,
    status: &'a watch::Sender<Status>,
}

impl Keeper<'_> {
    async fn dial_for_ever(&mut self) {
        let mut down_since = Instant::now();
        loop {
            let begun = Instant::now();
            let target = match self.course.next(begun) {
                Ok(target) => target,
                Err(until) => {
                    tokio::time::sleep_until(until.into()).await;
                    continue;
                }
            };
            let (target, ended) = match self.dial(target).await {
                Ok(dialled) => self.stay(target, dialled).await,
                Err(error) => (target, Ended::Failed(clean(error))),
            };
            let why = match ended {
                Ended::Lost(why) => {
                    tracing::warn!(reason = %why, "tunnel lost; reconnecting");
                    self.lost = Some(SystemTime::now());
                    down_since = Instant::now();
                    self.course.worked(target);
                    why
                }
                Ended::Drained => {
                    let why = clean(CloseCode::Draining.reason());
                    tracing::warn!(reason = %why, "tunnel lost; reconnecting");
                    self.lost = Some(SystemTime::now());
                    down_since = Instant::now();
                    // Another server, if there is one, is there already.
                    self.course.failed(target);
                    why
                }
                Ended::Failed(why) => {
                    tracing::warn!(reason = %why, "no tunnel yet; trying again");
                    self.course.failed(target);
                    why
                }
                Ended::Refused(code) => {
                    tracing::error!(reason = code.reason(), "the server refuses this client");
                    let pause = between(Outcome::Refused, Duration::ZERO, random());
                    self.course.refused(target, Instant::now() + pause);
                    if self.course.next(Instant::now()).is_err() {
                        self.status.send_replace(Status::Refused { why: code.reason() });
                        continue;
                    }
                    clean(code.reason())
                }
            };
            self.status.send_replace(match self.lost {
                Some(since) => Status::Down { since, why },
                None => Status::Connecting { why: Some(why) },
            });
            let pause = between(Outcome::Failed, down_since.elapsed(), random());
            // Counted from the attempt's beginning: after the loss of a tunnel that stood for a while
            // there is none, since somebody may be waiting and most losses are over at once.
            tokio::time::sleep(pause.saturating_sub(begun.elapsed())).await;
        }
    }

    async fn dial(&self, target: Target) -> Result<Dialled, DialError> {
        let TunnelSettings { links, congestion } = &self.settings;
        dial(&links[target.server], *congestion, target.attempt, &self.load).await
    }

    /// Offers the connection to everybody until it is lost or the server says that it will end; or
    /// another one that took its place.
    async fn stay(&mut self, mut target: Target, mut dialled: Dialled) -> (Target, Ended) {
        let mut silent: Option<Connection> = None;
        loop {
            let Dialled { line, control, address } = dialled;
            let connection = line.connection().clone();
            self.status.send_replace(Status::Up { line, since: SystemTime::now() });
            // What was under way on it goes on here.
            if let Some(silent) = silent.take() {
                hang_up(&silent, CloseCode::Done);
            }
            tokio::select! {
                ended = listen(control, &connection, address) => return (target, ended),
                (next, instead) = self.replacement(&connection) => (target, dialled) = (next, instead),
            }
            self.lost = Some(SystemTime::now());
            silent = Some(connection);
        }
    }

    /// Another connection, once this one is silent and for as long as it is.
    async fn replacement(&mut self, connection: &Connection) -> (Target, Dialled) {
        loop {
            let suspicion = suspicion(connection).await;
            tracing::info!(?suspicion, "the line is silent; dialling another one beside it");
            tokio::select! {
                replacement = self.dial_beside() => return replacement,
                () = heard(connection) => tracing::info!("the line is back"),
            }
        }
    }

    /// Dials until it works, each time from a fresh port.
    async fn dial_beside(&mut self) -> (Target, Dialled) {
        loop {
            let begun = Instant::now();
            match self.course.next(begun) {
                Ok(target) => match self.dial(target).await {
                    Ok(dialled) => return (target, dialled),
                    Err(error) => {
                        tracing::info!(reason = %clean(error), "no other line yet");
                        self.course.failed(target);
                    }
                },
                Err(until) => tokio::time::sleep_until(until.into()).await,
            }
            let pause = between(Outcome::Failed, Duration::ZERO, random());
            tokio::time::sleep(pause.saturating_sub(begun.elapsed())).await;
        }
    }
}

/// How an attempt, or the connection that came of it, ended.
enum Ended {
    /// After it had been a tunnel.
    Lost(CleanText),
    /// The server is about to end; what runs goes on.
    Drained,
    /// Before it was one.
    Failed(CleanText),
    /// The server doesn't want us.
    Refused(CloseCode),
}

/// Listens to what the server has to say until the connection is lost or will end.
async fn listen(mut control: RecvStream, connection: &Connection, address: SocketAddr) -> Ended {
    match tokio::time::timeout(WELCOME, frame::read(&mut control)).await {
        Ok(Ok(ControlMessage::Welcome { version })) => tracing::info!(%address, %version, "tunnel up"),
        Ok(Ok(ControlMessage::Draining)) => return Ended::Failed(CloseCode::Draining.reason().into()),
        Ok(Err(_)) => return ended(connection, Ended::Failed).await,
        Err(_) => {
            hang_up(connection, CloseCode::Done);
            let why = format_args!("{address}: a handshake and then silence; is the way filtered?");
            return Ended::Failed(clean(why));
        }
    }
    match frame::read(&mut control).await {
        // Running answers keep the connection; new requests go over the next one.
        Ok(ControlMessage::Draining) => Ended::Drained,
        Ok(ControlMessage::Welcome { .. }) | Err(_) => ended(connection, Ended::Lost).await,
    }
}

/// Resolves when a connection seems to be dead.
async fn suspicion(connection: &Connection) -> Suspicion {
    let mut silence = Silence::new(counts(connection), Instant::now(), SystemTime::now());
    loop {
        tokio::time::sleep(LOOK).await;
        let now = (Instant::now(), SystemTime::now());
        if let Some(suspicion) = silence.look(counts(connection), connection.rtt(), now.0, now.1) {
            return suspicion;
        }
    }
}

/// Resolves when anything comes over a connection.
async fn heard(connection: &Connection) {
    let before = counts(connection).heard;
    while counts(connection).heard == before {
        tokio::time::sleep(LOOK).await;
    }
}

fn counts(connection: &Connection) -> Counts {
    let stats = connection.stats();
    let sent = stats.frame_tx;
    // What a client sends, less what needs no answer (RFC 9000, section 13.2): acknowledgements.
    let asked = [
        sent.crypto,
        sent.ping,
        sent.stream,
        sent.stop_sending,
        sent.reset_stream,
        sent.max_data,
        sent.max_stream_data,
        sent.path_challenge,
        sent.path_response,
        sent.retire_connection_id,
        sent.immediate_ack,
    ];
    Counts { heard: stats.udp_rx.datagrams, asked: asked.iter().sum() }
}

/// The control stream ends only together with the connection, whose reason is the one that counts.
async fn ended(connection: &Connection, without_refusal: fn(CleanText) -> Ended) -> Ended {
    if connection.close_reason().is_none() {
        hang_up(connection, CloseCode::ProtocolViolation);
    }
    let reason = connection.closed().await;
    let code = match &reason {
        ConnectionError::ApplicationClosed(close) => CloseCode::from_code(close.error_code.into_inner()),
        _ => None,
    };
    match code {
        Some(code) if code.is_refusal() => Ended::Refused(code),
        Some(code) => without_refusal(clean(code.reason())),
        // What the server says in its own words is in there.
        None => without_refusal(clean(reason)),
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
