//! A token is sent only to the registry whose token service issued it; a token of unknown origin, only to Docker Hub.
//! Client and server check this independently, and both forget the origins when they end.

use docxy_protocol::{
    authorization::Authorization,
    name::Registry,
    token::{Parsed, TokenRequest},
};
use docxy_tests::docxy::ServerConfig;
use futures_util::FutureExt as _;
use http::{Method, StatusCode};
use hub_stand_in::{Access, Fault, Grant, Hub, Rule, Site};
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient, HttpResponse, basic},
    scripted_registry::{CDN, NAME, RegistryRequest, ScriptedRegistry, reply},
    testbed::{ALICE, Testbed, restart_client},
    two_registries::{OTHER, TwoRegistries},
    wire_client::{ManifestRequest, WireClient},
};

const PRIVATE: &str = "/v2/alice/private/manifests/latest";

/// Paths of a manifest in the other registry, named by `ns` and by path.
fn at_other(repository: &str) -> [String; 2] {
    let rest = format!("{repository}/manifests/latest");
    [format!("/v2/{rest}?ns={OTHER}"), format!("/v2/{OTHER}/{rest}")]
}

/// Whether this registry or its token service received this token.
fn has_seen(hub: &Hub, token: &str) -> bool {
    hub.request_log().count(|entry| format!("{entry:?}").contains(token.trim_start_matches("Bearer "))) > 0
}

/// Asserts that the response makes an engine fetch a new token from the other registry's realm.
fn assert_asks_for_a_new_token(engine: &HttpClient, response: &HttpResponse, scope: &str) {
    assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{response:?}");
    let challenge = response.header("www-authenticate");
    let realm = format!("Bearer realm=\"http://{}/auth/token/{OTHER}\",service=\"", engine.address());
    assert!(challenge.starts_with(&realm), "{challenge}");
    assert!(challenge.ends_with(&format!(",scope=\"{scope}\",error=\"invalid_token\"")), "{challenge}");
    assert_eq!(response.headers.get_all("www-authenticate").iter().count(), 1);
}

/// A token that would open `owner/private` at the other registry. It was not issued through docxy, so its origin is
/// unknown.
fn unknown_token_of(other: &Hub) -> String {
    let access =
        Access { kind: "repository".into(), name: "owner/private".into(), actions: vec!["pull".into()] };
    let grant = Grant { account: Some(ALICE.0.into()), access: vec![access] };
    format!("Bearer {}", other.tokens().issue(&grant))
}

fn restart_server(testbed: &mut Testbed) {
    block_in_place(|| {
        testbed.server.stop().unwrap();
        testbed.server.start_again().unwrap();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_hub_token_never_reaches_another_registry_also_after_restarts() {
    let mut two = TwoRegistries::new().await;
    let engine = two.testbed.engine;
    let token = engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    for restarted in ["nothing", "the client", "the server"] {
        match restarted {
            "the client" => restart_client(&mut two.testbed.client),
            "the server" => restart_server(&mut two.testbed),
            _ => {}
        }
        let headers = [("authorization", token.as_str()), ANY];
        for (path, name) in
            at_other("owner/image").iter().zip(["owner/image", &format!("{OTHER}/owner/image")])
        {
            for method in [Method::GET, Method::HEAD] {
                let response = engine.request(method, path, &headers).await;
                assert_asks_for_a_new_token(&engine, &response, &format!("repository:{name}:pull"));
            }
        }
        let ping = engine.get(&format!("/v2/?ns={OTHER}"), &headers).await;
        assert!(ping.header("www-authenticate").ends_with(",error=\"invalid_token\""), "{ping:?}");
        assert!(!has_seen(&two.other, &token), "{restarted}");
        // At Docker Hub it still works.
        assert_eq!(engine.get(PRIVATE, &headers).await.status, StatusCode::OK, "{restarted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_with_a_token_of_unknown_origin_fetches_a_new_one_and_pulls() {
    let two = TwoRegistries::new().await;
    let engine = two.testbed.engine;
    let unknown = unknown_token_of(&two.other);
    for (path, name) in
        at_other("owner/private").iter().zip(["owner/private", &format!("{OTHER}/owner/private")])
    {
        let response = engine.get(path, &[("authorization", &unknown), ANY]).await;
        assert_asks_for_a_new_token(&engine, &response, &format!("repository:{name}:pull"));
    }
    assert!(two.other.request_log().snapshot().is_empty());
    for (path, name) in at_other("owner/image").iter().zip(["owner/image", &format!("{OTHER}/owner/image")]) {
        let token = format!("/auth/token/{OTHER}?scope=repository:{name}:pull");
        let bearer = engine.get(&token, &[("authorization", &basic(ALICE.0, ALICE.1))]).await.bearer();
        let response = engine.get(path, &[("authorization", &bearer), ANY]).await;
        assert_eq!(response.status, StatusCode::OK);
        // The token from the other registry's realm opens public images of Docker Hub, and no private ones.
        let private = engine.get(PRIVATE, &[("authorization", &bearer), ANY]).await;
        assert_eq!(private.status, StatusCode::UNAUTHORIZED);
        let public = "/v2/library/hello/manifests/latest";
        assert_eq!(engine.get(public, &[("authorization", &bearer), ANY]).await.status, StatusCode::OK);
    }
    assert!(!has_seen(&two.other, &unknown) && !has_seen(&two.testbed.hub, &unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_unknown_origin_is_sent_to_docker_hub() {
    let two = TwoRegistries::new().await;
    let engine = two.testbed.engine;
    let access =
        Access { kind: "repository".into(), name: "alice/private".into(), actions: vec!["pull".into()] };
    let grant = Grant { account: Some(ALICE.0.into()), access: vec![access] };
    let good = format!("Bearer {}", two.testbed.hub.tokens().issue(&grant));
    assert_eq!(engine.get(PRIVATE, &[("authorization", &good), ANY]).await.status, StatusCode::OK);
    let bad = engine.get(PRIVATE, &[("authorization", "Bearer nonsense"), ANY]).await;
    assert_eq!(bad.status, StatusCode::UNAUTHORIZED);
    assert!(has_seen(&two.testbed.hub, "nonsense"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_checks_the_requests_of_a_modified_client() {
    let mut two = TwoRegistries::new().await;
    let wire_client = WireClient::of(&mut two.testbed).await;
    let unknown = unknown_token_of(&two.other);
    let known = two.testbed.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    for token in [&known, &unknown, &basic(ALICE.0, ALICE.1)] {
        for request in
            [ManifestRequest::get("owner/image", "latest"), ManifestRequest::head("owner/private", "latest")]
        {
            let response = wire_client.send(&request.of(OTHER).by(token)).await;
            assert_eq!(response.status, StatusCode::UNAUTHORIZED);
            let is_password = token.starts_with("Basic ");
            let error = ",error=\"invalid_token\"";
            assert_eq!(response.header("www-authenticate").ends_with(error), !is_password);
        }
        assert!(!has_seen(&two.other, token));
    }
    let response = wire_client.send(&ManifestRequest::get("alice/private", "latest").by(&known)).await;
    assert_eq!(response.status, StatusCode::OK);

    let password = format!("username={}&password={}&access_type=offline", ALICE.0, ALICE.1);
    for form in [
        format!("grant_type=password&{password}"),
        "grant_type=refresh_token&refresh_token=alices-own".into(),
    ] {
        for authorization in [&known, &basic(ALICE.0, ALICE.1)] {
            let request = token_request(&format!("{form}&scope=repository:owner/image:pull,push"));
            let response = wire_client.token(OTHER, request, Authorization::parse(authorization)).await;
            // The token service is asked, but anonymously.
            assert_eq!(response.status, StatusCode::OK);
        }
    }
    let requests = two.other.request_log().of(Site::Auth);
    let is_anonymous = |entry: &hub_stand_in::LoggedRequest| {
        entry.method == "GET"
            && entry.header("authorization").is_none()
            && entry.query_values("offline_token").is_empty()
    };
    assert!(requests.len() >= 4 && requests.iter().all(is_anonymous), "{requests:#?}");
    assert!(requests.iter().all(|entry| !entry.query.contains("push")), "{requests:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_hub_tokens_are_for_pull_only() {
    let mut two = TwoRegistries::new().await;
    let wire_client = WireClient::of(&mut two.testbed).await;
    let scopes = "repository:alice/private:push,pull+repository:bob/x:push+repository(plugin):alice/p:*+registry:catalog:*";
    let form = format!("grant_type=password&username={}&password={}&scope={scopes}", ALICE.0, ALICE.1);
    assert_eq!(two.testbed.engine.post(&form).await.status, StatusCode::OK);
    let query = format!("/auth/token?scope={}", scopes.replace('+', "&scope="));
    let credential = basic(ALICE.0, ALICE.1);
    assert_eq!(
        two.testbed.engine.get(&query, &[("authorization", &credential)]).await.status,
        StatusCode::OK
    );
    // A bearer token is for the registry, never for its token service.
    let stray = Authorization::parse("Bearer stray");
    assert_eq!(wire_client.token("docker.io", token_request(&form), stray).await.status, StatusCode::OK);
    let requests = two.testbed.hub.request_log().of(Site::Auth);
    assert_eq!(requests.len(), 3);
    for entry in requests {
        let scopes = [entry.query_values("scope"), entry.form_values("scope")].concat().join(" ");
        assert_eq!(scopes, "repository:alice/private:pull repository(plugin):alice/p:pull");
        assert_ne!(entry.authorization_scheme(), Some("Bearer"));
    }
}

/// Parses a form and removes nothing from it.
fn token_request(form: &str) -> TokenRequest {
    match TokenRequest::from_form(form, &Registry::docker_hub()).unwrap() {
        Parsed::Request(request) => request,
        Parsed::NamesOtherRegistry => panic!("{form}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_path_selects_the_token_service() {
    let two = TwoRegistries::new().await;
    let engine = two.testbed.engine;
    let credential = basic(ALICE.0, ALICE.1);
    let headers = [("authorization", credential.as_str())];
    let rest = "scope=repository:alice/private:pull";
    for (path, is_docker_hubs) in [
        (format!("/auth/token?service=container_registry&{rest}"), true),
        (format!("/auth/token?service={OTHER}&ns={OTHER}&{rest}"), true),
        (format!("/auth/token/docker.io?service={OTHER}&{rest}"), true),
        (format!("/auth/token/INDEX.docker.io?{rest}"), true),
        (format!("/auth/token/{OTHER}?service=registry.docker.io&ns=docker.io&{rest}"), false),
        (format!("/auth/token/GHCR.example?service=registry.docker.io&{rest}"), false),
        (format!("/auth/token/auth.docker.io?service=registry.docker.io&{rest}"), false),
    ] {
        two.testbed.hub.request_log().clear();
        let bearer = engine.get(&path, &headers).await.bearer();
        assert_eq!(two.testbed.hub.request_log().of(Site::Auth).len(), usize::from(is_docker_hubs), "{path}");
        let response = engine.get(PRIVATE, &[("authorization", &bearer), ANY]).await;
        assert_eq!(response.status == StatusCode::OK, is_docker_hubs, "{path}");
    }
    assert!(two.other.request_log().snapshot().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_more_than_16_kib_is_not_passed_on() {
    let testbed = Testbed::new().await;
    for proof in ["Basic", "POST", "none"] {
        testbed.hub.faults().arm(Rule::once(Fault::LongToken { bytes: 16 * 1024 }));
        let scope = "scope=repository:alice/private:pull";
        let response = match proof {
            "Basic" => {
                let credential = basic(ALICE.0, ALICE.1);
                testbed.engine.get(&format!("/auth/token?{scope}"), &[("authorization", &credential)]).await
            }
            "POST" => {
                let account = format!("username={}&password={}", ALICE.0, ALICE.1);
                testbed.engine.post(&format!("grant_type=password&{account}&{scope}")).await
            }
            _ => {
                let bearer = testbed.engine.anonymous("library/hello").await;
                let path = "/v2/library/hello/manifests/latest";
                testbed.engine.get(path, &[("authorization", &bearer), ANY]).await
            }
        };
        let (status, code, message) = response.fault("token service");
        assert_eq!((status, code.as_str()), (502, "UNAVAILABLE"), "{proof}");
        assert!(message.contains("the limit is 16384") && !message.contains("xxxx"), "{message}");
        assert!(testbed.hub.faults().armed().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn registries_may_share_a_token_service() {
    const OWNER: &str = "owner.example";
    // Both name the token service at `CDN`, which is the API of `OWNER`. Each response holds the token that it was sent.
    let response = |request: RegistryRequest| {
        let json = |body: &str| reply("200 OK", &format!("Content-Length: {}\r\n", body.len()), body);
        let bytes = match request.path.as_str() {
            "/v2/" => {
                let challenge = format!("WWW-Authenticate: Bearer realm=\"https://{CDN}/token\"\r\n");
                reply("401 Unauthorized", &format!("{challenge}Content-Length: 0\r\n"), "")
            }
            path if path.starts_with("/token") => json(r#"{"token":"for-the-owner"}"#),
            _ => json(request.header("authorization").unwrap_or("none")),
        };
        std::future::ready(bytes).boxed()
    };
    let list_owner = |config: &mut ServerConfig| {
        let mut owner = config.registries[NAME].clone();
        owner.api = format!("https://{CDN}");
        config.registries.insert(OWNER.to_owned(), owner);
    };
    let registry = ScriptedRegistry::serving("", list_owner, response).await;
    let engine = registry.testbed.engine;
    let bearer = engine.anonymous("library/hello").await;
    let content = "Bearer for-the-owner";
    for name in [OWNER, NAME] {
        let path = ScriptedRegistry::blob_of("any", content.as_bytes()).replace(NAME, name);
        let response = engine.get(&path, &[("authorization", &bearer)]).await;
        assert_eq!((response.status, &response.body[..]), (StatusCode::OK, content.as_bytes()), "{name}");
    }
}
