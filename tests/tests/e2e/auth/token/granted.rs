//! `/auth/token`: which tokens it gives, and what they open.

use std::time::{Duration, Instant};

use http::StatusCode;
use hub_stand_in::{Fault, Rule, Site};

use crate::support::{
    http_client::{ANY, HttpResponse, basic},
    testbed::{ALICE, BOB, Testbed},
};

const LATEST: &str = "/v2/library/hello/manifests/latest";
const PRIVATE: &str = "/v2/alice/private/manifests/latest";
const FOR_PRIVATE: &str = "service=registry.docker.io&scope=repository:alice/private:pull";

async fn private_with(testbed: &Testbed, token: &serde_json::Value) -> HttpResponse {
    let bearer = format!("Bearer {}", token.as_str().unwrap());
    testbed.engine.get(PRIVATE, &[("authorization", &bearer), ANY]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anonymous_token_pulls_public_images() {
    let testbed = Testbed::new().await;
    let path = "/auth/token?service=registry.docker.io&scope=repository:library/hello:pull";
    let token = testbed.engine.get(path, &[]).await.json();
    assert_eq!(token["token"], token["access_token"]);
    assert!(token["expires_in"].as_u64().unwrap() >= 60);
    assert!(token["issued_at"].as_str().unwrap().ends_with('Z'));
    let bearer = testbed.engine.anonymous("library/hello").await;
    let response = testbed.engine.get(LATEST, &[("authorization", &bearer), ANY]).await;
    assert_eq!(response.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anonymous_pull_survives_early_token_expiry() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let headers = [("authorization", bearer.as_str()), ANY];
    assert_eq!(testbed.engine.get(LATEST, &headers).await.status, StatusCode::OK);
    testbed.hub.tokens().revoke_all();
    assert_eq!(testbed.engine.get(LATEST, &headers).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_anonymous_pulls_share_one_token() {
    let testbed = Testbed::new().await;
    let bearer = &testbed.engine.anonymous("library/hello").await;
    let pull = async |_| testbed.engine.get(LATEST, &[("authorization", bearer), ANY]).await.status;
    let pulls = futures_util::future::join_all((0..10).map(pull)).await;
    assert!(pulls.iter().all(|status| *status == StatusCode::OK), "{pulls:?}");
    assert_eq!(testbed.hub.request_log().of(Site::Auth).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_challenged() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    let headers = [("authorization", bearer.as_str()), ANY];
    assert_eq!(testbed.engine.get(PRIVATE, &headers).await.status, StatusCode::OK);
    testbed.hub.tokens().revoke_all();
    let stale = testbed.engine.get(PRIVATE, &headers).await;
    assert_eq!(stale.status, StatusCode::UNAUTHORIZED);
    assert!(stale.header("www-authenticate").ends_with(",error=\"invalid_token\""), "{stale:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_are_reduced_to_pull() {
    let testbed = Testbed::new().await;
    let scopes = ["repository:alice/private:pull", "repository:library/hello:pull,push"];
    let path = format!("/auth/token?service=registry.docker.io&scope={}&scope={}", scopes[0], scopes[1]);
    let credential = basic(ALICE.0, ALICE.1);
    let response = testbed.engine.get(&path, &[("authorization", &credential)]).await;
    let passed_on = ["repository:alice/private:pull", "repository:library/hello:pull"];
    assert_eq!(testbed.hub.request_log().of(Site::Auth).last().unwrap().query_values("scope"), passed_on);
    let token = &response.json()["token"];
    assert_eq!(private_with(&testbed, token).await.status, StatusCode::OK);
    let bearer = format!("Bearer {}", token.as_str().unwrap());
    let other = testbed.engine.get(LATEST, &[("authorization", &bearer), ANY]).await;
    assert_eq!(other.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_has_docker_hubs_own_error() {
    let testbed = Testbed::new().await;
    let path = format!("/auth/token?account=alice&{FOR_PRIVATE}");
    let response = testbed.engine.get(&path, &[("authorization", &basic("alice", "wrong"))]).await;
    let form = format!("grant_type=password&username=alice&password=wrong&client_id=docker&{FOR_PRIVATE}");
    for response in [response, testbed.engine.post(&form).await] {
        assert_eq!(response.status, StatusCode::UNAUTHORIZED);
        assert_eq!(response.json()["details"], "incorrect username or password");
        assert_eq!(response.header("www-authenticate"), "Basic realm=\"Registry Realm\"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_image_is_for_its_readers_only() {
    let testbed = Testbed::new().await;
    let alice = testbed.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    let response = testbed.engine.get(PRIVATE, &[("authorization", &alice), ANY]).await;
    assert_eq!(response.status, StatusCode::OK);
    let bob = testbed.engine.logged_in(BOB.0, BOB.1, "alice/private").await;
    let anonymous = testbed.engine.anonymous("alice/private").await;
    for token in [bob, anonymous] {
        let refused = testbed.engine.get(PRIVATE, &[("authorization", &token), ANY]).await;
        let (status, code, message) = refused.error();
        assert_eq!((status, code.as_str()), (401, "UNAUTHORIZED"));
        assert_eq!(message, "authentication required", "the registry's own message");
        let host = testbed.engine.address();
        let challenge = format!(
            "Bearer realm=\"http://{host}/auth/token\",service=\"registry.docker.io\",\
             scope=\"repository:alice/private:pull\",error=\"insufficient_scope\""
        );
        assert_eq!(refused.header("www-authenticate"), challenge);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_gives_an_identity_token_that_works() {
    let testbed = Testbed::new().await;
    let path = format!("/auth/token?account=alice&client_id=docker&offline_token=true&{FOR_PRIVATE}");
    let login = testbed.engine.get(&path, &[("authorization", &basic(ALICE.0, ALICE.1))]).await.json();
    assert_eq!(private_with(&testbed, &login["token"]).await.status, StatusCode::OK);
    let refresh = login["refresh_token"].as_str().unwrap();
    let form = |token: &str| {
        format!("grant_type=refresh_token&client_id=docker&refresh_token={token}&{FOR_PRIVATE}")
    };
    let token = testbed.engine.post(&form(refresh)).await.json();
    assert_eq!(token["scope"], "repository:alice/private:pull");
    assert_eq!(private_with(&testbed, &token["access_token"]).await.status, StatusCode::OK);
    let sent = testbed.hub.request_log().of(Site::Auth);
    assert_eq!(sent.last().unwrap().form_values("client_id"), ["docker"]);
    assert_eq!(testbed.engine.post(&form("stolen")).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_posts_a_password_for_a_token() {
    let testbed = Testbed::new().await;
    let form = format!(
        "grant_type=password&client_id=containerd-client&username={}&password={}&access_type=offline&{FOR_PRIVATE}",
        ALICE.0, ALICE.1
    );
    let token = testbed.engine.post(&form).await.json();
    assert!(token["refresh_token"].is_string(), "{token}");
    assert_eq!(private_with(&testbed, &token["access_token"]).await.status, StatusCode::OK);
    let entries = testbed.hub.request_log().of(Site::Auth);
    let sent = entries.last().unwrap();
    assert_eq!(sent.method, "POST");
    assert_eq!(sent.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(sent.form_values("password"), [ALICE.1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_token_service_keep_their_status() {
    let testbed = Testbed::new().await;
    let credential = basic(ALICE.0, ALICE.1);
    for (status, code) in [(403, "DENIED"), (429, "TOOMANYREQUESTS"), (503, "UNAVAILABLE")] {
        let fault = Fault::Status { site: Site::Auth, status, retry_after: Some(7) };
        testbed.hub.faults().arm(Rule::once(fault));
        let path = format!("/auth/token?{FOR_PRIVATE}");
        let response = testbed.engine.get(&path, &[("authorization", &credential)]).await;
        let (actual, actual_code, _) = response.error();
        assert_eq!((actual, actual_code.as_str()), (status, code));
        assert_eq!(response.header("retry-after"), "7");
        assert!(testbed.hub.faults().armed().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_token_service_is_429_for_an_anonymous_pull() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let fault = Fault::Status { site: Site::Auth, status: 429, retry_after: Some(7) };
    testbed.hub.faults().arm(Rule::always(fault));
    let response = testbed.engine.get(LATEST, &[("authorization", &bearer), ANY]).await;
    let (status, code, _) = response.error();
    assert_eq!((status, code.as_str()), (429, "TOOMANYREQUESTS"), "{response:?}");
    assert_eq!(response.header("retry-after"), "7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_token_service_is_502_for_an_anonymous_pull() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let headers = [("authorization", bearer.as_str()), ANY];
    let status = |status| Fault::Status { site: Site::Auth, status, retry_after: None };
    for fault in [status(500), status(503), Fault::HangUp { site: Site::Auth }] {
        testbed.hub.faults().arm(Rule::always(fault));
        let (status, code, _) = testbed.engine.get(LATEST, &headers).await.fault("token service");
        assert_eq!((status, code.as_str()), (502, "UNAVAILABLE"));
        testbed.hub.faults().clear();
    }
    assert_eq!(testbed.engine.get(LATEST, &headers).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upstream_is_named_within_15_seconds() {
    let testbed = Testbed::new().await;
    // The server must know the token service.
    testbed.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    for site in [Site::Auth, Site::Registry] {
        testbed.hub.faults().arm(Rule::always(Fault::Hold { site }));
    }
    let credential = basic(ALICE.0, ALICE.1);
    let timed = async |path: &str, hop: &str| {
        let started = Instant::now();
        let (status, code, _) = testbed.engine.get(path, &[("authorization", &credential)]).await.fault(hop);
        assert_eq!((status, code.as_str()), (504, "UNAVAILABLE"));
        assert!(started.elapsed() < Duration::from_secs(14), "{:?}", started.elapsed());
    };
    let path = format!("/auth/token?{FOR_PRIVATE}");
    tokio::join!(timed(&path, "token service"), timed("/v2/", "registry"));
    testbed.hub.faults().release();
}
