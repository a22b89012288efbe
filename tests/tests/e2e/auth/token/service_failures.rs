//! A token service that refuses, limits or fails: waiting requests share its response, and none of them retries.
//! And a token service whose tokens are too long.

use docxy_protocol::request::Operation;
use docxy_tests::{docxy::ServerConfig, process::PROCESS_TIMEOUT};
use futures_util::future::{FutureExt as _, join_all};
use hub_stand_in::{Fault, Image, Rule, Site};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpResponse, REQUEST_TIMEOUT, basic},
    scripted_registry::{CDN, NAME, RegistryRequest, ScriptedRegistry, reply},
    scripted_server::{ScriptedResponse, ScriptedServer},
    testbed::{ALICE, Testbed},
};

const CONCURRENT_PULLS: usize = 60;

/// The responses to concurrent requests, which all wait for the first one's fetch at `site`.
async fn pull_concurrently(testbed: &mut Testbed, site: Site) -> Vec<HttpResponse> {
    testbed.hub.faults().arm(Rule::once(Fault::Hold { site }));
    let bearer = testbed.engine.anonymous("library/hello").await;
    let engine = testbed.engine;
    let waiting: Vec<_> = (0..CONCURRENT_PULLS)
        .map(|n| {
            // Each with another tag, or they would share the manifest's fetch too.
            let (bearer, path) = (bearer.clone(), format!("/v2/library/hello/manifests/tag-{n}"));
            tokio::spawn(async move { engine.get(&path, &[("authorization", &bearer), ANY]).await })
        })
        .collect();
    testbed.hub.request_log().wait_for(|entry| entry.site == site, REQUEST_TIMEOUT).await.unwrap();
    // Each is an exchange at the server. One waits for the first one's fetch as soon as a thread has got to it.
    let have_arrived = |status: &Value| status["exchanges"] == CONCURRENT_PULLS;
    block_in_place(|| {
        testbed.server.wait_for_status("start all exchanges", PROCESS_TIMEOUT, have_arrived)?;
        testbed.server.process().wait_until_asleep()
    })
    .unwrap();
    testbed.hub.faults().release();
    join_all(waiting).await.into_iter().map(Result::unwrap).collect()
}

fn requests_without_manifests(testbed: &Testbed, site: Site) -> usize {
    testbed.hub.request_log().count(|entry| entry.site == site && !entry.path.contains("/manifests/"))
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_waiting_pulls_share_one_token_refusal() {
    for (status, expected) in [(401, 401), (403, 401), (404, 401), (429, 429), (500, 502)] {
        let mut testbed = Testbed::new().await;
        let fault = Fault::Status { site: Site::Auth, status, retry_after: Some(7) };
        testbed.hub.faults().arm(Rule::always(fault));
        let responses = pull_concurrently(&mut testbed, Site::Auth).await;
        assert_eq!(responses.len(), CONCURRENT_PULLS);
        for response in &responses {
            assert_eq!(response.status, expected, "{status}: {response:?}");
            // Engines obey the token service's Retry-After.
            assert_eq!(response.header("retry-after"), if expected == 429 { "7" } else { "" }, "{status}");
        }
        assert_eq!(requests_without_manifests(&testbed, Site::Auth), 1, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_waiting_pulls_share_one_failed_challenge() {
    // Without a challenge there is no token yet, and the registry's own response to the pulls counts.
    for status in [403, 404, 429, 500] {
        let mut testbed = Testbed::new().await;
        let fault = Fault::Status { site: Site::Registry, status, retry_after: Some(7) };
        testbed.hub.faults().arm(Rule::always(fault));
        let responses = pull_concurrently(&mut testbed, Site::Registry).await;
        assert!(responses.iter().all(|response| response.status == status), "{status}: {:?}", responses[0]);
        assert_eq!(requests_without_manifests(&testbed, Site::Registry), 1, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_operator_password_is_tried_once() {
    let testbed = Testbed::with_operator_account("mistyped").await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let paths: Vec<_> =
        (0..CONCURRENT_PULLS).map(|n| format!("/v2/library/image-{n}/manifests/latest")).collect();
    for n in 0..CONCURRENT_PULLS {
        testbed.hub.store().publish(&format!("library/image-{n}"), "latest", &Image::hello().unwrap());
    }
    let headers = [("authorization", bearer.as_str()), ANY];
    let responses = join_all(paths.iter().map(|path| testbed.engine.get(path, &headers))).await;
    assert!(responses.iter().all(|response| response.status == 200), "{:?}", responses[0]);
    let has_password = |entry: &hub_stand_in::LoggedRequest| entry.authorization_scheme() == Some("Basic");
    assert_eq!(testbed.hub.request_log().count(has_password), 1);
}

/// A registry of this name whose tokens have this length.
async fn with_tokens(
    length: usize,
    name: &'static str,
    change: impl FnOnce(&mut ServerConfig),
) -> ScriptedRegistry {
    let response = move |request: RegistryRequest| {
        let bytes = match (request.header("host"), request.path.as_str()) {
            (Some(CDN), _) => {
                let mut body = json!({ "token": "t", "expires_in": 300 });
                body[name] = "t".repeat(length).into();
                let body = body.to_string();
                reply("200 OK", &format!("Content-Length: {}\r\n", body.len()), body)
            }
            (_, "/v2/") => {
                let challenge = format!("WWW-Authenticate: Bearer realm=\"https://{CDN}/token\"\r\n");
                reply("401 Unauthorized", &format!("{challenge}Content-Length: 0\r\n"), "")
            }
            _ => reply("200 OK", "Content-Length: 4\r\n", "data"),
        };
        std::future::ready(bytes).boxed()
    };
    ScriptedRegistry::serving("", change, response).await
}

const TOKEN_BYTES_MAX: usize = 16 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn an_oversize_token_is_neither_used_nor_cached() {
    for (length, name, expected) in [
        (TOKEN_BYTES_MAX, "token", 200),
        (TOKEN_BYTES_MAX + 1, "token", 502),
        (TOKEN_BYTES_MAX + 1, "access_token", 502),
        (240_000, "token", 502),
        (1 << 20, "token", 502),
    ] {
        let registry = with_tokens(length, name, |_| {}).await;
        let engine = registry.testbed.engine;
        let bearer = engine.anonymous("library/hello").await;
        let response = engine.get(&ScriptedRegistry::blob("any"), &[("authorization", &bearer)]).await;
        assert_eq!(response.status, expected, "{length}");
        if expected == 502 {
            let (_, code, message) = response.fault("token service");
            assert_eq!(code, "UNAVAILABLE");
            assert!(message.contains("bytes"), "{message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_with_a_password_gets_no_oversize_token() {
    // That registry takes Docker Hub's name, since passwords are sent to no other registry.
    let as_docker_hub = |config: &mut ServerConfig| {
        let scripted = config.registries[NAME].clone();
        config.registries.insert("docker.io".to_owned(), scripted);
    };
    let path = "/auth/token?account=alice&service=s&scope=repository:alice/private:pull";
    for (length, name, expected) in [
        (TOKEN_BYTES_MAX, "token", 200),
        (TOKEN_BYTES_MAX + 1, "access_token", 502),
        (TOKEN_BYTES_MAX + 1, "refresh_token", 502),
        (240_000, "token", 502),
    ] {
        let registry = with_tokens(length, name, as_docker_hub).await;
        let credential = basic(ALICE.0, ALICE.1);
        let response = registry.testbed.engine.get(path, &[("authorization", &credential)]).await;
        assert_eq!(response.status, expected, "{length} {name}");
        if expected == 502 {
            let (_, _, message) = response.fault("token service");
            assert!(message.contains("bytes"), "{message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_refuses_an_oversize_token() {
    let server = ScriptedServer::new(|request| match request.operation {
        Operation::Token(_) => {
            ScriptedResponse::new(200, &[], json!({ "token": "t".repeat(20_000) }).to_string().as_bytes())
        }
        _ => ScriptedResponse::new(200, &[], b"{}"),
    })
    .await;
    let path = "/auth/token?account=alice&service=registry.docker.io&scope=repository:alice/private:pull";
    let response = server.engine.get(path, &[("authorization", &basic(ALICE.0, ALICE.1))]).await;
    let (status, _, message) = response.fault("token service");
    assert_eq!(status, 502);
    assert!(message.contains("20000 bytes"), "{message}");
}
