//! Registries that differ from Docker Hub.

use http::StatusCode;
use hub_stand_in::{Hub, HubConfig, Kind};

use crate::support::{
    https_client::{ACCEPT_ANY, AUTH, HttpsClient, REGISTRY},
    test_hub::{start_with_config, test_store},
};

const MANIFEST: &str = "https://registry-1.docker.io/v2/library/hello/manifests/latest";
const TOKEN: &str = "/token?service=registry.docker.io&scope=repository:library/hello:pull";

async fn start(kind: Kind) -> (Hub, HttpsClient) {
    start_with_config(HubConfig { kind, store: test_store(), ..HubConfig::default() }).await
}

#[tokio::test]
async fn one_host_is_its_own_token_service() {
    let (_hub, client) = start(Kind::OneHost).await;
    let ping = client.get(&format!("{REGISTRY}/v2/"), &[]).await;
    let realm = format!("Bearer realm=\"{REGISTRY}/token\",");
    assert!(ping.header("www-authenticate").starts_with(&realm), "{}", ping.header("www-authenticate"));
    let token = client.get(&format!("{REGISTRY}{TOKEN}"), &[]).await.json();
    let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
    let manifest = client.get(MANIFEST, &[ACCEPT_ANY, ("authorization", &bearer)]).await;
    assert_eq!(manifest.status, StatusCode::OK);
}

#[tokio::test]
async fn without_auth_nothing_asks_for_a_token() {
    let (_hub, client) = start(Kind::NoAuth).await;
    for url in [&format!("{REGISTRY}/v2/"), MANIFEST] {
        assert_eq!(client.get(url, &[ACCEPT_ANY]).await.status, StatusCode::OK, "{url}");
    }
}

#[tokio::test]
async fn a_token_may_have_one_name_only() {
    let (_hub, client) = start(Kind::AccessTokenOnly).await;
    let token = client.get(&format!("{AUTH}{TOKEN}"), &[]).await.json();
    assert!(token.get("token").is_none(), "{token}");
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    let manifest = client.get(MANIFEST, &[ACCEPT_ANY, ("authorization", &bearer)]).await;
    assert_eq!(manifest.status, StatusCode::OK);
}

#[tokio::test]
async fn a_manifest_may_be_at_another_host() {
    let (hub, client) = start(Kind::Redirecting).await;
    let redirect = client.get(MANIFEST, &[ACCEPT_ANY]).await;
    let elsewhere = MANIFEST.replace("registry-1.docker.io", &hub.names().cdn);
    assert_eq!(
        (redirect.status, redirect.header("location")),
        (StatusCode::TEMPORARY_REDIRECT, &elsewhere[..])
    );
    assert_eq!(client.get(&elsewhere, &[ACCEPT_ANY]).await.status, StatusCode::OK);
}
