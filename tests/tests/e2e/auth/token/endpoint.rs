//! What token services really send, and what they receive.

use http::{Method, StatusCode};

use crate::support::{
    http_client::{ANY, basic},
    scripted_registry::{CDN, NAME},
    testbed::{ALICE, Testbed},
    token_registry::{Received, TokenRegistry, empty, json, manifest, token, unauthorized},
};

/// The redirects that a token service may answer with.
const REDIRECTS: [&str; 5] = [
    "301 Moved Permanently",
    "302 Found",
    "303 See Other",
    "307 Temporary Redirect",
    "308 Permanent Redirect",
];

/// A registry whose token service, at [`NAME`], responds with `respond` to all requests but for those below `/v2/`.
async fn with_token_service(respond: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static) -> TokenRegistry {
    TokenRegistry::new(move |request| match request.path.as_str() {
        "/v2/" => unauthorized(&format!("Bearer realm=\"https://{NAME}/token\",service=\"s\"")),
        path if path.starts_with("/v2/") => match request.authorization.as_str() {
            "Bearer t" => manifest(),
            _ => unauthorized(&format!("Bearer realm=\"https://{NAME}/token\",service=\"s\"")),
        },
        _ => respond(request),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn its_redirects_are_followed() {
    for status in REDIRECTS {
        for host in [NAME, CDN] {
            let registry = with_token_service(move |request| match request.path.as_str() {
                "/token" => empty(status, &format!("Location: https://{host}/moved?{}\r\n", request.query)),
                _ => token("t"),
            })
            .await;
            let response = registry.pull("one").await;
            assert_eq!(response.status, StatusCode::OK, "{status} to {host}: {response:?}");
            let moved = registry.take().into_iter().find(|request| request.path == "/moved").unwrap();
            assert_eq!((moved.host.as_str(), moved.method.as_str()), (host, "GET"), "{status}");
            assert_eq!(moved.query, "service=s&scope=repository:owner/image:pull", "{status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_does_not_follow_a_redirect_to_another_host() {
    for status in REDIRECTS {
        for host in [NAME, CDN] {
            // It takes Docker Hub's name, since passwords are sent to no other registry.
            let as_docker_hub = |config: &mut docxy_tests::docxy::ServerConfig| {
                let scripted = config.registries[NAME].clone();
                config.registries.insert("docker.io".to_owned(), scripted);
            };
            let registry = TokenRegistry::with(as_docker_hub, move |request| match request.path.as_str() {
                "/v2/" => unauthorized(&format!("Bearer realm=\"https://{NAME}/token\",service=\"s\"")),
                "/token" => empty(status, &format!("Location: https://{host}/moved\r\n")),
                _ => token("t"),
            })
            .await;
            let engine = registry.scripted.testbed.engine;
            let scope = "service=s&scope=repository:alice/private:pull";
            let credential = basic(ALICE.0, ALICE.1);
            let path = format!("/auth/token?account=alice&{scope}");
            let response = engine.get(&path, &[("authorization", &credential)]).await;
            assert_eq!(response.status, StatusCode::OK, "{status} to {host}");
            let moved = registry.take().into_iter().find(|request| request.path == "/moved").unwrap();
            assert_eq!(
                moved.authorization,
                if host == NAME { &credential } else { "" },
                "{status} to {host}"
            );
            let form = format!("grant_type=password&username={}&password={}&{scope}", ALICE.0, ALICE.1);
            let response = engine.post(&form).await;
            let moved = registry.take().into_iter().find(|request| request.path == "/moved");
            if host == NAME && !status.starts_with("303") {
                assert_eq!(response.status, StatusCode::OK, "{status}");
                assert_eq!(moved.unwrap().method, "POST", "{status}");
            } else {
                let (code, _, message) = response.fault("token service");
                assert!(code == 502 && message.contains("redirect"), "{status} to {host}: {message}");
                assert!(moved.is_none(), "{status} to {host}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_a_token_is_one() {
    for body in [
        r#"{"token":"","access_token":"t"}"#,
        r#"{"token":"t","access_token":""}"#,
        r#"{"token":null,"access_token":"t","expires_in":null}"#,
        r#"{"access_token":"t","expires_in":-1}"#,
        r#"{"token":"t","expires_in":299.97}"#,
        r#"{"token":"t","expires_in":"3600"}"#,
        r#"{"token":"t","expires_in":1e999}"#,
        r#"{"token":"t","expires_in":18446744073709551615}"#,
        r#"{"token":"t","expires_in":99999999999999999999999999}"#,
        r#"{"token":"t","expires_in":0}"#,
        r#"{"token":"t","expires_in":[],"issued_at":7}"#,
    ] {
        let registry = with_token_service(move |_| json("200 OK", body)).await;
        assert_eq!(registry.pull("one").await.status, StatusCode::OK, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_cannot_be_sent_is_the_token_services_fault() {
    for body in [
        r#"{"token":"t\n"}"#,
        r#"{"token":"a\r\nx: y"}"#,
        r#"{"access_token":"\u0000t"}"#,
        r#"{"token":"t t"}"#,
    ] {
        let registry = with_token_service(move |_| json("200 OK", body)).await;
        let (status, _, message) = registry.pull("one").await.fault("token service");
        assert_eq!(status, 502, "{body}");
        assert!(message.contains("invalid character"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_reason_for_a_refusal_reaches_the_user() {
    let long = format!(r#"{{"message":"{}"}}"#, "A".repeat(5000));
    for (status, body, text) in [
        (
            "403 Forbidden",
            r#"{"errors":[{"code":"DENIED","message":"requested access is denied"}]}"#,
            "requested access is denied",
        ),
        ("401 Unauthorized", r#"{"details":"no \u001b[31mseat"}"#, "no [31mseat"),
        ("403 Forbidden", r#"{"error":"access_denied","error_description":"pay first"}"#, "pay first"),
        ("403 Forbidden", "go away\r\n", "go away"),
        ("403 Forbidden", &long, "AAAA"),
    ] {
        let (status, body) = (status.to_owned(), body.to_owned());
        let (reply_status, reply_body) = (status.clone(), body.clone());
        let registry = with_token_service(move |_| json(&reply_status, &reply_body)).await;
        let (code, error, message) = registry.pull("one").await.error();
        assert_eq!((code, error.as_str()), (401, "DENIED"), "{body}");
        assert!(message.contains(text) && message.len() < 1500, "{body}: {message}");
        // Engines begin a pull with a `HEAD`, whose response has no body.
        let head = registry.request(Method::HEAD, "one", None).await;
        let challenge = head.header("www-authenticate");
        assert!(challenge.contains(text) && challenge.len() < 1500, "{body}: {challenge}");
        // A password is withheld; the words are those of the token service all the same.
        let (code, _, message) =
            registry.request(Method::GET, "one", Some(&basic(ALICE.0, ALICE.1))).await.error();
        assert!(
            code == 401 && message.contains(text) && message.contains("was not sent"),
            "{body}: {message}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_hubs_reason_is_the_message() {
    let testbed = Testbed::new().await;
    let fault =
        hub_stand_in::Fault::Status { site: hub_stand_in::Site::Auth, status: 403, retry_after: None };
    testbed.hub.faults().arm(hub_stand_in::Rule::always(fault));
    let bearer = testbed.engine.anonymous("library/hello").await;
    let path = "/v2/library/hello/manifests/latest";
    let response = testbed.engine.get(path, &[("authorization", &bearer), ANY]).await;
    let (status, code, message) = response.error();
    assert_eq!((status, code.as_str(), message.as_str()), (401, "DENIED", "Forbidden"));
    // An engine would else request the same public token, and ask again.
    let challenge = response.header("www-authenticate");
    assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_the_servers_own_say_who_sends_them() {
    let registry = with_token_service(|_| token("t")).await;
    assert_eq!(registry.pull("one").await.status, StatusCode::OK);
    let own = concat!("docxy-server/", env!("CARGO_PKG_VERSION"));
    let received = registry.take();
    assert!(received.len() >= 3, "{received:#?}");
    for request in received {
        let expected = if request.is_for_content() { "engine/1" } else { own };
        assert_eq!(request.user_agent, expected, "{request:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_scope_is_an_error() {
    let testbed = Testbed::new().await;
    let credential = basic(ALICE.0, ALICE.1);
    for scope in ["aws", "*", "repository:A:pull", "REPOSITORY:a:pull", "repository", "%00", "a:b:c:d", ""] {
        let path = format!("/auth/token?service=registry.docker.io&scope={scope}");
        assert_eq!(testbed.engine.get(&path, &[]).await.status, StatusCode::OK, "{scope}");
        testbed.hub.request_log().clear();
        let path = format!("{path}&scope=repository:alice/private:pull");
        let token = testbed.engine.get(&path, &[("authorization", &credential)]).await.bearer();
        let private = "/v2/alice/private/manifests/latest";
        let response = testbed.engine.get(private, &[("authorization", &token), ANY]).await;
        assert_eq!(response.status, StatusCode::OK, "{scope}");
        let sent =
            testbed.hub.request_log().of(hub_stand_in::Site::Auth).pop().unwrap().query_values("scope");
        assert!(sent.iter().all(|scope| !scope.to_lowercase().starts_with("repository:a:")), "{sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_withheld_does_not_turn_another_response_into_a_challenge() {
    for (status, code) in [("404 Not Found", 404), ("429 Too Many Requests", 429), ("403 Forbidden", 403)] {
        let registry = TokenRegistry::new(move |request| match request.path.as_str() {
            "/v2/" => unauthorized(&format!("Bearer realm=\"https://{NAME}/token\",service=\"s\"")),
            "/token" => token("t"),
            _ => empty(status, ""),
        })
        .await;
        let response = registry.request(Method::GET, "one", Some(&basic(ALICE.0, ALICE.1))).await;
        assert_eq!(response.status, code, "{response:?}");
    }
}
