//! Watches what the session in use carries, and dials another way beside it when the policy says so.
//!
//! Must never touch the session in use: bodies move only when it is replaced.

use super::control_stream::{SessionEnd, read_welcome};
use super::server_supervisor::{Attempt, ServerSupervisor};
use super::successor::Successor;
use crate::tunnel::dial::{ATTEMPT_TIMEOUT, DialedSession};
use crate::tunnel::leg::{Carried, Carriers, Instruction, Traffic, Way};
use crate::tunnel::reason::LineReason;
use crate::tunnel::session::Session;
use docxy_protocol::control::CloseCode;
use futures_util::future::{BoxFuture, FutureExt as _, OptionFuture};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The time between two measurements of what a session carries.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

/// A session that has lost its trial is closed once nothing arrives for so long: a body may wait for it.
const DRAIN_INTERVAL: Duration = Duration::from_secs(1);

/// The same while something arrives: a body may wait for what a slow connection has, and engines do not wait long. What
/// was requested a second in advance has arrived by then, if the leg is any good. (Without it, a lost trial at 15 % loss
/// stopped pulls for 50 s.)
const DRAIN_TIME_MAX: Duration = Duration::from_secs(3);

/// A session on another way, beside the one in use.
struct Beside<'a> {
    in_use: &'a Session,
    dialed: Option<DialedSession>,
    /// What it had received at the last measurement.
    received: u64,
}

impl ServerSupervisor {
    /// Resolves with a session on another way that is to replace this one. `attempt` is one that goes on, if any.
    pub(super) async fn better_leg(&self, session: &Session, attempt: Option<impl Attempt>) -> Successor {
        let mut beside = Beside { in_use: session, dialed: None, received: 0 };
        let mut dialing: Option<BoxFuture<'_, Result<DialedSession, LineReason>>> =
            attempt.map(|attempt| self.welcomed(attempt).boxed());
        let mut samples = tokio::time::interval(SAMPLE_INTERVAL);
        loop {
            let instruction = tokio::select! {
                _ = samples.tick() => {
                    if beside.is_lost() {
                        beside.close();
                        self.legs.beside_failed();
                    }
                    let is_receiving = beside.is_receiving();
                    if self.is_silent() {
                        if is_receiving && let Some(dialed) = beside.dialed.take() {
                            // It needs no dial, and what bodies have requested on it goes on.
                            return Successor::Session(Box::new(dialed));
                        }
                        match &beside.dialed {
                            // It shows whether it is alive, too.
                            Some(dialed) => dialed.session.transport().probe(),
                            // All ways are dialed to replace it. A trial would only add a connection.
                            None if dialing.is_none() => continue,
                            None => {}
                        }
                    }
                    self.legs.observe(beside.traffic())
                }
                Some(dialed) = OptionFuture::from(dialing.as_mut()) => {
                    dialing = None;
                    match dialed {
                        Ok(dialed) => {
                            beside.dialed = Some(dialed);
                            self.legs.beside_up()
                        }
                        Err(reason) => {
                            tracing::debug!(server = %self.server.name, %reason, "the other way does not come up");
                            if self.server.lacks_permit.load(Ordering::Relaxed) {
                                self.legs.beside_not_tried();
                            } else {
                                self.legs.beside_failed();
                            }
                            None
                        }
                    }
                }
            };
            match instruction {
                Some(Instruction::DialBeside(way, reason)) => {
                    tracing::debug!(server = %self.server.name, %way, %reason, "trying another way");
                    dialing = Some(self.dial_until_welcome(way).boxed());
                }
                Some(Instruction::Carry(carriers)) => beside.carry(carriers),
                Some(Instruction::MoveTo(way, reason)) => {
                    tracing::debug!(server = %self.server.name, %way, %reason, "moving to another way");
                    if let Some(dialed) = beside.dialed.take() {
                        return Successor::Beside(Box::new(dialed), Some(reason));
                    }
                }
                Some(Instruction::CloseBeside) => {
                    tracing::debug!(server = %self.server.name, "the other way is not better");
                    beside.end();
                }
                None => {}
            }
        }
    }

    pub(super) async fn dial_until_welcome(&self, way: Way) -> Result<DialedSession, LineReason> {
        self.welcomed(self.dial_way(way, ATTEMPT_TIMEOUT)).await
    }

    /// The session of this attempt after its Welcome.
    async fn welcomed(&self, attempt: impl Attempt) -> Result<DialedSession, LineReason> {
        let mut dialed = attempt.await?;
        let DialedSession { session, control, address, .. } = &mut dialed;
        read_welcome(control, session, *address, &self.counters).await.map_err(SessionEnd::into_reason)?;
        Ok(dialed)
    }
}

impl Beside<'_> {
    fn traffic(&self) -> Traffic {
        let dialed = self.dialed.as_ref();
        Traffic {
            in_use: self.in_use.carried(),
            on_trial: dialed.map_or_else(Carried::default, |dialed| dialed.session.carried()),
            loss: self.in_use.loss(),
            rtt: self.in_use.transport().path().rtt,
        }
    }

    /// Whether the session on trial has received something since the last call.
    fn is_receiving(&mut self) -> bool {
        let received = self.traffic().on_trial.received;
        received > std::mem::replace(&mut self.received, received)
    }

    fn is_lost(&self) -> bool {
        self.dialed.as_ref().is_some_and(|dialed| dialed.session.transport().close_reason().is_some())
    }

    fn carry(&self, carriers: Carriers) {
        self.in_use.set_trial(self.dialed.as_ref().map(|dialed| (dialed.session.clone(), carriers)));
    }

    /// Requests nothing more on the session on trial. What was requested still arrives, and is not requested again.
    fn end(&mut self) {
        self.in_use.set_trial(None);
        if let Some(DialedSession { session, .. }) = self.dialed.take() {
            tokio::spawn(async move {
                let (begun, mut before) = (Instant::now(), 0);
                while session.has_requests()
                    && session.carried().received > before
                    && begun.elapsed() < DRAIN_TIME_MAX
                {
                    before = session.carried().received;
                    tokio::time::sleep(DRAIN_INTERVAL).await;
                }
                session.transport().close(CloseCode::Done);
            });
        }
    }

    fn close(&mut self) {
        self.in_use.set_trial(None);
        if let Some(dialed) = self.dialed.take() {
            dialed.session.transport().close(CloseCode::Done);
        }
    }
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        self.close();
    }
}
