//! One client's connection: its Hello, then its exchanges, each in a task of its own.
//!
//! Must never start an exchange before the Hello is accepted, or let one stream block other streams or
//! other clients.

mod authentication;
mod streams;
mod usage_recorder;

use super::client_connections::ClientConnections;
use super::congestion::{LossNotices, PathObserver, base_loss, within_limit};
use super::path_cache::PathCache;
use super::unauthenticated::{Slot, Unauthenticated};
use crate::counters::Counters;
use crate::exchange::ExchangeLog;
use crate::exchange::streams::{FairQueue, OpenStreams, SegmentStreams};
use crate::lifecycle::active_settings::ActiveSettings;
use crate::state::{ClientWatch, Usage};
use authentication::{Authenticated, authenticate_in_time};
use docxy_host::logging::rate_limit::LogLimits;
use docxy_protocol::control::{CloseCode, ControlMessage, Welcome};
use docxy_protocol::frame;
use docxy_protocol::limits::CLOSE_CONFIRMATION_TIMEOUT;
use docxy_protocol::text::clean;
use docxy_transport::{Incoming, SendStream, Session};
use std::sync::Arc;
use std::time::{Duration, Instant};
use streams::{ConnectionContext, handle_stream};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use usage_recorder::{USAGE_INTERVAL, UsageRecorder};

/// The state that all connections share.
#[derive(Debug)]
pub(super) struct ListenerContext {
    pub(super) clients: ClientWatch,
    pub(super) usage: Usage,
    pub(super) connections: Arc<ClientConnections>,
    pub(super) unauthenticated: Arc<Unauthenticated>,
    /// Counts the open streams of all connections.
    pub(super) streams: OpenStreams,
    pub(super) settings: Arc<ActiveSettings>,
    pub(super) counters: Arc<Counters>,
    pub(super) log: ExchangeLog,
    pub(super) path_cache: Arc<PathCache>,
    /// Limits the log lines about unauthenticated connections.
    pub(super) unauthenticated_log_limits: LogLimits<&'static str>,
    /// The server drains: clients, newcomers too, move to another server, or finish here.
    pub(super) drain: CancellationToken,
    /// The server ends: what still runs is handed back to the clients, which request the rest again.
    pub(super) hand_back: CancellationToken,
}

/// How long the server waits for a client to accept a notice. The control stream carries nothing else.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a client to which much is sent is told what was lost.
const LOSS_INTERVAL: Duration = Duration::from_secs(1);

/// Serves one connection from its first packet to its end.
pub(super) async fn run(incoming: Incoming, slot: Slot, shared: Arc<ListenerContext>) {
    let span = tracing::info_span!("connection", remote = %incoming.remote_address(), client = tracing::field::Empty);
    async {
        if let Some(authenticated) = authenticate_in_time(incoming, slot, &shared).await {
            // Boxed, so that the task of an unauthenticated connection stays small.
            Box::pin(serve(authenticated, shared)).await;
        }
    }
    .instrument(span)
    .await;
}

async fn serve(authenticated: Authenticated, shared: Arc<ListenerContext>) {
    let Authenticated { session, hello, mut control, mut clients } = authenticated;
    session.raise_limits();
    let usage = shared.usage.client(&hello.name);
    usage.seen(jiff::Timestamp::now());
    tracing::info!("client connected");
    let settings = shared.settings.current();
    let choice = within_limit(hello.congestion, settings.fixed_rate_limit);
    if choice != hello.congestion {
        shared.counters.rate_capped();
    }
    let registration =
        shared.connections.register(&hello.name, &session, settings.client_max_rate, hello.max_rate);
    let session = session.with_rate_limit(registration.rate_limit.clone());
    let congestion = session.congestion().clone();
    session.choose_congestion(choice);
    let remote = || session.remote_address();
    let path_cache = Arc::clone(&shared.path_cache);
    let mut observer =
        PathObserver::start(congestion, path_cache, hello.name.clone(), remote(), Instant::now());
    let welcome = Welcome {
        version: env!("CARGO_PKG_VERSION").into(),
        registries: settings.upstream.names(),
        time: jiff::Timestamp::now().as_second().try_into().unwrap_or_default(),
    };
    let mut draining = shared.drain.is_cancelled();
    // In one write, so that the client does not take this server for one that stays.
    let messages = [ControlMessage::Welcome(welcome), ControlMessage::Draining];
    notify(&mut control, &messages[..if draining { 2 } else { 1 }]).await;

    let client = Arc::new(ConnectionContext {
        name: hello.name.clone(),
        segments: SegmentStreams::default(),
        queue: FairQueue::default(),
        budget: Arc::clone(&registration.budget),
        congestion: session.congestion().clone(),
        admission: Arc::clone(&registration.admission),
        shared: Arc::clone(&shared),
    });
    let mut usage_interval = tokio::time::interval(USAGE_INTERVAL);
    let mut usage_recorder = UsageRecorder::new(usage, &registration, &shared.counters);
    let mut loss_interval = tokio::time::interval(LOSS_INTERVAL);
    let mut loss_notices = LossNotices::default();
    loop {
        tokio::select! {
            // In this order: a client that is handed back needs no notice before.
            biased;
            () = shared.hand_back.cancelled() => {
                hand_back(&session).await;
                break;
            }
            Ok(()) = clients.changed() => {
                let result = clients.borrow_and_update().authenticate(&hello.name, &hello.secret);
                if let Err(code) = result {
                    close(&session, code);
                    break;
                }
            }
            () = shared.drain.cancelled(), if !draining => {
                draining = true;
                // The client may go on here until the server ends.
                notify(&mut control, &[ControlMessage::Draining]).await;
            }
            _ = usage_interval.tick() => {
                usage_recorder.update(&session);
                client.segments.drop_late(Instant::now());
                observer.update(remote(), Instant::now());
            }
            _ = loss_interval.tick() => {
                if let Some(notice) = loss_notices.next(&session.path(), base_loss(session.congestion())) {
                    notify(&mut control, &[notice]).await;
                }
            }
            stream = session.accept() => match stream {
                Ok((send, receive)) => handle_stream(&client, send, receive),
                Err(error) => {
                    tracing::info!(reason = %clean(error), "client disconnected");
                    break;
                }
            },
        }
    }
    usage_recorder.update(&session);
    observer.end(remote(), Instant::now());
}

async fn notify(control: &mut SendStream, messages: &[ControlMessage]) {
    let frames = messages.iter().filter_map(|message| frame::encode(message).ok()).flatten();
    // A closed connection is noticed elsewhere, and a client that does not read must not block this task.
    let _ = tokio::time::timeout(NOTICE_TIMEOUT, control.send(frames.collect())).await;
}

/// Closes a session whose client is to request again what has not arrived.
async fn hand_back(session: &Session) {
    close(session, CloseCode::HandedBack);
    wait_until_told(session).await;
}

/// Waits until the client has confirmed that its session was closed, before the process ends.
async fn wait_until_told(session: &Session) {
    let _ = tokio::time::timeout(CLOSE_CONFIRMATION_TIMEOUT, session.close_confirmed()).await;
}

fn close(session: &Session, code: CloseCode) {
    tracing::info!(reason = code.reason(), "closing the connection");
    session.close(code);
}
