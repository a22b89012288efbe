//! A stand-in in another process, seen through its control socket.
//! For tests whose stand-in has to live in another network namespace.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{net::UnixStream, time::Instant};

use super::{LoggedRequest, PublishRequest, RequestWaitError, Rule, Transfer};

/// The far end of a control socket.
#[derive(Clone, Debug)]
pub struct RemoteHub {
    socket: PathBuf,
}

/// Why a stand-in could not be controlled.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Its socket cannot be reached.
    #[error("cannot reach the stand-in at {}: {source}", socket.display())]
    Connect {
        /// Which socket.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The exchange broke.
    #[error("the stand-in broke off: {0}")]
    Http(#[from] hyper::Error),
    /// It does not understand.
    #[error("the stand-in refused: {status} {body}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// What it said.
        body: String,
    },
    /// We do not understand.
    #[error("the stand-in's body makes no sense: {0}")]
    Answer(#[from] serde_json::Error),
    /// Nothing like what was awaited came.
    #[error(transparent)]
    RequestWaitError(#[from] RequestWaitError),
}

/// The request_log cannot push through the socket; this is how often a waiter looks again.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

impl RemoteHub {
    /// The stand-in whose control socket this is. It is only dialled when it is asked something.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Every request so far.
    pub async fn request_log(&self) -> Result<Vec<LoggedRequest>, RemoteError> {
        self.request(Method::GET, "/requests", None).await
    }

    /// The first request that matches, past or to come.
    pub async fn wait_for(
        &self,
        matches: impl Fn(&LoggedRequest) -> bool,
        within: Duration,
    ) -> Result<LoggedRequest, RemoteError> {
        let deadline = Instant::now() + within;
        loop {
            let entries = self.request_log().await?;
            if let Some(entry) = entries.iter().find(|entry| matches(entry)) {
                return Ok(entry.clone());
            }
            if Instant::now() >= deadline {
                return Err(RequestWaitError {
                    within,
                    seen: entries.iter().map(LoggedRequest::line).collect(),
                }
                .into());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Forgets the requests so far.
    pub async fn clear_request_log(&self) -> Result<(), RemoteError> {
        self.command(Method::DELETE, "/requests", None).await
    }

    /// Every blob body so far.
    pub async fn transfers(&self) -> Result<Vec<Transfer>, RemoteError> {
        self.request(Method::GET, "/transfers", None).await
    }

    /// Arms a fault.
    pub async fn arm(&self, rule: &Rule) -> Result<(), RemoteError> {
        self.command(Method::POST, "/faults", Some(json!(rule))).await
    }

    /// What is still armed.
    pub async fn armed(&self) -> Result<Vec<Rule>, RemoteError> {
        self.request(Method::GET, "/faults", None).await
    }

    /// Disarms everything.
    pub async fn clear_faults(&self) -> Result<(), RemoteError> {
        self.command(Method::DELETE, "/faults", None).await
    }

    /// Lets go of everything that is held or stalled now.
    pub async fn release(&self) -> Result<(), RemoteError> {
        self.command(Method::POST, "/release", None).await
    }

    /// Makes an image and puts it into a repository.
    pub async fn publish(&self, publication: &PublishRequest) -> Result<(), RemoteError> {
        self.command(Method::POST, "/images", Some(json!(publication))).await
    }

    /// Makes every token issued so far invalid.
    pub async fn revoke_tokens(&self) -> Result<(), RemoteError> {
        self.command(Method::POST, "/revoke-tokens", None).await
    }

    async fn command(
        &self,
        method: Method,
        path: &'static str,
        body: Option<Value>,
    ) -> Result<(), RemoteError> {
        self.request::<Value>(method, path, body).await.map(drop)
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &'static str,
        body: Option<Value>,
    ) -> Result<T, RemoteError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| RemoteError::Connect { socket: self.socket.clone(), source })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = http::Uri::from_static(path);
        request.headers_mut().insert(header::HOST, http::HeaderValue::from_static("hub"));
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
        };
        // The connection has to be driven, but its end (ours or theirs) says nothing: the exchange does.
        let (status, body) = tokio::select! {
            biased;
            exchanged = exchange => exchanged?,
            Err(error) = connection => return Err(error.into()),
        };
        if !status.is_success() {
            return Err(RemoteError::Refused { status, body: String::from_utf8_lossy(&body).into_owned() });
        }
        Ok(serde_json::from_slice(&body)?)
    }
}
