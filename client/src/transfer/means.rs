//! What it takes to ask again: the tunnel, patience, and a credential for a token that has expired.

use super::again::{Again, Continued, Refusal};
use super::patience::PatienceSetting;
use crate::credentials::Credentials;
use crate::exchange::{self, ExchangeError, TunnelBody};
use crate::metadata::Metadata;
use crate::tunnel::{Line, Tunnel};
use crate::waiting::Waiting;
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

/// What all transfers share.
#[derive(Debug, Clone)]
pub(crate) struct Means {
    pub(crate) tunnel: Tunnel,
    /// How long a transfer waits for its next byte after it broke off.
    pub(crate) patience: PatienceSetting,
    pub(crate) credentials: Credentials,
    pub(crate) waiting: Waiting,
    pub(crate) metadata: Metadata,
}

/// Why the rest of a body didn't come.
#[derive(Debug)]
pub(super) enum AskError {
    /// The line was lost; the next one may do.
    LineLost,
    /// Another attempt may do better.
    Passing(Fault),
    /// None would.
    Final(Fault),
}

impl Means {
    /// Asks for these bytes of a body once, with a new token where the old one isn't good any more.
    pub(super) async fn ask(
        &self,
        line: &Line,
        place: Option<OwnedSemaphorePermit>,
        again: &Again,
        bytes: &Range<u64>,
    ) -> Result<Continued, AskError> {
        let request = self.request(again, bytes)?;
        match once(line, place, again, request, bytes).await? {
            Ok(continued) => return Ok(continued),
            Err(Refusal::Unauthorized(fault)) => match &again.request.authorization {
                Authorization::Bearer(token) => {
                    self.renew(line, &again.request.registry, token, fault).await?;
                }
                _ => return Err(AskError::Final(fault)),
            },
            Err(refusal) => return Err(refusal.into()),
        }
        let request = self.request(again, bytes)?;
        let place = line.place(&request.operation).await;
        once(line, place, again, request, bytes).await?.map_err(AskError::from)
    }

    /// The request for these bytes with the newest token. Checks again whether the registry may see that
    /// token: more may be known about it than when the body's first request was sent.
    fn request(&self, again: &Again, bytes: &Range<u64>) -> Result<Request, AskError> {
        let mut request = again.request(bytes);
        request.authorization = self.credentials.newest(&request.registry, &request.authorization);
        if self.credentials.admit(&request) {
            return Ok(request);
        }
        let detail = format!("the token is not known to be issued by {}", request.registry);
        Err(AskError::Final(Fault::new(Hop::Engine, FaultKind::CredentialExpired, detail)))
    }

    /// Gets a new token by the credential that got this one.
    async fn renew(
        &self,
        line: &Line,
        registry: &Registry,
        token: &Secret,
        fault: Fault,
    ) -> Result<(), AskError> {
        let Some(login) = self.credentials.login(registry, token, Instant::now()) else {
            return Err(AskError::Final(fault));
        };
        let request = login.request();
        let place = line.place(&request.operation).await;
        let answer = exchange::run(line, place, &request, None).await?;
        if answer.status != StatusCode::OK {
            let detail = format!("the token has expired, and there is no new one: {}", answer.status);
            let fault = Fault::new(Hop::Auth, FaultKind::MalformedResponse, detail);
            let passing = answer.status.is_server_error();
            return Err(if passing { AskError::Passing(fault) } else { AskError::Final(fault) });
        }
        let answer = TokenResponse::parse(&collect(answer.body).await?)
            .map_err(|error| AskError::Final(Fault::new(Hop::Auth, FaultKind::MalformedResponse, error)))?;
        self.credentials.renew(token, answer);
        tracing::info!(registry = %login.registry, "a token that has expired was renewed");
        Ok(())
    }
}

async fn once(
    line: &Line,
    place: Option<OwnedSemaphorePermit>,
    again: &Again,
    request: Request,
    bytes: &Range<u64>,
) -> Result<Result<Continued, Refusal>, AskError> {
    let expected = again.has_parts().then_some(bytes.end - bytes.start);
    let answer = exchange::run(line, place, &request, expected).await?;
    Ok(again.check(bytes, answer))
}

/// All of a small body.
async fn collect(mut body: TunnelBody) -> Result<BytesMut, AskError> {
    let mut all = BytesMut::new();
    while let Some(bytes) = body.next().await.map_err(|broken| match broken {
        exchange::Broken::Lost(_) => AskError::LineLost,
        exchange::Broken::Failed(fault) => AskError::Passing(fault),
    })? {
        all.extend_from_slice(&bytes);
        if all.len() > SMALL_BODY_MAX {
            let fault = Fault::new(Hop::Auth, FaultKind::MalformedResponse, "a token without end");
            return Err(AskError::Final(fault));
        }
    }
    Ok(all)
}

impl From<Refusal> for AskError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Passing(fault) => Self::Passing(fault),
            Refusal::Unauthorized(fault) | Refusal::Final(fault) => Self::Final(fault),
        }
    }
}

impl From<ExchangeError> for AskError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::LineLost => Self::LineLost,
            ExchangeError::Overtaken(fault) => Self::Passing(fault),
            ExchangeError::Fault(fault) => match fault.kind {
                // Those behind the server may be back in a moment.
                FaultKind::Down
                | FaultKind::Overloaded
                | FaultKind::Unreachable
                | FaultKind::TimedOut
                | FaultKind::MalformedResponse
                | FaultKind::Truncated
                | FaultKind::Cancelled => Self::Passing(fault),
                _ => Self::Final(fault),
            },
        }
    }
}
