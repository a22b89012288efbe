//! Many engines at one client, each on its own connection: a token, a manifest, a blob.

use std::{net::SocketAddr, time::Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::Burst;
use crate::bulk_source::REPOSITORY;

/// Pulls `count` times concurrently.
pub(super) async fn run_concurrently(client: SocketAddr, count: u32, digest: &str) -> Result<Burst> {
    let started = Instant::now();
    let pulls = (0..count).map(|_| tokio::spawn(pull(client, digest.to_owned())));
    let mut errors = Vec::new();
    for pull in join_all(pulls).await {
        errors.extend(pull?.err().map(|error| format!("{error:#}")));
    }
    Ok(Burst { seconds: started.elapsed().as_secs_f64(), errors })
}

async fn pull(client: SocketAddr, digest: String) -> Result<()> {
    let (mut sender, connection) = handshake(TokioIo::new(TcpStream::connect(client).await?)).await?;
    let connection = tokio::spawn(connection);
    let scope = "/auth/token?service=registry.docker.io&scope=repository:bench/bulk:pull";
    let response = get(&mut sender, client, scope, "").await?;
    let response: Value = serde_json::from_slice(&response)?;
    let bearer = format!("Bearer {}", response["token"].as_str().context("there is no token")?);
    get(&mut sender, client, "/v2/bench/image/manifests/latest", &bearer).await?;
    get(&mut sender, client, &format!("/v2/{REPOSITORY}/blobs/{digest}"), &bearer).await?;
    drop(sender);
    Ok(connection.await??)
}

/// Reads a response, which must be complete. Returns its body, or the end of a large one.
async fn get(
    sender: &mut SendRequest<Empty<Bytes>>,
    client: SocketAddr,
    path: &str,
    bearer: &str,
) -> Result<Bytes> {
    let request = Request::get(path)
        .header(header::HOST, client.to_string())
        .header(header::ACCEPT, "*/*")
        .header(header::AUTHORIZATION, bearer);
    sender.ready().await?;
    let response = sender.send_request(request.body(Empty::new())?).await.with_context(|| path.to_owned())?;
    ensure!(response.status() == StatusCode::OK, "{path}: {}", response.status());
    let length = response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let length: u64 = length.with_context(|| format!("{path}: no length"))?.parse()?;
    let (mut body, mut read, mut last) = (response.into_body(), 0, Bytes::new());
    while let Some(frame) = body.frame().await {
        last = frame
            .with_context(|| format!("{path}: broken after {read} bytes"))?
            .into_data()
            .unwrap_or_default();
        read += last.len() as u64;
    }
    if read != length {
        bail!("{path}: {read} bytes of {length}");
    }
    Ok(last)
}
