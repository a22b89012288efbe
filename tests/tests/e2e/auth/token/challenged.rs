//! Which token an anonymous pull carries: the one that the refusing host asks for, whichever host that is.
//! Must never show one host another's token.

use docxy_tests::{
    docxy::ProxyConfig,
    proxy::{Protocol, Proxy},
};
use http::StatusCode;

use crate::support::{
    http_client::{ANY, basic},
    scripted_registry::{CDN, NAME, ScriptedRegistry},
    testbed::ALICE,
    token_registry::{Received, TokenRegistry, empty, json, manifest, token, unauthorized},
};

/// Responds to a request for content: the manifest if it has this token, else a refusal with this challenge.
fn content(request: &Received, with: &str, challenge: &str) -> Vec<u8> {
    if request.authorization == format!("Bearer {with}") { manifest() } else { unauthorized(challenge) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contents_own_challenge_is_followed_whatever_v2_says() {
    for (ping, status) in [
        ("200", "200 OK"),
        ("204", "204 No Content"),
        ("404", "404 Not Found"),
        ("403", "403 Forbidden"),
        ("429", "429 Too Many Requests"),
        ("500", "500 Internal Server Error"),
        ("401 without a challenge", "401 Unauthorized"),
        ("301", "301 Moved Permanently"),
    ] {
        let challenge = format!(
            "Bearer realm=\"https://{CDN}/token?x=1\",service=\"s p\",scope=\"repository:other/name:pull,push aws\""
        );
        let registry = TokenRegistry::new(move |request| match request.path.as_str() {
            "/v2/" => empty(status, &format!("Location: https://{CDN}/elsewhere\r\n")),
            "/token" => token("asked-for"),
            _ => content(request, "asked-for", &challenge),
        })
        .await;
        let response = registry.pull("one").await;
        assert_eq!(response.status, StatusCode::OK, "{ping}: {response:?}");
        let received = registry.take();
        let tokens: Vec<_> = received.iter().filter(|request| request.path == "/token").collect();
        let [asked] = tokens[..] else { panic!("{ping}: {received:#?}") };
        // Realm, service and scope are exactly those of the challenge.
        let query = "x=1&service=s+p&scope=repository:other/name:pull,push&scope=aws";
        assert_eq!((asked.host.as_str(), asked.query.as_str()), (CDN, query), "{ping}");
        assert_eq!(asked.authorization, "", "{ping}");
        // The next request carries the token at once.
        assert_eq!(registry.pull("two").await.status, StatusCode::OK, "{ping}");
        let next = registry.take();
        assert!(next.iter().all(|request| request.authorization == "Bearer asked-for"), "{ping}: {next:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_that_differs_from_that_of_v2_replaces_it() {
    for (part, theirs) in [
        (
            "realm",
            format!(
                "Bearer realm=\"https://{NAME}/own\",service=\"s\",scope=\"repository:owner/image:pull\""
            ),
        ),
        (
            "service",
            format!(
                "Bearer realm=\"https://{CDN}/token\",service=\"t\",scope=\"repository:owner/image:pull\""
            ),
        ),
        ("scope", format!("Bearer realm=\"https://{CDN}/token\",service=\"s\",scope=\"aws\"")),
        (
            "odd bytes",
            format!("Bearer error=,scope=\"aws\",realm=\"https://{CDN}/token\" service=t,x=\"caf\u{e9}\""),
        ),
        ("second", format!("Basic realm=\"x\", Bearer realm=\"https://{CDN}/token\",scope=*")),
    ] {
        let ping = format!("Bearer realm=\"https://{CDN}/token\",service=\"s\"");
        let registry = TokenRegistry::new(move |request| match request.path.as_str() {
            "/v2/" => unauthorized(&ping),
            "/token" if request.query == "service=s&scope=repository:owner/image:pull" => token("of-v2"),
            "/token" | "/own" => token("of-content"),
            _ => content(request, "of-content", &theirs),
        })
        .await;
        assert_eq!(registry.pull("one").await.status, StatusCode::OK, "{part}");
        let content: Vec<_> = registry.take().into_iter().filter(Received::is_for_content).collect();
        assert_eq!(content.len(), 2, "{part}: {content:#?}");
        assert_eq!(registry.pull("two").await.status, StatusCode::OK, "{part}");
        let next = registry.take();
        assert!(next.iter().all(|request| request.authorization == "Bearer of-content"), "{part}: {next:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_token_service_of_v2_does_not_matter_if_the_content_names_another() {
    let ping = format!("Bearer realm=\"https://{CDN}/dead\"");
    let theirs = format!("Bearer realm=\"https://{CDN}/token\"");
    let registry = TokenRegistry::new(move |request| match request.path.as_str() {
        "/v2/" => unauthorized(&ping),
        "/dead" => empty("500 Internal Server Error", ""),
        "/token" => token("t"),
        _ => content(request, "t", &theirs),
    })
    .await;
    assert_eq!(registry.pull("one").await.status, StatusCode::OK);
}

/// A registry that redirects every request to another one, at [`CDN`].
async fn vanity(has_own_tokens: bool) -> TokenRegistry {
    let challenge =
        |host: &str| format!("Bearer realm=\"https://{host}/token\",service=\"{host}\",scope=\"aws\"");
    let (own, others) = (challenge(NAME), challenge(CDN));
    TokenRegistry::new(move |request| match (request.is_at_cdn(), request.path.as_str()) {
        (false, "/token") => token("own"),
        (true, "/token") => token("others"),
        (false, _) if has_own_tokens && request.authorization != "Bearer own" => unauthorized(&own),
        (false, path) => {
            empty("307 Temporary Redirect", &format!("Location: https://{CDN}{path}?signed=1\r\n"))
        }
        (true, path) if path.contains("/blobs/") && request.authorization == "Bearer others" => {
            json("200 OK", "data")
        }
        (true, _) => content(request, "others", &others),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_registry_behind_a_redirect_gets_a_token_of_its_own() {
    for has_own_tokens in [false, true] {
        let registry = vanity(has_own_tokens).await;
        let response = registry.pull("one").await;
        assert_eq!(response.status, StatusCode::OK, "{has_own_tokens}: {response:?}");
        let received = registry.take();
        for request in &received {
            let own = if request.is_at_cdn() { "Bearer others" } else { "Bearer own" };
            assert!(["", own].contains(&request.authorization.as_str()), "{request:#?}");
        }
        let tokens = received.iter().filter(|request| request.path == "/token").count();
        assert_eq!(tokens, 1 + usize::from(has_own_tokens), "{received:#?}");
        // The next requests carry the right token to each host.
        assert_eq!(registry.pull("two").await.status, StatusCode::OK);
        let blob = registry.get(&ScriptedRegistry::blob("owner/image")).await;
        assert_eq!((blob.status, blob.body.as_slice()), (StatusCode::OK, &b"data"[..]));
        let next: Vec<_> = registry.take();
        assert!(next.iter().all(Received::is_for_content), "{next:#?}");
        for request in &next {
            let expected = match request.is_at_cdn() {
                true => "Bearer others",
                false if has_own_tokens => "Bearer own",
                false => "",
            };
            assert_eq!(request.authorization, expected, "{next:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_not_sent_where_a_redirect_leads() {
    let others = format!("Bearer realm=\"https://{CDN}/token\",service=\"s\"");
    let with_account = |config: &mut docxy_tests::docxy::ServerConfig| {
        config.registries.get_mut(NAME).unwrap().account = Some(("operator".into(), "open-sesame".into()));
    };
    let registry = TokenRegistry::with(with_account, move |request| {
        match (request.is_at_cdn(), request.path.as_str()) {
            (true, "/token") => token("others"),
            (true, _) => content(request, "others", &others),
            (false, path) => empty("307 Temporary Redirect", &format!("Location: https://{CDN}{path}\r\n")),
        }
    })
    .await;
    assert_eq!(registry.pull("one").await.status, StatusCode::OK);
    let received = registry.take();
    assert!(received.iter().all(|request| !request.authorization.starts_with("Basic")), "{received:#?}");
}

/// The account of a user goes to the token service that the registry itself names, on `/v2/` or else for the content.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_with_an_account_gets_a_token_although_v2_names_no_token_service() {
    let as_docker_hub = |config: &mut docxy_tests::docxy::ServerConfig| {
        let scripted = config.registries[NAME].clone();
        config.registries.insert("docker.io".to_owned(), scripted);
    };
    let credential = basic(ALICE.0, ALICE.1);
    let alices = credential.clone();
    for (ping, redirects) in [("200 OK", false), ("500 Internal Server Error", false), ("200 OK", true)] {
        let (challenge, alices) =
            (format!("Bearer realm=\"https://{CDN}/token\",service=\"s\""), alices.clone());
        let registry = TokenRegistry::with(as_docker_hub, move |request| {
            match (request.path.as_str(), request.is_at_cdn()) {
                ("/v2/", _) => empty(ping, ""),
                ("/token", _) if request.authorization == alices => token("alices"),
                ("/token", _) => empty("401 Unauthorized", ""),
                (path, false) if redirects => {
                    empty("307 Temporary Redirect", &format!("Location: https://{CDN}{path}\r\n"))
                }
                _ => content(request, "alices", &challenge),
            }
        })
        .await;
        let engine = registry.scripted.testbed.engine;
        let path = "/v2/alice/private/manifests/latest";
        assert_eq!(engine.get(path, &[ANY]).await.status, StatusCode::UNAUTHORIZED, "{ping}");
        let scope = "service=s&scope=repository:alice/private:pull";
        let response = engine
            .get(&format!("/auth/token?account=alice&{scope}"), &[("authorization", &credential)])
            .await;
        if redirects {
            // Another host has named the token service, so the account is not sent to it.
            assert_ne!(response.status, StatusCode::OK);
            let received = registry.take();
            assert!(received.iter().all(|request| request.authorization != credential), "{received:#?}");
        } else {
            let bearer = response.bearer();
            let response = engine.get(path, &[("authorization", &bearer), ANY]).await;
            assert_eq!(response.status, StatusCode::OK, "{ping}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_realm_in_a_private_network_is_not_dialed() {
    for (realm, status) in [
        ("https://10.0.0.1/token", 502),
        ("https://169.254.169.254/token", 502),
        ("https://localhost:2/token", 502),
        ("https://[::1]/token", 502),
        // What is no HTTPS URL is no realm.
        ("http://odd.example/token", 401),
        ("token", 401),
        ("", 401),
    ] {
        let registry = TokenRegistry::new(move |request| match request.path.as_str() {
            "/v2/" => empty("200 OK", ""),
            _ => content(request, "t", &format!("Bearer realm=\"{realm}\"")),
        })
        .await;
        let response = registry.pull("one").await;
        assert_eq!(response.status, status, "{realm}");
        if status == 502 {
            let (_, _, message) = response.fault("token service");
            assert!(message.contains("public address") && !message.contains("10.0.0.1"), "{message}");
        }
        assert_eq!(registry.take().iter().filter(|request| request.path == "/token").count(), 0, "{realm}");
    }
}

/// The operator has exempted the registry's own address. A public host that a redirect leads to must not reach it.
#[tokio::test(flavor = "multi_thread")]
async fn a_public_host_does_not_name_a_token_service_at_an_exempt_private_address() {
    for (realm, expected) in [(CDN, StatusCode::OK), (NAME, StatusCode::BAD_GATEWAY)] {
        // The CDN has a public address, to which only the proxy knows a way.
        let proxy = Proxy::start(Protocol::Http).await.unwrap();
        let behind_proxy = |config: &mut docxy_tests::docxy::ServerConfig| {
            config.proxy = Some(ProxyConfig { url: proxy.url(""), ..ProxyConfig::default() });
            let public = "1.1.1.1:443".parse().unwrap();
            let resolve = &mut config.registries.get_mut(NAME).unwrap().resolve;
            proxy.route(public, resolve.insert(CDN.to_owned(), public).unwrap());
        };
        let challenge = format!("Bearer realm=\"https://{realm}/token\",service=\"s\"");
        let registry = TokenRegistry::with(behind_proxy, move |request| {
            match (request.is_at_cdn(), request.path.as_str()) {
                (_, "/token") => token("t"),
                (true, _) => content(request, "t", &challenge),
                (false, path) => {
                    empty("307 Temporary Redirect", &format!("Location: https://{CDN}{path}\r\n"))
                }
            }
        })
        .await;
        let response = registry.pull("one").await;
        assert_eq!(response.status, expected, "{realm}: {response:?}");
        let received = registry.take();
        let tokens = received.iter().filter(|request| request.path == "/token").count();
        assert_eq!(tokens, usize::from(expected == StatusCode::OK), "{realm}: {received:#?}");
        if expected != StatusCode::OK {
            let (_, _, message) = response.fault("token service");
            assert!(message.contains("public address"), "{message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_always_asks_for_another_token_is_given_up() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let registry = TokenRegistry::new(move |request| match request.path.as_str() {
        "/v2/" => empty("200 OK", ""),
        "/token" => token("t"),
        _ => {
            let n = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            unauthorized(&format!("Bearer realm=\"https://{CDN}/token\",scope=\"s{n}\""))
        }
    })
    .await;
    assert_eq!(registry.pull("one").await.status, StatusCode::UNAUTHORIZED);
    let received = registry.take();
    assert!(received.len() < 12, "{received:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_without_a_credential_pulls_although_v2_asks_for_none() {
    let challenge = format!("Bearer realm=\"https://{CDN}/token\",scope=\"aws\"");
    let registry = TokenRegistry::new(move |request| match request.path.as_str() {
        "/v2/" => empty("200 OK", ""),
        "/token" => token("t"),
        _ => content(request, "t", &challenge),
    })
    .await;
    let engine = registry.scripted.testbed.engine;
    assert_eq!(engine.get(&format!("/v2/?ns={NAME}"), &[]).await.status, StatusCode::OK);
    let path = format!("/v2/owner/image/manifests/latest?ns={NAME}");
    // dockerd treats a refusal as final if `/v2/` asked for nothing.
    assert_eq!(engine.get(&path, &[ANY]).await.status, StatusCode::OK);
}
