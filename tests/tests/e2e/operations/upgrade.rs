//! An upgrade: the programs read what an earlier build wrote. The fixture has a server's state, a client's link and its
//! cache, all of throw-away keys.
//! Must never be made by the build that is tested.

use std::{
    collections::BTreeMap,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use docxy_tests::{
    docxy::{Client, Server},
    process::scratch,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient},
    testbed::{client, config, hub},
};

/// The token that the client gives to every engine without an account.
const PUBLIC: (&str, &str) = ("authorization", "Bearer docxy-public");

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/upgrade").join(name)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The paths of what the client has cached: `manifests/DIGEST` and `blobs/DIGEST` of `library/upgrade`.
fn cached() -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(fixture("cache/content"))? {
        let file = fs::read(entry?.path())?;
        let end = file.iter().position(|byte| *byte == b'\n').context("a header line")?;
        let header: Value = serde_json::from_slice(&file[..end])?;
        let (_, digest) = header["key"].as_str().context("a key")?.rsplit_once('@').context("a digest")?;
        let kind = if header["media_type"].is_null() { "blobs" } else { "manifests" };
        paths.push(format!("{kind}/{digest}"));
    }
    Ok(paths)
}

/// The same of what the server has stored.
fn stored() -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for repository in fs::read_dir(fixture("state/manifests"))? {
        for file in fs::read_dir(repository?.path())? {
            let name = file?.file_name().into_string().unwrap();
            paths.push(format!("manifests/{}", name.replacen('-', ":", 1)));
        }
    }
    Ok(paths)
}

/// Requests this content, which must match its digest.
async fn assert_served(client: &Client, paths: &[String]) {
    assert!(paths.len() >= 2, "{paths:?}");
    for path in paths {
        let response = HttpClient::at(client.address())
            .get(&format!("/v2/library/upgrade/{path}"), &[PUBLIC, ANY])
            .await;
        assert_eq!(response.status, 200, "{path}: {response:?}");
        let found =
            Sha256::digest(&response.body).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert!(path.ends_with(&format!("/sha256:{found}")), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_identity_clients_and_content_of_an_earlier_build_stay_valid() {
    // It has no `library/upgrade`.
    let hub = hub().await;
    let put = |state: &Path| copy(&fixture("state"), state);
    let server =
        block_in_place(|| Server::start_with(None, Ipv4Addr::LOCALHOST.into(), &config(&hub), put)).unwrap();
    let earlier = fs::read_to_string(fixture("links")).unwrap();
    let link = earlier.lines().find(|line| line.starts_with("docxy://")).unwrap();
    let (_, earlier_port) = link.split_once('?').unwrap().0.rsplit_once(':').unwrap();
    let link = earlier.replace(&format!(":{earlier_port}?"), &format!(":{}?", server.address().port()));

    let cache = scratch().unwrap();
    copy(&fixture("cache"), cache.path()).unwrap();
    let with_cache = client(&link, &["--cache", cache.path().to_str().unwrap()]);
    assert_served(&with_cache, &cached().unwrap()).await;
    let without_cache = client(&link, &[]);
    assert_served(&without_cache, &stored().unwrap()).await;
    assert!(hub.request_log().count(|entry| entry.path.contains("upgrade")) == 0, "none is fetched");

    let listed = block_in_place(|| server.command(&["clients", "--json"])).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&listed).unwrap();
    let states: BTreeMap<_, _> =
        rows.iter().map(|row| (row["name"].as_str().unwrap(), row["state"].as_str().unwrap())).collect();
    assert_eq!(states, BTreeMap::from([("laptop", "active"), ("phone", "revoked")]));
    assert!(rows[0]["sent"].as_u64().unwrap() > 0, "{listed}");
    for file in ["identity.pem", "quic.keys", "clients"] {
        let now = fs::read(server.state().join(file)).unwrap();
        assert_eq!(now, fs::read(fixture("state").join(file)).unwrap(), "{file}");
    }
}
