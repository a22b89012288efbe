//! Sends a request through the tunnel, and tries again where that may help: over another session, or by a server that has
//! pulls left.
//!
//! Must never send a request again after the engine received the head of its response: the transfer resumes that.

use super::{Gateway, ResponseDeadline, Transfer, WaitsFor};
use crate::exchange::{self, ExchangeError};
use crate::transfer::TransferGuard;
use crate::tunnel::{LostSession, Need, Session};
use docxy_protocol::fault::{Fault, FaultKind, Hop, Retry};
use docxy_protocol::name::Digest;
use docxy_protocol::request::{Operation, Request};
use http::{Response, StatusCode};
use std::time::Instant;
use tokio::time::timeout_at;

impl Gateway {
    /// Sends the request through the tunnel.
    pub(super) async fn forward(
        &self,
        request: Request,
        deadline: ResponseDeadline,
        guard: TransferGuard,
    ) -> Result<Response<Transfer>, Fault> {
        self.forward_as(Need::of(&request), request, deadline, guard).await
    }

    /// The same over a session for this need.
    pub(super) async fn forward_as(
        &self,
        need: Need,
        request: Request,
        deadline: ResponseDeadline,
        guard: TransferGuard,
    ) -> Result<Response<Transfer>, Fault> {
        let (response, session) = self.forward_head(need, request.clone(), deadline, &guard).await?;
        Ok(self.respond(request, response, session, guard).await)
    }

    /// The response to a request, for the engine. Its content is stored, if that is possible.
    pub(super) async fn respond(
        &self,
        request: Request,
        mut response: exchange::Response,
        session: Session,
        guard: TransferGuard,
    ) -> Response<Transfer> {
        // This starts before the engine receives the response and requests what that names.
        if let Some(prefetch) = response.prefetch.take() {
            self.context.metadata.receive_prefetch(&request, prefetch);
        }
        let layers = std::mem::take(&mut response.layers);
        if let Some(blobs) = self.context.blobs.as_ref().filter(|_| response.status.is_success()) {
            blobs.receive_ahead(&self.context, layers);
        }
        let (status, headers) = (response.status, response.headers.clone());
        let body = match self.share(&request, response, session).await {
            Ok(reader) => Transfer::of_shared(&self.context, reader, guard),
            Err((response, session)) => {
                let head = (status, &headers);
                Transfer::new(&self.context, request, head, response.body, session, guard)
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers.into();
        response
    }

    /// Sends the request through the tunnel, and waits for the head of the response.
    pub(super) async fn forward_head(
        &self,
        need: Need,
        mut request: Request,
        deadline: ResponseDeadline,
        guard: &TransferGuard,
    ) -> Result<(exchange::Response, Session), Fault> {
        request.trace = guard.trace();
        let mut lost: Option<LostSession> = None;
        let mut was_reset = false;
        loop {
            let with_pulls = lost.is_none().then(|| self.session_with_pulls(&request)).flatten();
            let session = match with_pulls {
                Some(session) => session,
                None => self.session(need, lost.as_ref(), deadline, guard).await?,
            };
            guard.set_server(&session);
            request.patience = deadline.patience(Instant::now());
            let error = match self.forward_once(&session, &request, deadline, guard).await {
                Ok(response) => {
                    let (response, session) =
                        self.with_pulls_of_others(&request, response, session, deadline, guard).await;
                    guard.proceed();
                    self.context.responded(&request.registry, response.status);
                    guard.answered(response.status, Digest::of_response(&response.headers).as_ref());
                    self.context.metadata.observe_response(&request, response.status, &response.headers);
                    return Ok((response, session));
                }
                Err(error) => error,
            };
            self.context.failed_at(&request.registry, &error.to_fault());
            match error {
                _ if error.retry() == Retry::Permanent => return Err(error.to_fault()),
                ExchangeError::SessionLost(_) => lost = Some(session.into_lost()),
                // An engine resumes an interrupted body, but goes elsewhere after an error.
                ExchangeError::Reset(_) if !was_reset => was_reset = true,
                // The server has tried again already, and engines have short timeouts.
                _ => return Err(error.to_fault()),
            }
            self.context.counters.retries.increment(&error.to_fault());
            tracing::debug!(operation = request.operation.name(), reason = %error, trace_id = %guard.trace(), "requesting again");
        }
    }

    async fn forward_once(
        &self,
        session: &Session,
        request: &Request,
        deadline: ResponseDeadline,
        guard: &TransferGuard,
    ) -> Result<exchange::Response, ExchangeError> {
        let at = deadline.head(Instant::now()).into();
        guard.wait(WaitsFor::Permit, None);
        let permit =
            timeout_at(at, session.permit(&request.operation)).await.map_err(|_| overload_fault())?;
        guard.wait(WaitsFor::Server, None);
        let response = timeout_at(at, exchange::send(session, permit, request, None)).await;
        response.map_err(|_| self.timeout_fault(session))?
    }

    /// A session for a manifest, if some servers have no pull left for that, and others may.
    fn session_with_pulls(&self, request: &Request) -> Option<Session> {
        let used_up = self.used_up_limits.servers(&request.registry, Instant::now());
        if used_up.is_empty() || !counts_against_servers(request) {
            return None;
        }
        self.context.tunnel.session_elsewhere(Need::of(request), &used_up)
    }

    /// The response to a manifest's request, or that of another server if this one has no pull left.
    async fn with_pulls_of_others(
        &self,
        request: &Request,
        response: exchange::Response,
        session: Session,
        deadline: ResponseDeadline,
        guard: &TransferGuard,
    ) -> (exchange::Response, Session) {
        if response.status != StatusCode::TOO_MANY_REQUESTS || !counts_against_servers(request) {
            return (response, session);
        }
        let refused = |server| self.used_up_limits.record(server, &request.registry, Instant::now());
        refused(session.server());
        let mut tried = vec![session.server()];
        while let Some(other) = self.context.tunnel.session_elsewhere(Need::of(request), &tried) {
            tried.push(other.server());
            guard.set_server(&other);
            match self.forward_once(&other, request, deadline, guard).await {
                Ok(found) if found.status.is_success() || found.status == StatusCode::NOT_MODIFIED => {
                    self.context.metadata.observe_response(request, response.status, &response.headers);
                    self.context.counters.pulls_of_others.increment();
                    return (found, other);
                }
                Ok(found) if found.status == StatusCode::TOO_MANY_REQUESTS => refused(other.server()),
                // The refusal of the first one says more.
                Ok(_) | Err(_) => {}
            }
        }
        guard.set_server(&session);
        (response, session)
    }

    /// The supervisor replaces a silent connection within seconds. So if this one is still in use, the server
    /// or an upstream hop is slow.
    fn timeout_fault(&self, session: &Session) -> Fault {
        if self.context.tunnel.has(session) {
            return Fault::new(
                Hop::Server,
                FaultKind::TimedOut,
                "no response in time; the registry may be slow",
            );
        }
        self.context.tunnel.status().to_fault()
    }

    pub(super) async fn session(
        &self,
        need: Need,
        lost: Option<&LostSession>,
        deadline: ResponseDeadline,
        guard: &TransferGuard,
    ) -> Result<Session, Fault> {
        let tunnel = &self.context.tunnel;
        if !tunnel.has_session(need, lost) {
            guard.wait(WaitsFor::Tunnel, Some((&tunnel.fault(need)).into()));
        }
        tunnel.session(need, lost, deadline.session).await
    }
}

/// Whether a registry counts this request against the address of the server that sends it. With a credential, it counts
/// against the account.
const fn counts_against_servers(request: &Request) -> bool {
    matches!(request.operation, Operation::Manifest { .. }) && !request.has_credential()
}

/// No permit was free in time, since the engines do not read their running responses.
fn overload_fault() -> Fault {
    let detail = "too many requests are under way, and none of them ended in time";
    Fault::new(Hop::Tunnel, FaultKind::TimedOut, detail)
}
