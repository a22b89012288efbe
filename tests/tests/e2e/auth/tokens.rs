//! `/auth/token`, and what its tokens open.

use std::time::{Duration, Instant};

use docxy_tests::hub::{Fault, Rule, Site};
use http::StatusCode;

use crate::support::{
    http_client::{ANY, Answer, basic},
    testbed::{ALICE, BOB, World},
};

const LATEST: &str = "/v2/library/hello/manifests/latest";
const PRIVATE: &str = "/v2/alice/private/manifests/latest";
const FOR_PRIVATE: &str = "service=registry.docker.io&scope=repository:alice/private:pull";

async fn private_with(world: &World, token: &serde_json::Value) -> Answer {
    let bearer = format!("Bearer {}", token.as_str().unwrap());
    world.engine.get(PRIVATE, &[("authorization", &bearer), ANY]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anonymous_token_pulls_public_images() {
    let world = World::new().await;
    let path = "/auth/token?service=registry.docker.io&scope=repository:library/hello:pull";
    let token = world.engine.get(path, &[]).await.json();
    assert_eq!(token["token"], token["access_token"]);
    assert!(token["expires_in"].as_u64().unwrap() >= 60);
    assert!(token["issued_at"].as_str().unwrap().ends_with('Z'));
    let bearer = world.engine.anonymous("library/hello").await;
    let answer = world.engine.get(LATEST, &[("authorization", &bearer), ANY]).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anonymous_pull_survives_early_token_expiry() {
    let world = World::new().await;
    let bearer = world.engine.anonymous("library/hello").await;
    let headers = [("authorization", bearer.as_str()), ANY];
    assert_eq!(world.engine.get(LATEST, &headers).await.status, StatusCode::OK);
    world.hub.tokens().revoke_all();
    assert_eq!(world.engine.get(LATEST, &headers).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_anonymous_pulls_share_one_token() {
    let world = World::new().await;
    let bearer = &world.engine.anonymous("library/hello").await;
    let pull = async |_| world.engine.get(LATEST, &[("authorization", bearer), ANY]).await.status;
    let pulls = futures_util::future::join_all((0..10).map(pull)).await;
    assert!(pulls.iter().all(|status| *status == StatusCode::OK), "{pulls:?}");
    assert_eq!(world.hub.request_log().of(Site::Auth).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_challenged() {
    let world = World::new().await;
    let bearer = world.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    let headers = [("authorization", bearer.as_str()), ANY];
    assert_eq!(world.engine.get(PRIVATE, &headers).await.status, StatusCode::OK);
    world.hub.tokens().revoke_all();
    let stale = world.engine.get(PRIVATE, &headers).await;
    assert_eq!(stale.status, StatusCode::UNAUTHORIZED);
    assert!(stale.header("www-authenticate").ends_with(",error=\"invalid_token\""), "{stale:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_are_reduced_to_pull() {
    let world = World::new().await;
    let scopes = ["repository:alice/private:pull", "repository:library/hello:pull,push"];
    let path = format!("/auth/token?service=registry.docker.io&scope={}&scope={}", scopes[0], scopes[1]);
    let credential = basic(ALICE.0, ALICE.1);
    let answer = world.engine.get(&path, &[("authorization", &credential)]).await;
    let arrived = ["repository:alice/private:pull", "repository:library/hello:pull"];
    assert_eq!(world.hub.request_log().of(Site::Auth).last().unwrap().query_values("scope"), arrived);
    let token = &answer.json()["token"];
    assert_eq!(private_with(&world, token).await.status, StatusCode::OK);
    let bearer = format!("Bearer {}", token.as_str().unwrap());
    let other = world.engine.get(LATEST, &[("authorization", &bearer), ANY]).await;
    assert_eq!(other.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_has_docker_hubs_own_error() {
    let world = World::new().await;
    let path = format!("/auth/token?account=alice&{FOR_PRIVATE}");
    let answer = world.engine.get(&path, &[("authorization", &basic("alice", "wrong"))]).await;
    let form = format!("grant_type=password&username=alice&password=wrong&client_id=docker&{FOR_PRIVATE}");
    for answer in [answer, world.engine.post(&form).await] {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.json()["details"], "incorrect username or password");
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"Registry Realm\"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_image_is_for_its_readers_only() {
    let world = World::new().await;
    let alice = world.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    let answer = world.engine.get(PRIVATE, &[("authorization", &alice), ANY]).await;
    assert_eq!(answer.status, StatusCode::OK);
    let bob = world.engine.logged_in(BOB.0, BOB.1, "alice/private").await;
    let nobody = world.engine.anonymous("alice/private").await;
    for token in [bob, nobody] {
        let refused = world.engine.get(PRIVATE, &[("authorization", &token), ANY]).await;
        let (status, code, message) = refused.error();
        assert_eq!((status, code.as_str()), (401, "UNAUTHORIZED"));
        assert_eq!(message, "authentication required", "the registry's own words");
        let host = world.engine.address();
        let challenge = format!(
            "Bearer realm=\"http://{host}/auth/token\",service=\"registry.docker.io\",\
             scope=\"repository:alice/private:pull\",error=\"insufficient_scope\""
        );
        assert_eq!(refused.header("www-authenticate"), challenge);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_gives_an_identity_token_that_works() {
    let world = World::new().await;
    let path = format!("/auth/token?account=alice&client_id=docker&offline_token=true&{FOR_PRIVATE}");
    let login = world.engine.get(&path, &[("authorization", &basic(ALICE.0, ALICE.1))]).await.json();
    assert_eq!(private_with(&world, &login["token"]).await.status, StatusCode::OK);
    let refresh = login["refresh_token"].as_str().unwrap();
    let form = |token: &str| {
        format!("grant_type=refresh_token&client_id=docker&refresh_token={token}&{FOR_PRIVATE}")
    };
    let token = world.engine.post(&form(refresh)).await.json();
    assert_eq!(token["scope"], "repository:alice/private:pull");
    assert_eq!(private_with(&world, &token["access_token"]).await.status, StatusCode::OK);
    let sent = world.hub.request_log().of(Site::Auth);
    assert_eq!(sent.last().unwrap().form_values("client_id"), ["docker"]);
    assert_eq!(world.engine.post(&form("stolen")).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_posts_a_password_for_a_token() {
    let world = World::new().await;
    let form = format!(
        "grant_type=password&client_id=containerd-client&username={}&password={}&access_type=offline&{FOR_PRIVATE}",
        ALICE.0, ALICE.1
    );
    let token = world.engine.post(&form).await.json();
    assert!(token["refresh_token"].is_string(), "{token}");
    assert_eq!(private_with(&world, &token["access_token"]).await.status, StatusCode::OK);
    let entries = world.hub.request_log().of(Site::Auth);
    let sent = entries.last().unwrap();
    assert_eq!(sent.method, "POST");
    assert_eq!(sent.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(sent.form_values("password"), [ALICE.1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_token_service_keep_their_status() {
    let world = World::new().await;
    let credential = basic(ALICE.0, ALICE.1);
    for (status, code) in [(403, "DENIED"), (429, "TOOMANYREQUESTS"), (503, "UNAVAILABLE")] {
        let fault = Fault::Status { site: Site::Auth, status, retry_after: Some(7) };
        world.hub.faults().arm(Rule::once(fault));
        let path = format!("/auth/token?{FOR_PRIVATE}");
        let answer = world.engine.get(&path, &[("authorization", &credential)]).await;
        let (seen, seen_code, _) = answer.error();
        assert_eq!((seen, seen_code.as_str()), (status, code));
        assert_eq!(answer.header("retry-after"), "7");
        assert!(world.hub.faults().armed().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_token_service_is_429_for_an_anonymous_pull() {
    let world = World::new().await;
    let bearer = world.engine.anonymous("library/hello").await;
    let fault = Fault::Status { site: Site::Auth, status: 429, retry_after: Some(7) };
    world.hub.faults().arm(Rule::always(fault));
    let answer = world.engine.get(LATEST, &[("authorization", &bearer), ANY]).await;
    let (status, code, _) = answer.error();
    assert_eq!((status, code.as_str()), (429, "TOOMANYREQUESTS"), "{answer:?}");
    assert_eq!(answer.header("retry-after"), "7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_token_service_is_502_for_an_anonymous_pull() {
    let world = World::new().await;
    let bearer = world.engine.anonymous("library/hello").await;
    let headers = [("authorization", bearer.as_str()), ANY];
    let status = |status| Fault::Status { site: Site::Auth, status, retry_after: None };
    for fault in [status(500), status(503), Fault::HangUp { site: Site::Auth }] {
        world.hub.faults().arm(Rule::always(fault));
        let (status, code, _) = world.engine.get(LATEST, &headers).await.fault("token service");
        assert_eq!((status, code.as_str()), (502, "UNAVAILABLE"));
        world.hub.faults().clear();
    }
    assert_eq!(world.engine.get(LATEST, &headers).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upstream_is_named_within_15_seconds() {
    let world = World::new().await;
    // So that the server knows the token service.
    world.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    for site in [Site::Auth, Site::Registry] {
        world.hub.faults().arm(Rule::always(Fault::Hold { site }));
    }
    let credential = basic(ALICE.0, ALICE.1);
    let timed = async |path: &str, hop: &str| {
        let started = Instant::now();
        let (status, code, _) = world.engine.get(path, &[("authorization", &credential)]).await.fault(hop);
        assert_eq!((status, code.as_str()), (504, "UNAVAILABLE"));
        assert!(started.elapsed() < Duration::from_secs(14), "{:?}", started.elapsed());
    };
    let path = format!("/auth/token?{FOR_PRIVATE}");
    tokio::join!(timed(&path, "token service"), timed("/v2/", "registry"));
    world.hub.faults().release();
}
