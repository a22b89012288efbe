//! Controls a stand-in in another process through its control socket.
//! For tests whose stand-in runs in another network namespace.

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

use crate::{
    control::PublishRequest,
    steering::{
        fault::Rule,
        request_log::{LoggedRequest, RequestWaitError},
        transfer::Transfer,
    },
};

/// A client of a control socket.
#[derive(Clone, Debug)]
pub struct RemoteHub {
    socket: PathBuf,
}

/// Why a stand-in could not be controlled.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Its socket could not be connected.
    #[error("cannot reach the stand-in at {}: {source}", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The connection failed.
    #[error("the connection to the stand-in failed: {0}")]
    Http(#[from] hyper::Error),
    /// The stand-in rejected the request.
    #[error("the stand-in rejected the request: {status} {body}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The body of the response.
        body: String,
    },
    /// The response could not be parsed.
    #[error("cannot parse the stand-in's response: {0}")]
    Response(#[from] serde_json::Error),
    /// No matching request arrived in time.
    #[error(transparent)]
    RequestWaitError(#[from] RequestWaitError),
}

/// The interval at which [`RemoteHub::wait_for`] reads the request log.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

impl RemoteHub {
    /// The stand-in with this control socket. Each call opens a new connection.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// All requests so far.
    pub async fn request_log(&self) -> Result<Vec<LoggedRequest>, RemoteError> {
        self.request(Method::GET, "/requests", None).await
    }

    /// The first matching request, whether it has arrived or arrives in time.
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
                    requests: entries.iter().map(LoggedRequest::line).collect(),
                }
                .into());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Deletes the logged requests.
    pub async fn clear_request_log(&self) -> Result<(), RemoteError> {
        self.command(Method::DELETE, "/requests", None).await
    }

    /// All transfers of blob bodies so far.
    pub async fn transfers(&self) -> Result<Vec<Transfer>, RemoteError> {
        self.request(Method::GET, "/transfers", None).await
    }

    /// Arms a fault.
    pub async fn arm(&self, rule: &Rule) -> Result<(), RemoteError> {
        self.command(Method::POST, "/faults", Some(json!(rule))).await
    }

    /// The rules that are still armed.
    pub async fn armed(&self) -> Result<Vec<Rule>, RemoteError> {
        self.request(Method::GET, "/faults", None).await
    }

    /// Disarms all faults.
    pub async fn clear_faults(&self) -> Result<(), RemoteError> {
        self.command(Method::DELETE, "/faults", None).await
    }

    /// Releases all responses that are held or stalled now.
    pub async fn release(&self) -> Result<(), RemoteError> {
        self.command(Method::POST, "/release", None).await
    }

    /// Builds an image and publishes it in a repository.
    pub async fn publish(&self, request: &PublishRequest) -> Result<(), RemoteError> {
        self.command(Method::POST, "/images", Some(json!(request))).await
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
        // The connection task must run, but it may end before the response does; the exchange alone decides.
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
