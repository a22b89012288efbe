//! Requests a part of a body again, with a new token if the old one has expired.

use super::TransferContext;
use super::range_request::{Continuation, RangeRequest};
use crate::exchange::{self, ExchangeError, RemoteBody};
use crate::tunnel::Session;
use bytes::BytesMut;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::limits::SMALL_BODY_BYTES_MAX;
use docxy_protocol::request::Request;
use docxy_protocol::token_response::TokenResponse;
use http::StatusCode;
use std::ops::Range;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;

impl TransferContext {
    /// Requests these bytes of a body once, and once more if their token has expired.
    pub(super) async fn fetch(
        &self,
        session: &Session,
        permit: Option<OwnedSemaphorePermit>,
        range_request: &RangeRequest,
        bytes: &Range<u64>,
    ) -> Result<Continuation, ExchangeError> {
        let fetched = self.fetch_once(session, permit, range_request, bytes).await;
        if !fetched.as_ref().is_err_and(has_expired) {
            return fetched;
        }
        self.renew_token(session, &range_request.request).await?;
        let permit = session.permit(&range_request.request.operation).await;
        let fetched = self.fetch_once(session, permit, range_request, bytes).await;
        if fetched.as_ref().is_err_and(has_expired) {
            return Err(expired("the registry refuses its new token, too"));
        }
        fetched
    }

    async fn fetch_once(
        &self,
        session: &Session,
        permit: Option<OwnedSemaphorePermit>,
        range_request: &RangeRequest,
        bytes: &Range<u64>,
    ) -> Result<Continuation, ExchangeError> {
        let mut request = range_request.request(bytes);
        request.authorization = self.credentials.newest(&request.registry, &request.authorization);
        // More may be known about the origin of the token than when the first request was sent.
        if !self.credentials.may_send(&request) {
            return Err(expired(&format!("it is not known to be issued by {}", request.registry)));
        }
        let expected = range_request.supports_ranges().then_some(bytes.end - bytes.start);
        range_request.check(bytes, exchange::send(session, permit, &request, expected).await?)
    }

    /// Gets a new token as the one of this request was obtained.
    async fn renew_token(&self, session: &Session, request: &Request) -> Result<(), ExchangeError> {
        let Authorization::Bearer(token) = &request.authorization else {
            return Err(expired("the request has no token that could be renewed"));
        };
        let Some(source) = self.credentials.source(&request.registry, token, Instant::now()) else {
            return Err(expired("it was not obtained here, so it cannot be renewed"));
        };
        let request = source.request();
        let permit = session.permit(&request.operation).await;
        let response = exchange::send(session, permit, &request, None).await?;
        if response.status != StatusCode::OK {
            let detail = format!("the token has expired and could not be renewed: {}", response.status);
            return Err(Fault::new(Hop::TokenService, FaultKind::of_status(response.status), detail).into());
        }
        let response = TokenResponse::parse(&collect(response.body).await?)
            .map_err(|error| Fault::new(Hop::TokenService, FaultKind::MalformedResponse, error))?;
        self.credentials.renew(token, response);
        tracing::info!(registry = %source.registry, "renewed an expired token");
        self.counters.tokens_renewed.increment();
        Ok(())
    }
}

fn has_expired(error: &ExchangeError) -> bool {
    matches!(error, ExchangeError::Fault(fault) if fault.hop == Hop::Registry && fault.kind == FaultKind::CredentialExpired)
}

/// The engine needs a new token.
fn expired(detail: &str) -> ExchangeError {
    let detail = format!("the token has expired: {detail}");
    Fault::new(Hop::Engine, FaultKind::CredentialExpired, detail).into()
}

/// Reads a small body completely.
async fn collect(mut body: RemoteBody) -> Result<BytesMut, ExchangeError> {
    let mut all = BytesMut::new();
    while let Some(bytes) = body.next().await? {
        all.extend_from_slice(&bytes);
        if all.len() > SMALL_BODY_BYTES_MAX {
            let detail = "the token response is too long";
            return Err(Fault::new(Hop::TokenService, FaultKind::Mismatch, detail).into());
        }
    }
    if body.length().is_some_and(|length| length != all.len() as u64) {
        return Err(ExchangeError::mismatch("the token response has another length than announced"));
    }
    Ok(all)
}
