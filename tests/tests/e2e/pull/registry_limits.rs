//! Docker Hub's limits and failures: engines act on status and headers, so both are passed on.

use std::time::Duration;

use http::StatusCode;
use hub_stand_in::{Fault, PullLimit, PullLimits, Rule, Site};

use crate::support::{
    http_client::{ANY, HttpClient},
    testbed::{ALICE, Testbed, config, hub},
};

const LATEST: &str = "/v2/library/hello/manifests/latest";

async fn latest(engine: &HttpClient) -> crate::support::http_client::HttpResponse {
    let bearer = engine.anonymous("library/hello").await;
    engine.get(LATEST, &[("authorization", &bearer), ANY]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limit_headers_are_passed_on() {
    let testbed = Testbed::new().await;
    for _ in ["the one that is paid for", "the same again"] {
        let response = latest(&testbed.engine).await;
        assert_eq!(response.header("ratelimit-limit"), "100;w=21600");
        assert_eq!(response.header("ratelimit-remaining"), "99;w=21600");
        assert_eq!(response.header("docker-ratelimit-source"), "127.0.0.1");
    }
    let bearer = testbed.engine.logged_in(ALICE.0, ALICE.1, "library/hello").await;
    let own = testbed.engine.get(LATEST, &[("authorization", &bearer), ANY]).await;
    assert_eq!(own.header("docker-ratelimit-source"), ALICE.0, "a logged-in user has their own quota");
    assert_eq!(own.header("ratelimit-remaining"), "199;w=21600");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_over_the_limit_is_429() {
    let testbed = Testbed::new().await;
    let limit = Some(PullLimit { pulls: 0, window: Duration::from_secs(21_600) });
    testbed.hub.set_pull_limits(PullLimits { anonymous: limit, account: limit });
    let response = latest(&testbed.engine).await;
    let (status, code, message) = response.error();
    assert_eq!((status, code.as_str()), (429, "TOOMANYREQUESTS"));
    assert!(message.starts_with("You have reached your pull rate limit."), "{message}");
    assert_eq!(response.header("ratelimit-limit"), "0;w=21600");
    assert_eq!(response.header("ratelimit-remaining"), "0;w=21600");
    assert_eq!(response.header("docker-ratelimit-source"), "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_without_json_gets_a_json_body() {
    let testbed = Testbed::new().await;
    testbed.hub.faults().arm(Rule::once(Fault::AbuseLimit));
    let (status, code, message) = latest(&testbed.engine).await.error();
    assert_eq!((status, code.as_str()), (429, "TOOMANYREQUESTS"));
    assert!(message.starts_with("Too Many Requests [docxy: "), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_passed_on() {
    let testbed = Testbed::new().await;
    for status in [429, 503] {
        let fault = Fault::Status { site: Site::Registry, status, retry_after: Some(13) };
        testbed.hub.faults().arm(Rule::once(fault).on("/manifests/"));
        let response = latest(&testbed.engine).await;
        assert_eq!((response.status.as_u16(), response.header("retry-after")), (status, "13"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_is_not_retried() {
    let testbed = Testbed::new().await;
    testbed.hub.faults().arm(Rule::always(Fault::PullLimit));
    assert_eq!(latest(&testbed.engine).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(testbed.hub.request_log().count(|entry| entry.path == LATEST), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_registry_keep_their_status() {
    let testbed = Testbed::new().await;
    for status in [400, 403, 451, 500, 502, 503, 504] {
        let fault = Fault::Status { site: Site::Registry, status, retry_after: None };
        testbed.hub.faults().arm(Rule::always(fault).on("/manifests/"));
        testbed.hub.request_log().clear();
        let (actual, ..) = latest(&testbed.engine).await.error();
        assert_eq!(actual, status);
        testbed.hub.faults().clear();
        let attempts = testbed.hub.request_log().count(|entry| entry.path == LATEST);
        // Such a failure is mostly temporary. A refusal is not, but a 403 may be about the token, which is then renewed
        // once. That of the first request has just been fetched.
        let is_repeated = matches!(status, 403 | 502..=504);
        assert_eq!(attempts > 1, is_repeated, "{status}: {attempts} attempts");
        assert!(status != 403 || attempts == 2, "{attempts} attempts");
    }
    assert_eq!(latest(&testbed.engine).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_disconnects_is_named() {
    let testbed = Testbed::new().await;
    assert_eq!(latest(&testbed.engine).await.status, StatusCode::OK);
    testbed.hub.faults().arm(Rule::always(Fault::HangUp { site: Site::Registry }).on("/manifests/"));
    let (status, code, message) = latest(&testbed.engine).await.fault("registry");
    assert_eq!((status, code.as_str()), (502, "UNAVAILABLE"));
    assert!(message.contains("registry-1.docker.io"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_registry_is_named() {
    let testbed = Testbed::new().await;
    drop(testbed.hub);
    let bearer = testbed.engine.anonymous("library/hello").await;
    for path in ["/v2/", LATEST] {
        let response = testbed.engine.get(path, &[("authorization", &bearer), ANY]).await;
        let (status, code, message) = response.fault("registry");
        assert_eq!((status, code.as_str()), (502, "UNAVAILABLE"));
        assert!(message.contains("registry-1.docker.io") && message.contains("refused"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_registry_is_not_blamed_on_the_tunnel() {
    let hub = hub().await;
    let config = config(&hub);
    let testbed = Testbed::with(hub, &config, &["--patience", "2"]);
    let bearer = testbed.engine.anonymous("library/hello").await;
    testbed.hub.faults().arm(Rule::always(Fault::Hold { site: Site::Registry }).on("/manifests/"));
    let response = testbed.engine.get(LATEST, &[("authorization", &bearer), ANY]).await;
    let (status, code, _) = response.fault("registry");
    assert_eq!((status, code.as_str()), (504, "UNAVAILABLE"));
    testbed.hub.faults().release();
}
