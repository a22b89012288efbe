//! Makes the snapshots, and sends them to those who watch: the same bytes to all, at most four times a second, and only
//! if something has changed.
//!
//! Must never make one while there is no watcher, or one for each watcher.

use super::Snapshot;
use super::engines::Engines;
use crate::gateway::Gateway;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use http_body_util::StreamBody;
use hyper::body::Frame;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Maximum number of watchers. Their connections are none of the engines'.
const WATCHERS_MAX: usize = 16;

/// The time between two snapshots, at least.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(250);

/// It is this many times as long as a snapshot takes, so that many pulls cost no more than a hundredth of a processor.
const PUBLISH_INTERVAL_RATIO: u32 = 100;

/// After this time without a change a watcher gets an empty comment: one that is gone shows by that.
const COMMENT_INTERVAL: Duration = Duration::from_secs(15);

/// The body of an event stream (HTML, "Server-sent events").
pub(crate) type EventStream = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// What is shown.
#[derive(Debug)]
pub(crate) struct Publisher {
    gateway: Gateway,
    address: SocketAddr,
    engines: Engines,
    /// The last event.
    events: watch::Sender<Bytes>,
    watchers: Arc<Semaphore>,
    joined: Notify,
    shutdown: CancellationToken,
}

impl Publisher {
    /// A publisher of a client that engines reach at this address. Its streams end at `shutdown`.
    pub(crate) fn new(gateway: Gateway, address: SocketAddr, shutdown: CancellationToken) -> Self {
        Self {
            gateway,
            address,
            engines: Engines::default(),
            events: watch::Sender::default(),
            watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
            joined: Notify::new(),
            shutdown,
        }
    }

    /// Publishes while there is a watcher. Never ends.
    pub(crate) async fn run(&self) -> Infallible {
        let mut due = Instant::now();
        loop {
            tokio::select! {
                () = sleep_until(due), if self.events.receiver_count() > 0 => {
                    let begun = Instant::now();
                    self.publish();
                    due = Instant::now() + PUBLISH_INTERVAL.max(begun.elapsed() * PUBLISH_INTERVAL_RATIO);
                }
                () = self.joined.notified() => {}
            }
        }
    }

    /// Everything, now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let (pulls, finished) = self.gateway.transfers().pulls();
        Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: self.address.to_string(),
            line: self.gateway.tunnel_state(),
            servers: self.gateway.servers(),
            history: self.gateway.line().received(),
            pulls,
            finished,
            quota: self.gateway.rate_limits(),
            cache: self.gateway.cache_report(),
            errors: self.gateway.recent_errors(),
            engines: self.engines.get(self.address.port()),
        }
    }

    /// The events of one watcher, the first at once; `None` if there are too many.
    pub(crate) fn watch(&self) -> Option<EventStream> {
        let permit = Arc::clone(&self.watchers).try_acquire_owned().ok()?;
        self.publish();
        let mut events = self.events.subscribe();
        events.mark_changed();
        self.joined.notify_one();
        let stream = unfold((events, permit), async |(mut events, permit)| {
            let bytes = match timeout(COMMENT_INTERVAL, events.changed()).await {
                Ok(Ok(())) => events.borrow_and_update().clone(),
                Ok(Err(_)) => return None,
                Err(_) => Bytes::from_static(b":\n\n"),
            };
            Some((Ok(Frame::data(bytes)), (events, permit)))
        });
        Some(StreamBody::new(stream.take_until(self.shutdown.clone().cancelled_owned()).boxed()))
    }

    fn publish(&self) {
        let event = match event(&self.snapshot()) {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(%error, "the status cannot be written as JSON");
                return;
            }
        };
        self.events.send_if_modified(|last| {
            let differs = *last != event;
            if differs {
                *last = event.into();
            }
            differs
        });
    }
}

/// The event with a snapshot.
fn event(snapshot: &Snapshot) -> Result<Vec<u8>, serde_json::Error> {
    // JSON has no line breaks, which would end the event.
    let mut event = b"data: ".to_vec();
    serde_json::to_writer(&mut event, snapshot)?;
    event.extend_from_slice(b"\n\n");
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::{LineState, ServerReport, TunnelState};
    use crate::status::recent_errors::{Advice, RecentError};
    use crate::status::{Cause, EngineCause, EngineReport};
    use crate::tunnel::LineCause;
    use docxy_protocol::text::clean;
    use jiff::Timestamp;
    use proptest::prelude::*;

    /// A snapshot with this text wherever one may come from elsewhere.
    fn with(text: &str) -> Snapshot {
        let (any, at, reason) = (|| text.to_owned(), Timestamp::UNIX_EPOCH, Some(clean(text)));
        let (tunnel, since) = (LineState::Down, None);
        Snapshot {
            version: any(),
            address: any(),
            line: TunnelState {
                tunnel,
                server_name: Some(any()),
                since,
                reason: reason.clone(),
                cause: Some(LineCause::Lost),
                session: None,
            },
            servers: vec![ServerReport {
                server: any(),
                state: tunnel,
                since,
                reason,
                cause: None,
                draining: false,
                trusted: true,
                in_use: true,
                preferred: false,
                address: None,
                leg: None,
                rtt_ms: None,
                bytes_received: None,
                bytes_per_second: None,
                bodies: 0,
            }],
            history: vec![0, u64::MAX],
            pulls: Vec::new(),
            finished: Vec::new(),
            quota: Vec::new(),
            cache: None,
            errors: vec![RecentError {
                at,
                count: 1,
                text: clean(text),
                cause: Cause::Refusal { status: 404 },
                image: Some(any()),
                advice: Advice::Wait,
            }],
            engines: Some(vec![EngineReport {
                name: any(),
                is_set_up: false,
                problem: Some(any()),
                cause: Some(EngineCause::Changed),
                setup: any(),
                test: any(),
            }]),
        }
    }

    proptest! {
        /// It would begin another event, or a field of one (HTML, section 9.2.6).
        #[test]
        fn no_text_ends_an_event(text in proptest::collection::vec(any::<char>(), 0..40)) {
            let snapshot = with(&text.iter().collect::<String>());
            let event = event(&snapshot).unwrap();
            let data = event.strip_prefix(b"data: ").and_then(|rest| rest.strip_suffix(b"\n\n")).unwrap();
            prop_assert!(data.iter().all(|byte| *byte >= b' '));
            prop_assert_eq!(serde_json::from_slice::<Snapshot>(data).unwrap(), snapshot);
        }
    }
}
