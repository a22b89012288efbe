//! Asks the registry through the tunnel, whatever the tunnel is doing at the moment.
//!
//! An error of ours sends an engine to the origin that it cannot reach, so a request waits for
//! the tunnel rather than fail, and is asked again where a connection was lost before it answered.

use crate::credentials::{Credentials, Login};
use crate::exchange::{self, ExchangeError};
use crate::metadata::{Known, Metadata, Quota};
use crate::transfer::{Means, PatienceSetting, Transfer};
use crate::tunnel::{self, Line, Patience, Status, Tunnel};
use crate::waiting::Waiting;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::headers::Headers;
use docxy_protocol::name::Registry;
use docxy_protocol::request::{Operation, Request};
use docxy_protocol::token_response::TokenResponse;
use http::StatusCode;
use std::time::{Duration, Instant};
use tokio::time::timeout_at;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How long a registry may take to say its challenge, when nobody waits for it.
const REFRESH: Duration = Duration::from_secs(30);

/// A way to the registries.
#[derive(Debug, Clone)]
pub struct Gateway {
    means: Means,
    under_way: TaskTracker,
}

/// A registry's answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: Headers,
    /// Its body, still on the way.
    pub body: Transfer,
}

impl Gateway {
    /// Through this tunnel, where `metadata` hasn't the answer already. A body that breaks off waits
    /// for its next byte for as long as `patience`.
    #[must_use]
    pub fn new(tunnel: Tunnel, patience: Duration, metadata: Metadata) -> Self {
        let (credentials, waiting) = (Credentials::default(), Waiting::default());
        let patience = PatienceSetting::new(patience);
        let means = Means { tunnel, patience, credentials, waiting, metadata };
        Self { means, under_way: TaskTracker::new() }
    }

    /// What is held up at the moment.
    #[must_use]
    pub const fn waiting(&self) -> &Waiting {
        &self.means.waiting
    }

    /// How many requests are under way, until the last byte of their answers has been taken.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// What is left of each registry's quota, as far as its answers have said.
    pub(crate) fn quotas(&self) -> Vec<Quota> {
        self.means.metadata.quotas()
    }

    /// How long a body that breaks off waits for its next byte.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.means.patience.get()
    }

    /// Has bodies that break off wait for so long from now on, those that wait already included.
    pub(crate) fn set_patience(&self, patience: Duration) {
        self.means.patience.set(patience);
    }

    /// Remembers how the tokens in a token service's answer were obtained: they may go to that registry
    /// only, and can be renewed when they expire.
    pub(crate) fn learn(&self, answer: &TokenResponse, login: &Login) {
        self.means.credentials.learn(answer, login, Instant::now());
    }

    /// Whether the request may be sent with the token that it carries; `true` if it carries none.
    pub(crate) fn admits(&self, request: &Request) -> bool {
        self.means.credentials.admit(request)
    }

    /// Sends a request and returns the answer, whose body is still on its way. An answer that comes
    /// after the asker has given up is worth less than a word on whose fault that was, so the
    /// answer's head has to come within the same time.
    ///
    /// # Errors
    /// A fault that names the hop that failed: the tunnel, where it did not come up in time.
    pub async fn ask(&self, request: Request, patience: Patience) -> Result<Answer, Fault> {
        let request = request.without_foreign_credentials();
        let under_way = self.under_way.token();
        let metadata = &self.means.metadata;
        if !self.admits(&request) {
            tracing::info!(registry = %request.registry, "token withheld: not issued by this registry");
            let refusal = metadata.invalid_token(&request).ok_or_else(no_challenge)?;
            self.line(&request, None, patience).await?;
            return Ok(Answer::of(refusal, under_way));
        }
        if let Some(refusal) = metadata.refusal(&request) {
            // Where there is no tunnel an engine would go on only to hear of that later.
            self.line(&request, None, patience).await?;
            self.refresh(&request.registry);
            return Ok(Answer::of(refusal, under_way));
        }
        if let Some(content) = metadata.content(&request, patience.until()).await {
            return Ok(Answer::of(content, under_way));
        }
        let ahead = metadata.wish(&request).await;
        self.cross(Request { prefetch: ahead, ..request }, patience, under_way).await
    }

    /// Asks a registry for its challenge, where that was long ago, behind whatever is going on.
    fn refresh(&self, registry: &Registry) {
        if self.means.metadata.refresh_is_due(registry) {
            let gateway = self.clone();
            let request = Request {
                registry: registry.clone(),
                operation: Operation::Ping,
                authorization: Authorization::None,
                headers: Headers::default(),
                prefetch: None,
            };
            // What comes of it is learned as all answers are.
            let under_way = self.under_way.token();
            let asked = async move { gateway.cross(request, Patience::of(REFRESH), under_way).await };
            tokio::spawn(async move { asked.await.map(drop) });
        }
    }

    /// Asks through the tunnel.
    async fn cross(
        &self,
        request: Request,
        patience: Patience,
        under_way: TaskTrackerToken,
    ) -> Result<Answer, Fault> {
        let mut spent: Option<Line> = None;
        let mut overtaken = false;
        loop {
            let line = self.line(&request, spent.as_ref(), patience).await?;
            let deadline = patience.until().into();
            let place = timeout_at(deadline, line.place(&request.operation)).await.map_err(|_| crowded())?;
            let asked = exchange::run(&line, place, &request, None);
            match timeout_at(deadline, asked).await.unwrap_or_else(|_| Err(self.late(&line).into())) {
                Ok(exchange::Answer { status, headers, body, behind }) => {
                    self.means.metadata.learn(&request, status, &headers);
                    // Before the engine has the answer, and asks for what it names.
                    if let Some(behind) = behind {
                        self.means.metadata.read_behind(&request, behind);
                    }
                    let body = Transfer::new(&self.means, request, (status, &headers), body, line, under_way);
                    return Ok(Answer { status, headers, body });
                }
                Err(ExchangeError::Fault(fault)) => return Err(fault),
                Err(ExchangeError::LineLost) => spent = Some(line),
                Err(ExchangeError::Overtaken(fault)) if overtaken => return Err(fault),
                Err(ExchangeError::Overtaken(_)) => overtaken = true,
            }
        }
    }

    /// A line that falls silent is given up within seconds: whoever is late while it is in use is behind it.
    fn late(&self, line: &Line) -> Fault {
        match self.means.tunnel.status() {
            Status::Up { line: in_use, .. } if in_use.is(line) => {
                Fault::new(Hop::Server, FaultKind::TimedOut, "no answer in time; the registry may be slow")
            }
            status => tunnel::fault(&status),
        }
    }

    async fn line(&self, request: &Request, spent: Option<&Line>, patience: Patience) -> Result<Line, Fault> {
        let status = self.means.tunnel.status();
        let _wait = match &status {
            Status::Up { line, .. } if !spent.is_some_and(|spent| spent.is(line)) => None,
            _ => {
                let (what, reason) = (request.operation.name(), tunnel::fault(&status));
                Some(self.means.waiting.begin(what, None, reason.to_string()))
            }
        };
        self.means.tunnel.line(spent, patience).await
    }
}

impl Answer {
    /// One that didn't have to cross.
    fn of(Known { status, headers, body }: Known, under_way: TaskTrackerToken) -> Self {
        Self { status, headers, body: Transfer::of_bytes(body, under_way) }
    }
}

/// A challenge is not valid in a header field, which only a bug can cause.
fn no_challenge() -> Fault {
    Fault::new(Hop::Tunnel, FaultKind::Internal, "cannot write the challenge that refuses a token")
}

/// Everything under way waits for its engine to read.
fn crowded() -> Fault {
    let detail = "too much is under way already, and none of it ended in time";
    Fault::new(Hop::Tunnel, FaultKind::TimedOut, detail)
}
