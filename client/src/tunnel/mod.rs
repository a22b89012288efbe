//! The one outbound connection to the server: dialled, kept, and dialled again for ever.
//!
//! Everybody else sees a [`Line`] or the reason why there is none. Must never give up: only the
//! user ends it.

mod backoff;
mod bulk;
mod course;
mod dial;
mod keeper;
mod silence;
mod socket;

pub use bulk::{Bulk, OpenSegment, Share};
pub use dial::Line;

use crate::counters::TunnelCounters;
use crate::settings::TunnelSettings;
use docxy_protocol::control::CloseCode;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::text::CleanText;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How the tunnel is.
#[derive(Debug, Clone)]
pub enum Status {
    /// It has never been up since the start.
    Connecting {
        /// What came of the last attempt, once there was one.
        why: Option<CleanText>,
    },
    /// It is up; requests may be sent.
    Up {
        /// The connection.
        line: Line,
        /// When it came up.
        since: SystemTime,
    },
    /// It was up and will be again.
    Down {
        /// When it went.
        since: SystemTime,
        /// What happened.
        why: CleanText,
    },
    /// The server doesn't want us; only its operator can change that.
    Refused {
        /// In the server's words.
        why: &'static str,
    },
}

/// How long anybody waits for the first attempt of all.
const FIRST_VERDICT: Duration = Duration::from_secs(2);

/// A handle on the tunnel.
#[derive(Debug, Clone)]
pub struct Tunnel {
    status: watch::Receiver<Status>,
    settings: watch::Sender<TunnelSettings>,
    counters: TunnelCounters,
    stop: CancellationToken,
}

impl Tunnel {
    /// Begins to connect, in the background, to the first of the servers that answers.
    #[must_use]
    pub fn start(settings: TunnelSettings) -> Self {
        let (sender, status) = watch::channel(Status::Connecting { why: None });
        let stop = CancellationToken::new();
        let (settings, wanted) = watch::channel(settings);
        let counters = TunnelCounters::default();
        tokio::spawn(keeper::keep(wanted, sender, counters.clone(), stop.clone()));
        Self { status, settings, counters, stop }
    }

    /// Goes by these settings from now on: where they differ, the connection is ended and another one
    /// is dialled, on which transfers go on. `false` where nothing differs.
    pub(crate) fn set(&self, settings: TunnelSettings) -> bool {
        self.settings.send_if_modified(|current| {
            let differs = *current != settings;
            *current = settings;
            differs
        })
    }

    /// Counts since the start.
    pub(crate) const fn counters(&self) -> &TunnelCounters {
        &self.counters
    }

    /// How it is at the moment.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// A connection, other than `spent` where one is given, waiting for it as long as there is
    /// hope: not where the tunnel was never up or the server refuses us.
    ///
    /// # Errors
    /// A fault of the tunnel that says since when it is down, and why.
    pub async fn line(&self, spent: Option<&Line>, patience: Patience) -> Result<Line, Fault> {
        let mut status = self.status.clone();
        // At the very start the first attempt is still under way, and worth waiting for.
        let verdict = status.wait_for(|status| !matches!(status, Status::Connecting { why: None }));
        let _ = tokio::time::timeout(FIRST_VERDICT, verdict).await;
        let usable = |status: &Status| match status {
            Status::Up { line, .. } if !spent.is_some_and(|spent| spent.is(line)) => Some(Ok(line.clone())),
            Status::Up { .. } | Status::Down { .. } => None,
            Status::Connecting { .. } if patience.at_first => None,
            Status::Connecting { .. } | Status::Refused { .. } => Some(Err(fault(status))),
        };
        let waited = status.wait_for(|status| usable(status).is_some());
        match tokio::time::timeout_at(patience.until.into(), waited).await {
            Ok(Ok(status)) => usable(&status).unwrap_or_else(|| Err(fault(&status))),
            // The keeper is gone: the client is ending.
            Ok(Err(_)) => Err(Fault::new(Hop::Tunnel, FaultKind::Down, "the client is shutting down")),
            Err(_) => Err(fault(&self.status.borrow())),
        }
    }

    /// Hangs up, and waits for the goodbye to leave.
    pub async fn close(&self) {
        self.stop.cancel();
        let mut status = self.status.clone();
        // Ends when the keeper drops its sender, having closed its endpoint.
        while status.changed().await.is_ok() {}
    }
}

/// How long somebody is ready to wait for a connection.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    until: Instant,
    at_first: bool,
}

impl Patience {
    /// For what has another way out, like an engine: an error at once where there never was a
    /// tunnel, since then something is wrong that waiting doesn't mend.
    #[must_use]
    pub fn of(duration: Duration) -> Self {
        Self { until: Instant::now() + duration, at_first: false }
    }

    /// For a command that starts the tunnel itself: waits for the first connection as well.
    #[must_use]
    pub fn from_the_start(duration: Duration) -> Self {
        Self { at_first: true, ..Self::of(duration) }
    }

    /// For what was under way already.
    #[must_use]
    pub const fn ending(until: Instant) -> Self {
        Self { until, at_first: false }
    }

    /// When it ends.
    #[must_use]
    pub const fn until(&self) -> Instant {
        self.until
    }
}

/// What a user is told while there is no tunnel.
#[must_use]
pub fn fault(status: &Status) -> Fault {
    let (kind, detail) = match status {
        Status::Connecting { why: None } => (FaultKind::Down, "not connected yet".to_owned()),
        Status::Connecting { why: Some(why) } => (FaultKind::Down, format!("could not connect yet: {why}")),
        Status::Up { .. } => (FaultKind::Down, CloseCode::Draining.reason().to_owned()),
        Status::Down { since, why } => {
            let seconds = since.elapsed().unwrap_or_default().as_secs();
            (FaultKind::Down, format!("down for {seconds} s, reconnecting: {why}"))
        }
        Status::Refused { why } => (FaultKind::Refused, format!("the server refuses this client: {why}")),
    };
    Fault::new(Hop::Tunnel, kind, detail)
}
