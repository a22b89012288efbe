//! The refusal of content to an engine that has shown no credential, or one that the registry must not receive: with
//! words that its user reads, and a challenge that does not make the engine request the same public token again.
//!
//! Engines print different parts of a refusal: containerd the `error` of the challenge, or else the status line; dockerd the meaning of that
//! `error` and its description, or else, if it does not know the `error`, the body; podman and skopeo the body. So the
//! words are the body, and also the `error`.

use super::responses::{self, ResponseBody};
use crate::denied::Denied;
use bytes::Bytes;
use docxy_protocol::authorization::{Authorization, WITHHELD_TOKEN};
use docxy_protocol::challenge::Challenge;
use docxy_protocol::error_body;
use docxy_protocol::limits::SMALL_BODY_BYTES_MAX;
use docxy_protocol::name::{Registry, Repository};
use docxy_protocol::request::Operation;
use docxy_protocol::text::CleanText;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Either, Full, Limited};

/// A request for content that is sent without an account.
#[derive(Debug)]
pub(super) struct AnonymousContent {
    registry: Registry,
    repository: Repository,
    is_credential_withheld: bool,
}

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
        Some(Self { registry: registry.clone(), repository, is_credential_withheld })
    }

    /// The response that the engine receives. Only a refusal is changed.
    pub(super) async fn explain(self, response: Response<ResponseBody>) -> Response<ResponseBody> {
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
        if self.registry.is_docker_hub() {
            // It has accounts, and says itself what it denies.
            change_bearer(headers, |challenge| match challenge.parameter("error") {
                Some(_) => challenge,
                None => with_error(challenge, "insufficient_scope", said.as_ref().map(CleanText::as_str)),
            });
            return Response::from_parts(head, Either::Left(Full::new(body)));
        }
        let words = self.denied(said.as_ref()).to_string();
        change_bearer(headers, |challenge| with_error(challenge, &words, None));
        let body: Bytes = error_body::denied(&words).into();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(error_body::MEDIA_TYPE));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        let mut response = Response::from_parts(head, Either::Left(Full::new(body)));
        responses::describe_in_status_line(&mut response, words);
        response
    }

    fn denied<'a>(&'a self, said: Option<&'a CleanText<500>>) -> Denied<'a> {
        let Self { registry, repository, is_credential_withheld } = self;
        Denied { registry, repository, is_credential_withheld: *is_credential_withheld, said }
    }
}

/// Changes every Bearer challenge of a response.
fn change_bearer(headers: &mut HeaderMap, change: impl Fn(Challenge) -> Challenge) {
    let all: Vec<_> = Challenge::of_response(headers).collect();
    headers.remove(header::WWW_AUTHENTICATE);
    let changed =
        all.into_iter().map(|challenge| if challenge.is_bearer() { change(challenge) } else { challenge });
    for value in changed.filter_map(|challenge| challenge.to_header()) {
        headers.append(header::WWW_AUTHENTICATE, value);
    }
}

/// Replaces the error of a challenge (RFC 6750, section 3), in the characters that are allowed there.
fn with_error(challenge: Challenge, error: &str, description: Option<&str>) -> Challenge {
    let allowed = |text: &str| -> String {
        let char = |c| match c {
            '"' | '\\' => '\'',
            ' '..='~' => c,
            _ => '?',
        };
        text.chars().map(char).collect()
    };
    let challenge = challenge.without("error").without("error_description").with("error", &allowed(error));
    match description {
        Some(text) => challenge.with("error_description", &allowed(text)),
        None => challenge,
    }
}
