//! The refusal of content to an engine that has shown no credential, or one that the registry must not receive: with
//! words that its user reads, and a challenge that does not make the engine request the same public token again.
//!
//! Engines print different parts of a refusal: containerd the `error` of the challenge, or else the status line; dockerd
//! the meaning of that `error` and its description, or else, if it does not know the `error`, the body; podman and skopeo
//! the body. So the words are the body, and also the `error`.

use super::responses::{self, ResponseBody};
use crate::accounts::denied::AnonymousContent;
use crate::gateway::UsedAccount;
use bytes::Bytes;
use docxy_protocol::authorization::{Authorization, WITHHELD_TOKEN};
use docxy_protocol::challenge::Challenge;
use docxy_protocol::error_body;
use docxy_protocol::limits::SMALL_BODY_BYTES_MAX;
use docxy_protocol::name::Registry;
use docxy_protocol::request::Operation;
use docxy_protocol::text::CleanText;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Either, Full, Limited};

impl AnonymousContent {
    /// `None` if the request is not for content, or has an account, or the engine may still follow the challenge.
    pub(super) fn of(
        registry: &Registry,
        operation: &Operation,
        authorization: &Authorization,
        headers: &HeaderMap,
    ) -> Option<Self> {
        let repository = operation.repository()?.clone();
        let is_withheld_token = |value: &HeaderValue| value.as_bytes().ends_with(WITHHELD_TOKEN.as_bytes());
        let is_credential_withheld = match authorization {
            Authorization::Public => headers.get(header::AUTHORIZATION).is_some_and(is_withheld_token),
            Authorization::Basic(_) if !registry.is_docker_hub() => true,
            _ => return None,
        };
        Some(Self { registry: registry.clone(), repository, is_credential_withheld, account: None })
    }

    /// The response that the engine receives. Only a refusal is changed.
    pub(super) async fn explain(mut self, response: Response<ResponseBody>) -> Response<ResponseBody> {
        self.account = response.extensions().get::<UsedAccount>().cloned();
        if !matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return response;
        }
        let (mut head, body) = response.into_parts();
        // A body that cannot be read says nothing.
        let body = Limited::new(body, SMALL_BODY_BYTES_MAX).collect().await.map(|body| body.to_bytes());
        let body = body.unwrap_or_default();
        let said = error_body::message(&body);
        let said = said.filter(|said| head.status.canonical_reason() != Some(said.as_str()));
        let headers = &mut head.headers;
        // A response to `HEAD` has no body.
        let said = said.or_else(|| description(headers));
        if self.registry.is_docker_hub() && self.account.is_none() {
            // It has accounts, and says itself what it denies.
            Challenge::change_bearer(headers, |challenge| match challenge.parameter("error") {
                Some(_) => challenge,
                None => challenge.with_error("insufficient_scope", said.as_ref().map(CleanText::as_str)),
            });
            return Response::from_parts(head, Either::Left(Full::new(body)));
        }
        let words = self.denial(said.as_ref());
        Challenge::change_bearer(headers, |challenge| challenge.with_error(&words, None));
        let body: Bytes = error_body::denied(&words).into();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(error_body::MEDIA_TYPE));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        let mut response = Response::from_parts(head, Either::Left(Full::new(body)));
        responses::describe_in_status_line(&mut response, words);
        response
    }
}

/// Why the registry refuses, in the words of its Bearer challenge.
fn description(headers: &HeaderMap) -> Option<CleanText<500>> {
    let mut bearer = Challenge::of_response(headers).filter(Challenge::is_bearer);
    bearer.find_map(|challenge| challenge.parameter("error_description").map(CleanText::from))
}
