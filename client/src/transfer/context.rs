//! What all transfers share: the tunnel, the timeouts, the credentials and the cache.

use super::continuation::{Continuation, RangeRequest, RejectedResponse};
use super::stall_timeout::StallTimeout;
use super::wait_list::WaitList;
use crate::counters::TransferCounters;
use crate::credentials::Credentials;
use crate::exchange::{self, ExchangeError, TunnelBody};
use crate::metadata::Metadata;
use crate::tunnel::{Session, Tunnel};
use bytes::BytesMut;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::limits::SMALL_BODY_MAX;
use docxy_protocol::name::Registry;
use docxy_protocol::request::Request;
use docxy_protocol::secret::Secret;
use docxy_protocol::token_response::TokenResponse;
use http::StatusCode;
use std::ops::Range;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;

/// What all transfers share. Clones share it too.
#[derive(Debug, Clone)]
pub(crate) struct TransferContext {
    pub(crate) tunnel: Tunnel,
    /// How long an interrupted transfer waits for its next byte.
    pub(crate) stall_timeout: StallTimeout,
    pub(crate) credentials: Credentials,
    pub(crate) wait_list: WaitList,
    pub(crate) metadata: Metadata,
    pub(crate) counters: TransferCounters,
}

/// Why a range was not fetched.
#[derive(Debug)]
pub(super) enum FetchError {
    /// The connection was lost, and the next one may work.
    ConnectionLost,
    /// Another attempt may succeed.
    Transient(Fault),
    /// No attempt would succeed.
    Permanent(Fault),
}

impl TransferContext {
    /// Requests these bytes of a body once, with a new token if the old one has expired.
    pub(super) async fn fetch(
        &self,
        session: &Session,
        permit: Option<OwnedSemaphorePermit>,
        range_request: &RangeRequest,
        bytes: &Range<u64>,
    ) -> Result<Continuation, FetchError> {
        let request = self.request(range_request, bytes)?;
        match fetch_once(session, permit, range_request, request, bytes).await? {
            Ok(continuation) => return Ok(continuation),
            Err(RejectedResponse::Unauthorized(fault)) => match &range_request.request.authorization {
                Authorization::Bearer(token) => {
                    self.renew(session, &range_request.request.registry, token, fault).await?;
                }
                _ => return Err(FetchError::Permanent(fault)),
            },
            Err(rejection) => return Err(rejection.into()),
        }
        let request = self.request(range_request, bytes)?;
        let permit = session.permit(&request.operation).await;
        fetch_once(session, permit, range_request, request, bytes).await?.map_err(FetchError::from)
    }

    /// The request for these bytes with the newest token. Checks the origin of that token again: more may be
    /// known about it than when the first request was sent.
    fn request(&self, range_request: &RangeRequest, bytes: &Range<u64>) -> Result<Request, FetchError> {
        let mut request = range_request.request(bytes);
        request.authorization = self.credentials.newest(&request.registry, &request.authorization);
        if self.credentials.admit(&request) {
            return Ok(request);
        }
        let detail = format!("the token is not known to be issued by {}", request.registry);
        Err(FetchError::Permanent(Fault::new(Hop::Engine, FaultKind::CredentialExpired, detail)))
    }

    /// Gets a new token with the login that obtained this one.
    async fn renew(
        &self,
        session: &Session,
        registry: &Registry,
        token: &Secret,
        fault: Fault,
    ) -> Result<(), FetchError> {
        let Some(login) = self.credentials.login(registry, token, Instant::now()) else {
            return Err(FetchError::Permanent(fault));
        };
        let request = login.request();
        let permit = session.permit(&request.operation).await;
        let response = exchange::send(session, permit, &request, None).await?;
        if response.status != StatusCode::OK {
            let detail = format!("the token has expired and could not be renewed: {}", response.status);
            let fault = Fault::new(Hop::Auth, FaultKind::MalformedResponse, detail);
            let is_transient = response.status.is_server_error();
            return Err(if is_transient {
                FetchError::Transient(fault)
            } else {
                FetchError::Permanent(fault)
            });
        }
        let response = TokenResponse::parse(&collect(response.body).await?).map_err(|error| {
            FetchError::Permanent(Fault::new(Hop::Auth, FaultKind::MalformedResponse, error))
        })?;
        self.credentials.renew(token, response);
        tracing::info!(registry = %login.registry, "renewed an expired token");
        self.counters.tokens_renewed.increment();
        Ok(())
    }
}

async fn fetch_once(
    session: &Session,
    permit: Option<OwnedSemaphorePermit>,
    range_request: &RangeRequest,
    request: Request,
    bytes: &Range<u64>,
) -> Result<Result<Continuation, RejectedResponse>, FetchError> {
    let expected = range_request.supports_ranges().then_some(bytes.end - bytes.start);
    let response = exchange::send(session, permit, &request, expected).await?;
    Ok(range_request.check(bytes, response))
}

/// Reads a small body completely.
async fn collect(mut body: TunnelBody) -> Result<BytesMut, FetchError> {
    let mut all = BytesMut::new();
    while let Some(bytes) = body.next().await.map_err(|error| match error {
        exchange::BodyError::Transient(_) => FetchError::ConnectionLost,
        exchange::BodyError::Permanent(fault) => FetchError::Transient(fault),
    })? {
        all.extend_from_slice(&bytes);
        if all.len() > SMALL_BODY_MAX {
            let fault = Fault::new(Hop::Auth, FaultKind::MalformedResponse, "the token response is too long");
            return Err(FetchError::Permanent(fault));
        }
    }
    Ok(all)
}

impl From<RejectedResponse> for FetchError {
    fn from(rejection: RejectedResponse) -> Self {
        match rejection {
            RejectedResponse::Transient(fault) => Self::Transient(fault),
            RejectedResponse::Unauthorized(fault) | RejectedResponse::Permanent(fault) => {
                Self::Permanent(fault)
            }
        }
    }
}

impl From<ExchangeError> for FetchError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::ConnectionLost(_) => Self::ConnectionLost,
            ExchangeError::ResetBeforeHead(fault) => Self::Transient(fault),
            ExchangeError::Fault(fault) => match fault.kind {
                // The hops behind the server may recover soon.
                FaultKind::Down
                | FaultKind::Overloaded
                | FaultKind::Unreachable
                | FaultKind::TimedOut
                | FaultKind::MalformedResponse
                | FaultKind::Truncated
                | FaultKind::Cancelled => Self::Transient(fault),
                _ => Self::Permanent(fault),
            },
        }
    }
}
