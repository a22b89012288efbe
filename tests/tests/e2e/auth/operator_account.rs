//! Public manifests count against the operator's account, which gives clients access to nothing else.

use docxy_tests::docxy::ServerConfig;
use http::{Method, StatusCode};
use hub_stand_in::{Digest, Hub, Image, LoggedRequest, Site};
use tokio::task::block_in_place;

use crate::support::{
    http_client::ANY,
    scripted_registry::{CDN, NAME},
    testbed::{ALICE, OPERATOR, Testbed},
    token_registry::{TokenRegistry, empty, manifest, token, unauthorized},
};

const LATEST: &str = "/v2/library/hello/manifests/latest";
const SECRET: &str = "/v2/operator/secret/manifests/latest";

/// The account of a request's token: `None` without a token, `anonymous`, or its name.
fn payer(hub: &Hub, entry: &LoggedRequest) -> Option<String> {
    let token = entry.header("authorization")?.strip_prefix("Bearer ")?.to_owned();
    Some(hub.tokens().verify(&token).unwrap().account.unwrap_or_else(|| "anonymous".to_owned()))
}

/// The exit status of `docxy-server check`.
fn check_succeeds(testbed: &Testbed) -> bool {
    let config = testbed.server.config_file().display().to_string();
    block_in_place(|| testbed.server.command(&["check", "library/hello", "--config", &config])).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn public_manifests_count_against_the_operators_account() {
    let testbed = Testbed::with_operator_account(OPERATOR.1).await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let response = testbed.engine.get(LATEST, &[("authorization", &bearer), ANY]).await;
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(response.header("docker-ratelimit-source"), OPERATOR.0);
    assert_eq!(response.header("ratelimit-limit"), "200;w=21600");
    let requests = testbed.hub.request_log().of(Site::Registry);
    let requests = requests.iter().filter(|entry| entry.path.contains("/manifests/"));
    let received: Vec<_> =
        requests.map(|entry| (entry.method.as_str(), payer(&testbed.hub, entry))).collect();
    assert_eq!(received, [("HEAD", Some("anonymous".to_owned())), ("GET", Some(OPERATOR.0.to_owned()))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_anonymous_check_has_no_condition_of_an_engine() {
    let testbed = Testbed::with_operator_account(OPERATOR.1).await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let etag = format!("\"{}\"", crate::support::testbed::hello().digest());
    let headers = [("authorization", bearer.as_str()), ANY, ("if-none-match", &etag)];
    assert_eq!(testbed.engine.get(LATEST, &headers).await.status, StatusCode::NOT_MODIFIED);
    let requests = testbed.hub.request_log().of(Site::Registry);
    let requests = requests.iter().filter(|entry| entry.path.contains("/manifests/"));
    let received: Vec<_> =
        requests.map(|entry| (entry.method.as_str(), entry.header("if-none-match"))).collect();
    // An anonymous request without the condition has proved that the manifest is public. Only then the account is used.
    assert_eq!(received, [("HEAD", None), ("GET", Some(etag.as_str()))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_cannot_read_the_operators_private_images() {
    let testbed = Testbed::with_operator_account(OPERATOR.1).await;
    let image = Image::hello_from("the operator").unwrap();
    testbed.hub.store().publish("operator/secret", "latest", &image);
    testbed.hub.store().make_private("operator/secret", &[OPERATOR.0]);
    let anonymous = testbed.engine.anonymous("operator/secret").await;
    let alice = testbed.engine.logged_in(ALICE.0, ALICE.1, "operator/secret").await;
    let blob = format!("/v2/operator/secret/blobs/{}", image.platforms()[0].config.digest());
    let referrers = format!("/v2/operator/secret/referrers/{}", image.digest());
    let by_digest = format!("/v2/operator/secret/manifests/{}", image.digest());
    for bearer in [&anonymous, &alice] {
        for path in [SECRET, &by_digest, &blob, &referrers, "/v2/operator/secret/tags/list"] {
            let response = testbed.engine.get(path, &[("authorization", bearer), ANY]).await;
            assert_eq!(response.error().0, 401, "{path}");
        }
        let head = testbed.engine.request(Method::HEAD, SECRET, &[("authorization", bearer), ANY]).await;
        assert_eq!(head.status, StatusCode::UNAUTHORIZED);
    }
    let is_paid_by_operator = |entry: &LoggedRequest| {
        entry.path.contains("operator/secret") && payer(&testbed.hub, entry).as_deref() == Some(OPERATOR.0)
    };
    assert_eq!(testbed.hub.request_log().count(is_paid_by_operator), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_of_a_logged_in_user_count_against_their_own_account() {
    let testbed = Testbed::with_operator_account(OPERATOR.1).await;
    let alice = testbed.engine.logged_in(ALICE.0, ALICE.1, "library/hello").await;
    let own = testbed.engine.get(LATEST, &[("authorization", &alice), ANY]).await;
    assert_eq!(own.header("docker-ratelimit-source"), ALICE.0);
    let anonymous = testbed.engine.anonymous("library/hello").await;
    let head = testbed.engine.head(LATEST, &[("authorization", &anonymous), ANY]).await;
    assert_eq!(head.header("docker-ratelimit-source"), "127.0.0.1");
    let paid = |entry: &LoggedRequest| payer(&testbed.hub, entry).as_deref() == Some(OPERATOR.0);
    assert_eq!(testbed.hub.request_log().count(|entry| entry.site == Site::Registry && paid(entry)), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn public_pulls_work_with_a_wrong_operator_password() {
    let testbed = Testbed::with_operator_account("mistyped").await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let response = testbed.engine.get(LATEST, &[("authorization", &bearer), ANY]).await;
    assert_eq!(response.status, StatusCode::OK, "{response:?}");
    assert_eq!(response.header("docker-ratelimit-source"), "127.0.0.1");
    // `docxy-server check` reports it to the operator.
    assert!(!check_succeeds(&testbed) && check_succeeds(&Testbed::with_operator_account(OPERATOR.1).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_cannot_have_a_manifest_fetched_with_the_operators_account() {
    let private = manifest();
    let body_at = private.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    let digest = Digest::of(&private[body_at..]);
    let with_account = |config: &mut ServerConfig| {
        config.registries.get_mut(NAME).unwrap().account = Some((OPERATOR.0.into(), OPERATOR.1.into()));
    };
    let registry = TokenRegistry::with(with_account, move |request| match request.path.as_str() {
        "/v2/" => unauthorized(&format!("Bearer realm=\"https://{NAME}/token\",service=\"s\"")),
        "/token" => token(if request.authorization.is_empty() { "anonymous" } else { "operator" }),
        // It says that everybody may read what only the operator may.
        _ if request.is_at_cdn() && request.method == "HEAD" => {
            let fields = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
            empty("200 OK", &format!("{fields}Docker-Content-Digest: {digest}\r\n"))
        }
        _ if request.is_at_cdn() => empty("404 Not Found", ""),
        _ if request.authorization == "Bearer operator" => manifest(),
        path => empty("307 Temporary Redirect", &format!("Location: https://{CDN}{path}\r\n")),
    })
    .await;
    let response = registry.pull("one").await;
    assert_eq!(response.status, StatusCode::NOT_FOUND, "{response:?}");
    let received = registry.take();
    let as_operator = received.iter().filter(|request| request.authorization == "Bearer operator");
    assert_eq!(as_operator.count(), 0, "{received:#?}");
}
