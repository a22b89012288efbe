//! Pull limits.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use hub_stand_in::{PullLimit, PullLimits};

use crate::support::{
    https_client::{ACCEPT_ANY, AUTH, REGISTRY},
    test_hub::{hello, start},
};

const LATEST: &str = "https://registry-1.docker.io/v2/library/hello/manifests/latest";

fn limits(anonymous: u32) -> PullLimits {
    let of = |pulls| Some(PullLimit { pulls, window: Duration::from_secs(21_600) });
    PullLimits { anonymous: of(anonymous), account: of(200) }
}

#[tokio::test]
async fn only_the_get_of_a_manifest_counts() {
    let (_hub, client) = start().await;
    let bearer = client.bearer(&["library/hello"]).await;
    let headers = [("authorization", bearer.as_str()), ACCEPT_ANY];
    let image = hello();
    let blob = format!("{REGISTRY}/v2/library/hello/blobs/{}", image.platforms()[0].config.digest());
    for _ in 0..3 {
        let head = client.head(LATEST, &headers).await;
        assert_eq!(head.header("ratelimit-remaining"), "100;w=21600");
        let redirect = client.get(&blob, &headers).await;
        assert_eq!(redirect.header("ratelimit-limit"), "");
    }
    let get = client.get(LATEST, &headers).await;
    assert_eq!(get.header("ratelimit-limit"), "100;w=21600");
    assert_eq!(get.header("ratelimit-remaining"), "99;w=21600");
    assert_eq!(get.header("docker-ratelimit-source"), "127.0.0.1");
}

#[tokio::test]
async fn over_the_limit_a_manifest_is_429_with_toomanyrequests() {
    let (hub, client) = start().await;
    hub.set_pull_limits(limits(1));
    let bearer = client.bearer(&["library/hello"]).await;
    let headers = [("authorization", bearer.as_str()), ACCEPT_ANY];
    assert_eq!(client.get(LATEST, &headers).await.status, StatusCode::OK);
    let refused = client.get(LATEST, &headers).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.code(), "TOOMANYREQUESTS");
    assert_eq!(refused.header("ratelimit-remaining"), "0;w=21600");
    assert_eq!(client.head(LATEST, &headers).await.status, StatusCode::OK, "a HEAD is free");
}

#[tokio::test]
async fn an_account_has_its_own_limit() {
    let (hub, client) = start().await;
    hub.set_pull_limits(limits(0));
    let credentials = format!("Basic {}", STANDARD.encode("alice:secret"));
    let url = format!("{AUTH}/token?scope=repository:library/hello:pull");
    let token = client.get(&url, &[("authorization", &credentials)]).await.json();
    let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
    let response = client.get(LATEST, &[("authorization", &bearer), ACCEPT_ANY]).await;
    assert_eq!(response.header("ratelimit-remaining"), "199;w=21600");
    assert_eq!(response.header("docker-ratelimit-source"), "alice");
}

#[tokio::test]
async fn without_a_limit_there_are_no_fields() {
    let (hub, client) = start().await;
    hub.set_pull_limits(PullLimits { anonymous: None, account: None });
    let bearer = client.bearer(&["library/hello"]).await;
    let response = client.get(LATEST, &[("authorization", &bearer), ACCEPT_ANY]).await;
    assert_eq!((response.status, response.header("ratelimit-limit")), (StatusCode::OK, ""));
}
