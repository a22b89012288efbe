//! A real registry process (Debian's `docker-registry`) behind the stand-in's registry host. It checks the
//! stand-in's tokens itself and serves blobs itself: with its storage in files it cannot redirect.
//! Must never change its responses.

use std::{io, net::SocketAddr, path::Path, process::Stdio, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body::Body as HttpBody;
use http_body_util::BodyExt as _;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};

use crate::{
    http::response::{Body, error},
    service::token::{ISSUER, Tokens},
    steering::site::{Kind, Names},
};

/// A running registry process.
pub(crate) struct Distribution {
    client: Client<HttpConnector, Body>,
    address: SocketAddr,
    // Drop order: the process is killed before its files are deleted.
    _process: Child,
    _files: TempDir,
}

/// Why the registry process is not available.
#[derive(Debug, thiserror::Error)]
pub enum DistributionError {
    /// Its files could not be written.
    #[error("cannot write the registry's files: {0}")]
    Files(#[source] io::Error),
    /// It could not be started.
    #[error("cannot start docker-registry (Debian package docker-registry): {0}")]
    Spawn(#[source] io::Error),
    /// It ended, or it did not log its port.
    #[error("docker-registry did not start; its log: {0}")]
    NotReady(String),
}

/// It starts within 0.1 s; a machine under load needs longer.
const START_TIMEOUT: Duration = Duration::from_secs(20);

impl Distribution {
    /// Starts the process on a free loopback port.
    pub(crate) async fn start(names: &Names, tokens: &Tokens) -> Result<Self, DistributionError> {
        let files =
            tempfile::Builder::new().prefix("docxy-registry-").tempdir().map_err(DistributionError::Files)?;
        write_config(files.path(), names, tokens).map_err(DistributionError::Files)?;
        // A killed parent cannot kill its child, so the kernel does.
        let mut process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
            .arg(files.path().join("config.json"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(DistributionError::Spawn)?;
        let address = match process.stderr.take() {
            Some(stderr) => wait_for_address(BufReader::new(stderr).lines()).await?,
            None => return Err(DistributionError::NotReady("no stderr".into())),
        };
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { client, address, _process: process, _files: files })
    }

    /// Forwards a request unchanged.
    pub(crate) async fn forward<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        match self.send(request.map(|body| body.map_err(io::Error::other).boxed_unsync())).await {
            Ok(response) => response.map(|body| body.map_err(io::Error::other).boxed_unsync()),
            Err(failed) => error(StatusCode::BAD_GATEWAY, "UNAVAILABLE", &failed.to_string(), Value::Null),
        }
    }

    pub(crate) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<hyper::body::Incoming>, hyper_util::client::legacy::Error> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        // Every path of a request is valid after an authority.
        *request.uri_mut() =
            format!("http://{}{path}", self.address).parse().unwrap_or_else(|_| Uri::default());
        *request.version_mut() = http::Version::HTTP_11;
        // Without this field, its absolute URLs would have the scheme http.
        request.headers_mut().insert("x-forwarded-proto", HeaderValue::from_static("https"));
        self.client.request(request).await
    }
}

fn write_config(directory: &Path, names: &Names, tokens: &Tokens) -> io::Result<()> {
    let certificate = directory.join("token.pem");
    std::fs::write(&certificate, tokens.certificate_pem())?;
    // YAML is a superset of JSON.
    let config = json!({
        "version": "0.1",
        "log": { "level": "info", "accesslog": { "disabled": true } },
        "storage": { "filesystem": { "rootdirectory": directory.join("data") } },
        "http": { "addr": "127.0.0.1:0", "secret": "one process shares it with no other" },
        "auth": { "token": {
            "realm": names.realm(Kind::Hub),
            "service": names.service,
            "issuer": ISSUER,
            "rootcertbundle": certificate,
        } },
    });
    std::fs::write(directory.join("config.json"), config.to_string())
}

/// The address in the process's log. Later log lines go to our own log.
async fn wait_for_address(mut lines: Lines<BufReader<ChildStderr>>) -> Result<SocketAddr, DistributionError> {
    let mut log_lines = Vec::new();
    let found = async {
        while let Ok(Some(line)) = lines.next_line().await {
            let address =
                line.split_once("listening on ").and_then(|(_, rest)| rest.split('"').next()?.parse().ok());
            if address.is_some() {
                return address;
            }
            log_lines.push(line);
        }
        None
    };
    let found = tokio::time::timeout(START_TIMEOUT, found).await.ok().flatten();
    let address = found.ok_or_else(|| DistributionError::NotReady(log_lines.join("\n")))?;
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            tracing::debug!(target: "docker_registry", "{line}");
        }
    });
    Ok(address)
}
