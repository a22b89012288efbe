//! The token service.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use hub_stand_in::Site;

use crate::support::{
    https_client::{ACCEPT_ANY, AUTH, HttpsClient, REGISTRY},
    test_hub::start,
};

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The status of a request for `alice/private` with this token.
async fn private_with(client: &HttpsClient, token: &serde_json::Value) -> StatusCode {
    let bearer = format!("Bearer {}", token.as_str().unwrap());
    let url = format!("{REGISTRY}/v2/alice/private/manifests/latest");
    client.get(&url, &[("authorization", &bearer), ACCEPT_ANY]).await.status
}

const PRIVATE: &str = "service=registry.docker.io&scope=repository:alice/private:pull";

#[tokio::test]
async fn an_anonymous_token_lacks_private_scopes_without_an_error() {
    let (_hub, client) = start().await;
    let response = client.get(&format!("{AUTH}/token?{PRIVATE}"), &[]).await;
    assert_eq!(response.status, StatusCode::OK);
    let token = response.json();
    assert_eq!((&token["expires_in"], &token["token"]), (&300.into(), &token["access_token"]));
    assert!(token["issued_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(private_with(&client, &token["token"]).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn only_readers_of_a_private_repository_may_pull_it() {
    let (_hub, client) = start().await;
    for (user, password, status) in
        [("alice", "secret", StatusCode::OK), ("bob", "hunter2", StatusCode::UNAUTHORIZED)]
    {
        let url = format!("{AUTH}/token?{PRIVATE}&account={user}");
        let response = client.get(&url, &[("authorization", &basic(user, password))]).await;
        assert_eq!(private_with(&client, &response.json()["token"]).await, status, "{user}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_401_with_docker_hubs_message() {
    let (_hub, client) = start().await;
    for credentials in [basic("alice", "wrong"), basic("nobody", "x"), "Basic ???".into(), "Bearer x".into()]
    {
        let response =
            client.get(&format!("{AUTH}/token?{PRIVATE}"), &[("authorization", &credentials)]).await;
        assert_eq!(response.status, StatusCode::UNAUTHORIZED);
        assert_eq!(response.json()["details"], "incorrect username or password");
    }
    let form = format!("grant_type=password&username=alice&password=wrong&{PRIVATE}");
    assert_eq!(client.post(&format!("{AUTH}/token"), &form).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_offline_token_is_a_refresh_token_for_post() {
    let (hub, client) = start().await;
    let url = format!("{AUTH}/token?{PRIVATE}&offline_token=true&client_id=docker");
    let response = client.get(&url, &[("authorization", &basic("alice", "secret"))]).await;
    let refresh = response.json()["refresh_token"].as_str().unwrap().to_owned();
    let form = format!("grant_type=refresh_token&client_id=docker&refresh_token={refresh}&{PRIVATE}");
    let response = client.post(&format!("{AUTH}/token"), &form).await;
    assert_eq!(response.json()["scope"], "repository:alice/private:pull");
    assert_eq!(private_with(&client, &response.json()["access_token"]).await, StatusCode::OK);
    let entries = hub.request_log().of(Site::Auth);
    assert_eq!(entries[1].form_values("grant_type"), ["refresh_token"]);
    let response = client.post(&format!("{AUTH}/token"), &form.replace(&refresh, "stolen")).await;
    assert_eq!(response.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_posted_password_gets_a_token() {
    let (_hub, client) = start().await;
    let form = format!("grant_type=password&username=alice&password=secret&access_type=offline&{PRIVATE}");
    let response = client.post(&format!("{AUTH}/token"), &form).await;
    assert!(response.json()["refresh_token"].is_string());
    assert_eq!(private_with(&client, &response.json()["access_token"]).await, StatusCode::OK);
}

#[tokio::test]
async fn an_anonymous_client_gets_no_refresh_token() {
    let (_hub, client) = start().await;
    let response = client.get(&format!("{AUTH}/token?{PRIVATE}&offline_token=true"), &[]).await;
    assert!(response.json().get("refresh_token").is_none());
}

#[tokio::test]
async fn a_token_can_have_several_scopes() {
    let (_hub, client) = start().await;
    let bearer = client.bearer(&["library/hello", "library/other"]).await;
    for name in ["library/hello", "library/other"] {
        let url = format!("{REGISTRY}/v2/{name}/manifests/latest");
        assert_eq!(client.get(&url, &[("authorization", &bearer), ACCEPT_ANY]).await.status, StatusCode::OK);
    }
}
