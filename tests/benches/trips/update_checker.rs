//! An update checker: resolves a tag, and pulls nothing.
//! Must never look like an engine.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context, Result, ensure};
use docxy_tests::{net::Namespace, wan::run_in_namespace};
use serde_json::Value;

/// `HEAD` of a repository's `latest` through the client, with the anonymous token.
pub(super) fn check(laptop: &Namespace, client: SocketAddr, repository: &str) -> Result<()> {
    run_in_namespace(laptop.name(), || {
        let service = "registry.docker.io";
        let line = format!("GET /auth/token?service={service}&scope=repository:{repository}:pull");
        let response = exchange(client, &line, "")?;
        let (_, body) = response.split_once("\r\n\r\n").with_context(|| format!("no token: {response}"))?;
        let body: Value = serde_json::from_str(body).with_context(|| format!("no token: {response}"))?;
        let token = body["token"].as_str().with_context(|| format!("no token: {response}"))?;
        let authorization = format!("Authorization: Bearer {token}\r\n");
        let response = exchange(client, &format!("HEAD /v2/{repository}/manifests/latest"), &authorization)?;
        ensure!(response.starts_with("HTTP/1.1 200"), "an update check of {repository}: {response}");
        Ok(())
    })?
}

/// Sends a request with these header fields and an update checker's own. Reads until the connection ends.
fn exchange(client: SocketAddr, line: &str, headers: &str) -> io::Result<String> {
    const ACCEPT: &str =
        "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
    let mut connection = TcpStream::connect(client)?;
    write!(
        connection,
        "{line} HTTP/1.1\r\nHost: {client}\r\nUser-Agent: Diun/4.30\r\nAccept: {ACCEPT}\r\n\
         {headers}Connection: close\r\n\r\n"
    )?;
    let mut response = String::new();
    connection.read_to_string(&mut response)?;
    Ok(response)
}
