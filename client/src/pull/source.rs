//! The registry as the download sees it: manifests and blobs of one repository.
//!
//! Every manifest that leaves here has been checked against its digest; blobs are checked by who
//! reads them to their end.

use bytes::Bytes;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::digester::Digester;
use docxy_protocol::fault::Fault;
use docxy_protocol::headers::{DOCKER_CONTENT_DIGEST, Headers};
use docxy_protocol::image_name::ImageName;
use docxy_protocol::limits::{MANIFEST_MAX, SMALL_BODY_MAX};
use docxy_protocol::manifest::{MEDIA_TYPES, Manifest, ManifestError};
use docxy_protocol::name::{Digest, Reference};
use docxy_protocol::request::{Method, Operation, Request};
use docxy_protocol::text::CleanText;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;

/// An answer's body.
pub(super) type Body = UnsyncBoxBody<Bytes, Fault>;

/// Whom to ask: the tunnel, or in tests a script.
pub(super) trait Ask: Sync {
    /// One request, one answer.
    fn ask(&self, request: Request) -> impl Future<Output = Result<Response<Body>, Fault>> + Send;
}

/// Why the registry's content is not to be had. `what` names it.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are what was asked for and what came of it")]
pub enum SourceError {
    /// Something on the way failed.
    #[error("cannot get {what}: {fault}")]
    Fault { what: String, fault: Fault },
    /// The registry doesn't give it.
    #[error("cannot get {what}: the registry says {status}{words}{hint}")]
    Refused { what: String, status: StatusCode, words: String, hint: &'static str },
    /// It gave something else.
    #[error("{what} is not what it should be, so it was not kept: expected {expected}, got {found}")]
    Mismatch { what: String, expected: String, found: String },
    /// It is no manifest that we could pull by.
    #[error("cannot pull by {what}: {source}")]
    Manifest { what: String, source: ManifestError },
    /// More than a manifest has any use for.
    #[error("{what} has more than {MANIFEST_MAX} bytes")]
    TooLarge { what: String },
}

/// One repository.
pub(super) struct Source<'a, A> {
    ask: A,
    image: &'a ImageName,
}

/// A manifest that was checked.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) digest: Digest,
    pub(super) bytes: Bytes,
    pub(super) manifest: Manifest,
}

impl<'a, A: Ask> Source<'a, A> {
    pub(super) const fn new(ask: A, image: &'a ImageName) -> Self {
        Self { ask, image }
    }

    /// A manifest, by tag or by digest.
    pub(super) async fn manifest(&self, reference: &Reference) -> Result<Document, SourceError> {
        let what = format!("the manifest {reference} of {}/{}", self.image.registry, self.image.repository);
        let operation = Operation::Manifest {
            repository: self.image.repository.clone(),
            reference: reference.clone(),
            method: Method::Get,
        };
        let accepted = MEDIA_TYPES.map(|name| (header::ACCEPT, HeaderValue::from_static(name)));
        let answer = self.get(&what, operation, accepted).await?;
        if answer.status() != StatusCode::OK {
            let hint = hint(answer.status());
            return Err(refused(what, answer, hint).await);
        }
        let (head, body) = answer.into_parts();
        let bytes = match Limited::new(body, MANIFEST_MAX).collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(error) => return Err(unreadable(what, error)),
        };
        let text = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let said = text(&DOCKER_CONTENT_DIGEST).and_then(|text| text.parse::<Digest>().ok());
        let asked = match reference {
            Reference::Digest(digest) => Some(digest),
            Reference::Tag(_) => None,
        };
        for expected in [asked, said.as_ref()].into_iter().flatten() {
            check(&what, expected, &Digester::matching(expected).digest(&bytes))?;
        }
        let digest = asked.cloned().unwrap_or_else(|| Digester::sha256().digest(&bytes));
        match Manifest::parse(&bytes, text(&header::CONTENT_TYPE)) {
            Ok(manifest) => Ok(Document { digest, bytes, manifest }),
            Err(source) => Err(SourceError::Manifest { what, source }),
        }
    }

    /// A blob's answer, from `position` on. Its status is 200 or 206.
    pub(super) async fn blob(&self, digest: &Digest, position: u64) -> Result<Response<Body>, SourceError> {
        let what = format!("the blob {digest}");
        let operation = Operation::Blob {
            repository: self.image.repository.clone(),
            digest: digest.clone(),
            method: Method::Get,
        };
        let range = (position > 0).then(|| {
            let value = HeaderValue::try_from(format!("bytes={position}-"));
            (header::RANGE, value.expect("a number among ASCII letters is a header value"))
        });
        let answer = self.get(&what, operation, range).await?;
        match answer.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(answer),
            _ => Err(refused(what, answer, "").await),
        }
    }

    async fn get(
        &self,
        what: &str,
        operation: Operation,
        fields: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) -> Result<Response<Body>, SourceError> {
        let mut headers = HeaderMap::new();
        let agent = concat!("docxy-client/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        for (name, value) in fields {
            headers.append(name, value);
        }
        let request = Request {
            registry: self.image.registry.clone(),
            operation,
            authorization: Authorization::Public,
            headers: Headers::filter_request(&headers),
            prefetch: None,
        };
        let answered = self.ask.ask(request).await;
        answered.map_err(|fault| SourceError::Fault { what: what.to_owned(), fault })
    }
}

/// Compares what came with what was to come.
pub(super) fn check(what: &str, expected: &Digest, found: &Digest) -> Result<(), SourceError> {
    if expected == found {
        return Ok(());
    }
    let (expected, found) = (expected.to_string(), found.to_string());
    Err(SourceError::Mismatch { what: what.to_owned(), expected, found })
}

async fn refused(what: String, answer: Response<Body>, hint: &'static str) -> SourceError {
    let (head, body) = answer.into_parts();
    // What cannot be read has nothing to say.
    let body = Limited::new(body, SMALL_BODY_MAX).collect().await;
    let mut words = body.map(|body| words_of(&body.to_bytes())).unwrap_or_default();
    if head.status.canonical_reason().is_some_and(|reason| words.ends_with(&format!(": {reason}"))) {
        words.clear();
    }
    SourceError::Refused { what, status: head.status, words, hint }
}

/// What a registry's error body says to people (distribution spec, "Error Codes").
fn words_of(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let errors = value["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let messages: Vec<String> = errors
        .iter()
        .filter_map(|error| error["message"].as_str().filter(|text| !text.is_empty()))
        .map(str::to_owned)
        .collect();
    // Somebody else's text, for the user's terminal.
    let words = CleanText::<500>::new(messages.join("; "));
    if messages.is_empty() { String::new() } else { format!(": {words}") }
}

/// What a user may do about it.
fn hint(status: StatusCode) -> &'static str {
    match status {
        // Docker Hub says the same of what is private and of what isn't there.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "\nIs the name right? If the image is private: docxy-client pull has no accounts yet, so pull it \
             with an engine through `docxy-client run`, after `docker login 127.0.0.1:5080`"
        }
        _ => "",
    }
}

fn unreadable(what: String, error: Box<dyn std::error::Error + Send + Sync>) -> SourceError {
    match error.downcast::<Fault>() {
        Ok(fault) => SourceError::Fault { what, fault: *fault },
        Err(error) => {
            debug_assert!(error.is::<LengthLimitError>(), "{error}");
            SourceError::TooLarge { what }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, answer};
    use super::*;

    fn image() -> ImageName {
        "alpine".parse().unwrap()
    }

    const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

    async fn manifest(answers: Vec<Response<Body>>, reference: &str) -> Result<Document, SourceError> {
        let image = image();
        Source::new(&Script::new(answers), &image).manifest(&reference.parse().unwrap()).await
    }

    #[tokio::test]
    async fn a_manifest_must_be_the_one_that_was_asked_for() {
        let right = Digester::sha256().digest(INDEX.as_bytes());
        let wrong = Digester::sha256().digest(b"");
        let answer = |said: Option<&Digest>| {
            let mut answer = answer(200, INDEX);
            if let Some(digest) = said {
                answer.headers_mut().insert(&DOCKER_CONTENT_DIGEST, digest.as_str().parse().unwrap());
            }
            vec![answer]
        };
        assert_eq!(manifest(answer(None), "latest").await.unwrap().digest, right);
        assert_eq!(manifest(answer(Some(&right)), right.as_str()).await.unwrap().digest, right);
        for result in
            [manifest(answer(Some(&wrong)), "latest").await, manifest(answer(None), wrong.as_str()).await]
        {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(&format!("expected {wrong}, got {right}")), "{error}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_registrys_own_words() {
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication\u001b required"}]}"#;
        let error = manifest(vec![answer(401, body)], "latest").await.unwrap_err().to_string();
        assert!(
            error.starts_with(
                "cannot get the manifest latest of docker.io/library/alpine: the registry says 401 \
                 Unauthorized: authentication required\nIs the name right?"
            ),
            "{error:?}"
        );
        let error = manifest(vec![answer(404, "<html>")], "latest").await.unwrap_err().to_string();
        assert!(error.ends_with("the registry says 404 Not Found"), "{error}");
    }

    #[tokio::test]
    async fn a_manifest_without_end_is_not_read_to_its_end() {
        let endless = vec![answer(200, &" ".repeat(MANIFEST_MAX + 1))];
        let error = manifest(endless, "latest").await.unwrap_err();
        assert!(matches!(error, SourceError::TooLarge { .. }), "{error}");
    }
}
