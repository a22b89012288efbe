//! Web pages can send requests to localhost, and by DNS rebinding read the responses: the client refuses them.

use http::Method;
use hub_stand_in::Site;

use crate::support::{
    raw_http::{RawResponse, send_raw},
    testbed::{Testbed, config, hub},
};

/// The code of an error in the registry's format.
fn code(received: &RawResponse) -> String {
    let body = String::from_utf8_lossy(received.body()).into_owned();
    let error: serde_json::Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{received:?}"));
    error["errors"][0]["code"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_host_name_is_refused() {
    let testbed = Testbed::new().await;
    let port = testbed.client.address().port();
    for host in
        ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "box.lan", "[::2]"]
    {
        let host = format!("{host}:{port}");
        for path in ["/v2/", "/auth/token?service=registry.docker.io", "/health", "/nowhere"] {
            let response = testbed.engine.get(path, &[("host", &host)]).await;
            let (status, code, message) = response.fault("request");
            assert_eq!((status, code.as_str()), (421, "DENIED"), "{host} {path}");
            assert!(message.contains(&host) && message.contains("--host"), "{message}");
        }
    }
    assert!(testbed.hub.request_log().of(Site::Registry).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_needs_exactly_one_host() {
    let testbed = Testbed::new().await;
    let address = testbed.client.address();
    for hosts in [
        String::new(),
        "Host:\r\n".to_owned(),
        format!("Host: {address}\r\nHost: evil.example\r\n"),
        format!("Host: evil.example\r\nHost: {address}\r\n"),
        format!("Host: {address}\r\nHost: {address}\r\n"),
    ] {
        let request = format!("GET /v2/ HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
        let received = send_raw(address, request.as_bytes()).await;
        assert_eq!((received.status(), code(&received).as_str()), (421, "DENIED"), "{hosts:?}");
    }
    assert!(testbed.hub.request_log().of(Site::Registry).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_host_name_is_served() {
    let hub = hub().await;
    let config = config(&hub);
    let testbed = Testbed::with(hub, &config, &["--host", "box.lan"]);
    let port = testbed.client.address().port();
    let host = format!("box.lan:{port}");
    let response = testbed.engine.get("/v2/", &[("host", &host)]).await;
    let realm = format!("realm=\"http://{host}/auth/token\"");
    assert!(response.header("www-authenticate").contains(&realm), "{response:?}");
    let foreign = testbed.engine.get("/v2/", &[("host", "other.lan")]).await;
    assert_eq!(foreign.fault("request").0, 421);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_header_cannot_change_the_realm() {
    let testbed = Testbed::new().await;
    let address = testbed.client.address();
    for host in ["127.0.0.1\",realm=\"http://evil.example", "127.0.0.1/x?", "u@127.0.0.1", "127.0.0.1:80:80"]
    {
        let request = format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let received = send_raw(address, request.as_bytes()).await;
        assert_eq!(received.status(), 421, "{host}");
        assert!(!received.head().contains("www-authenticate"), "{}", received.head());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_from_web_pages_are_refused() {
    let testbed = Testbed::new().await;
    let ours = format!("http://{}", testbed.client.address());
    for page in [
        &[("origin", "https://evil.example")][..],
        &[("origin", "null")],
        &[("origin", "http://127.0.0.1:1")],
        &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")],
        &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")],
        // A link, or a frame.
        &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")],
        &[("origin", &ours), ("sec-fetch-site", "cross-site")],
    ] {
        for path in ["/", "/health", "/metrics", "/v2/", "/v2/library/hello/manifests/latest", "/auth/token"]
        {
            for method in [Method::GET, Method::POST, Method::HEAD] {
                let response = testbed.engine.request(method.clone(), path, page).await;
                assert_eq!(response.status, 403, "{method} {path} for {page:?}");
                assert!(response.headers.keys().all(|name| !name.as_str().starts_with("access-control-")));
                if method != Method::HEAD {
                    let (_, code, message) = response.fault("request");
                    assert_eq!(code, "DENIED");
                    assert!(message.contains("web page"), "{message}");
                }
            }
        }
    }
    let preflight = [
        ("origin", "https://evil.example"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "authorization"),
        ("access-control-request-private-network", "true"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "cors"),
    ];
    let response = testbed.engine.request(Method::OPTIONS, "/v2/", &preflight).await;
    assert_eq!(response.status, 403);
    assert!(response.headers.keys().all(|name| !name.as_str().starts_with("access-control-")));
    assert!(testbed.hub.request_log().snapshot().is_empty(), "no request was sent upstream");

    for (path, headers, status) in [
        // Typed into the address bar, and from a page of the client itself.
        ("/health", &[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")][..], 200),
        ("/health", &[("sec-fetch-site", "same-origin"), ("origin", &ours)], 200),
        ("/v2/", &[("sec-fetch-site", "none")], 401),
        ("/v2/", &[], 401),
    ] {
        assert_eq!(testbed.engine.get(path, headers).await.status, status, "{path} {headers:?}");
    }
    // No response allows other origins, also where the request does not reveal that a page sent it.
    let response = testbed.engine.request(Method::OPTIONS, "/v2/", &[]).await;
    assert_eq!(response.fault("request").0, 405);
}
