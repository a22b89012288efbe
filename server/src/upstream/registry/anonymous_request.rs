//! Sends a request without an account, with the token that each host on its way asks for.
//!
//! The registry, or another one that it redirects to, refuses a request without the right token, and says in its
//! refusal which token it wants. Must never send more than [`REFUSALS_MAX`] requests in place of one.

use crate::upstream::api_client::ApiClient;
use crate::upstream::error::UpstreamError;
use crate::upstream::http::body::Body;
use crate::upstream::http::redirect::UpstreamResponse;
use crate::upstream::http::retry::RetryDeadline;
use crate::upstream::token::{Refusal, RegistryTokens, TokenUnavailable};
use docxy_protocol::challenge::Challenge;
use docxy_protocol::error_body;
use docxy_protocol::request::Request;
use docxy_protocol::text::CleanText;
use http::{HeaderValue, StatusCode, header};
use std::sync::Arc;
use std::time::Instant;

/// Maximum number of refusals that are answered with another token: one each for a registry and for the one that it
/// redirects to, and one each for a token that has expired.
const REFUSALS_MAX: usize = 4;

/// Sends a request without an account.
///
/// # Errors
/// If a hop fails. An error status of the registry is a response, not an error.
pub(super) async fn send(
    client: &ApiClient,
    tokens: &Arc<RegistryTokens>,
    request: &Request,
    deadline: RetryDeadline,
) -> Result<UpstreamResponse, UpstreamError> {
    let (repository, started) = (request.operation.repository(), Instant::now());
    let mut sent = match tokens.for_anonymous(repository, deadline).await {
        Ok(sent) => sent,
        Err(unavailable) => return unavailable.into_response(),
    };
    let mut refusals = 0;
    loop {
        let response = client.send(request, &sent.credentials(), deadline).await?;
        let Some(refusal) = Refusal::of(&response, &sent).filter(|_| refusals < REFUSALS_MAX) else {
            return Ok(response);
        };
        // So that its connection can carry the next request.
        let response = response.read_error().await;
        match tokens.replace_refused(refusal, &mut sent, repository, started, deadline).await {
            Ok(true) => refusals += 1,
            Ok(false) => return Ok(response),
            Err(unavailable) => return refused(response, unavailable),
        }
    }
}

/// The response to a request that is refused for want of a token.
fn refused(
    refusal: UpstreamResponse,
    unavailable: TokenUnavailable,
) -> Result<UpstreamResponse, UpstreamError> {
    match unavailable {
        TokenUnavailable::Refused(_, None) => Ok(refusal),
        TokenUnavailable::Refused(_, Some(reason)) => Ok(with_reason(refusal, &reason)),
        // A 400 or 403 can be about the content.
        _ if refusal.response.status() != StatusCode::UNAUTHORIZED => Ok(refusal),
        other => other.into_response(),
    }
}

/// The refusal with the reason of the token service: in its body, and in its challenge, since a response to `HEAD` has no
/// body.
fn with_reason(mut refusal: UpstreamResponse, reason: &CleanText<500>) -> UpstreamResponse {
    let headers = refusal.response.headers_mut();
    Challenge::change_bearer(headers, |challenge| challenge.with_description(reason.as_str()));
    headers.remove(header::CONTENT_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(error_body::MEDIA_TYPE));
    *refusal.response.body_mut() = Body::Whole(error_body::denied(reason).into());
    refusal
}
