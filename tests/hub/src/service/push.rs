//! Pushes the content of a store to a real registry, by the push API and with real tokens. A registry rejects an
//! invalid image, so this also checks the images.

use std::{convert::Infallible, io};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};

use crate::{
    content::{
        blob::Blob,
        image::{Manifest, media_type},
        store::{Repository, Store},
    },
    http::response::{Body, full},
    service::{
        distribution::Distribution,
        token::{Access, Grant, Tokens},
    },
    steering::site::Names,
};

/// Why a push failed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The registry could not be reached.
    #[error("{path}: {source}")]
    Http {
        /// The path of the request.
        path: String,
        /// The cause.
        source: hyper_util::client::legacy::Error,
    },
    /// The registry rejected the request.
    #[error("{path}: {status} {answer}")]
    Refused {
        /// The path of the request.
        path: String,
        /// The status.
        status: StatusCode,
        /// The body of the response.
        answer: String,
    },
    /// A path or a field that HTTP does not allow.
    #[error(transparent)]
    Request(#[from] http::Error),
}

pub(crate) async fn push_store(
    registry: &Distribution,
    names: &Names,
    tokens: &Tokens,
    store: &Store,
) -> Result<(), PushError> {
    for (name, content) in store.repositories() {
        let actions = vec!["pull".to_owned(), "push".to_owned()];
        let access = vec![Access { kind: "repository".into(), name: name.clone(), actions }];
        let token = tokens.issue(&Grant { account: None, access });
        Pusher { registry, host: &names.registry, token: format!("Bearer {token}"), name: &name }
            .all(&content)
            .await?;
    }
    Ok(())
}

struct Pusher<'a> {
    registry: &'a Distribution,
    host: &'a str,
    token: String,
    name: &'a str,
}

impl Pusher<'_> {
    async fn all(&self, content: &Repository) -> Result<(), PushError> {
        for blob in content.blobs.values() {
            self.blob(blob).await?;
        }
        // The registry rejects an index before the manifests that it names.
        let is_index = |manifest: &&Manifest| {
            matches!(manifest.media_type, media_type::OCI_INDEX | media_type::DOCKER_LIST)
        };
        let (indexes, manifests): (Vec<_>, Vec<_>) = content.manifests.values().partition(is_index);
        for manifest in manifests.into_iter().chain(indexes) {
            self.manifest(manifest.digest.as_str(), manifest).await?;
        }
        for (tag, digest) in &content.tags {
            if let Some(manifest) = content.manifests.get(digest) {
                self.manifest(tag, manifest).await?;
            }
        }
        Ok(())
    }

    async fn blob(&self, blob: &Blob) -> Result<(), PushError> {
        let start = format!("/v2/{}/blobs/uploads/", self.name);
        let none = (header::CONTENT_LENGTH, "0".to_owned());
        let location = self.send(Method::POST, &start, none, full(Bytes::new())).await?;
        let path = location.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
        let path = format!("{}&digest={}", path.unwrap_or(&location), blob.digest());
        let length = (header::CONTENT_LENGTH, blob.len().to_string());
        self.send(Method::PUT, &path, length, body_of(blob.clone())).await.map(drop)
    }

    async fn manifest(&self, reference: &str, manifest: &Manifest) -> Result<(), PushError> {
        let path = format!("/v2/{}/manifests/{reference}", self.name);
        let media_type = (header::CONTENT_TYPE, manifest.media_type.to_owned());
        self.send(Method::PUT, &path, media_type, full(manifest.bytes.clone())).await.map(drop)
    }

    /// Sends one request and returns the response's `Location`.
    async fn send(
        &self,
        method: Method,
        path: &str,
        (name, value): (HeaderName, String),
        body: Body,
    ) -> Result<String, PushError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.host)
            .header(header::AUTHORIZATION, &self.token)
            .header(name, value)
            .body(body)?;
        let path = path.to_owned();
        let response = match self.registry.send(request).await {
            Ok(response) => response,
            Err(source) => return Err(PushError::Http { path, source }),
        };
        let status = response.status();
        let location =
            response.headers().get(header::LOCATION).map(HeaderValue::as_bytes).map(String::from_utf8_lossy);
        let location = location.unwrap_or_default().into_owned();
        if status.is_success() {
            return Ok(location);
        }
        let answer = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Err(PushError::Refused { path, status, answer: String::from_utf8_lossy(&answer).into_owned() })
    }
}

fn body_of(blob: Blob) -> Body {
    let frames = stream::unfold((blob, 0), |(blob, at)| async move {
        let chunk = blob.read(at, blob.len());
        let next = at + chunk.len() as u64;
        (!chunk.is_empty()).then(|| (Ok::<_, Infallible>(Frame::data(chunk)), (blob, next)))
    });
    StreamBody::new(frames).map_err(|never| -> io::Error { match never {} }).boxed_unsync()
}
