//! Requests that the client does not support get an error that engines understand.

use std::sync::Arc;

use http::Method;
use hub_stand_in::Site;
use rustls::{ClientConfig, ClientConnection, RootCertStore, pki_types::ServerName};

use crate::support::{
    raw_http::{RawConnection, send_raw},
    testbed::Testbed,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_path_is_404() {
    let testbed = Testbed::new().await;
    for path in [
        "/v1/_ping",
        "/v1/search?q=alpine",
        "/extensions/x/y",
        "/v2/_catalog",
        "/v2/alpine",
        "/v3/",
        "/favicon.ico",
        "/auth/token/",
        "/auth/token/ghcr.io/more",
        "/auth/tokens",
        "/v2/library/hello/nonsense/latest",
    ] {
        let (status, code, _) = testbed.engine.get(path, &[]).await.fault("request");
        assert_eq!((status, code.as_str()), (404, "UNSUPPORTED"), "{path}");
    }
    assert!(testbed.hub.request_log().of(Site::Registry).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_405_with_allow() {
    let testbed = Testbed::new().await;
    let digest = format!("sha256:{}", "0".repeat(64));
    for (method, path, allowed) in [
        (Method::POST, "/v2/library/hello/blobs/uploads/".to_owned(), ""),
        (Method::PATCH, "/v2/library/hello/blobs/uploads/some-id".to_owned(), ""),
        (Method::PUT, "/v2/library/hello/manifests/latest".to_owned(), "GET, HEAD"),
        (Method::DELETE, format!("/v2/library/hello/manifests/{digest}"), "GET, HEAD"),
        (Method::DELETE, format!("/v2/library/hello/blobs/{digest}"), "GET, HEAD"),
        (Method::PUT, format!("/v2/library/hello/referrers/{digest}"), "GET, HEAD"),
        (Method::POST, "/v2/library/hello/tags/list".to_owned(), "GET, HEAD"),
        (Method::POST, "/v2/".to_owned(), "GET, HEAD"),
        (Method::DELETE, "/auth/token".to_owned(), "GET, POST"),
        (Method::PUT, "/auth/token/ghcr.io".to_owned(), "GET, POST"),
    ] {
        let response = testbed.engine.request(method.clone(), &path, &[]).await;
        let (status, code, _) = response.fault("request");
        assert_eq!((status, code.as_str()), (405, "UNSUPPORTED"), "{method} {path}");
        assert_eq!(response.headers["allow"], allowed, "{method} {path}");
    }
    assert!(testbed.hub.request_log().of(Site::Registry).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_name_is_400() {
    let testbed = Testbed::new().await;
    for (path, code) in [
        ("/v2/UPPER/manifests/latest", "NAME_INVALID"),
        ("/v2/a/../b/manifests/latest", "NAME_INVALID"),
        ("/v2/a/%2e%2e/b/manifests/latest", "NAME_INVALID"),
        ("/v2//a/manifests/latest", "NAME_INVALID"),
        ("/v2/library/hello/manifests/latest?ns=user@host", "NAME_INVALID"),
        ("/auth/token/..", "NAME_INVALID"),
        ("/auth/token/user@host", "NAME_INVALID"),
        ("/auth/token/ghcr.io%2Fmore", "NAME_INVALID"),
        ("/v2/library/hello/blobs/latest", "DIGEST_INVALID"),
        ("/v2/library/hello/blobs/sha256:12", "DIGEST_INVALID"),
        ("/v2/library/hello/referrers/latest", "DIGEST_INVALID"),
        ("/v2/library/hello/manifests/a%20b", "MANIFEST_INVALID"),
        ("/v2/library/hello/manifests/sha256:12", "MANIFEST_INVALID"),
    ] {
        let (status, actual, _) = testbed.engine.get(path, &[]).await.fault("request");
        assert_eq!((status, actual.as_str()), (400, code), "{path}");
    }
    assert!(testbed.hub.request_log().of(Site::Registry).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_token_request_is_400() {
    let testbed = Testbed::new().await;
    for form in ["", "grant_type=magic", "grant_type=password&username=u", "grant_type=refresh_token"] {
        let (status, _, message) = testbed.engine.post(form).await.fault("request");
        assert_eq!(status, 400, "{form}");
        assert!(message.contains("grant_type") || message.contains("the form has no"), "{message}");
    }
    assert_eq!(
        testbed.engine.get("/auth/token?scope=nonsense", &[]).await.status,
        200,
        "a scope is any word"
    );
    assert_eq!(testbed.engine.post(&"x".repeat(100_000)).await.fault("request").0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_gets_a_plain_http_400() {
    let testbed = Testbed::new().await;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut hello = Vec::new();
    ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut hello).unwrap();
    let received = send_raw(testbed.client.address(), &hello).await;
    let text = String::from_utf8_lossy(&received.bytes).into_owned();
    assert!(text.starts_with("HTTP/1.1 400"), "{text:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversize_request_head_is_431() {
    let testbed = Testbed::new().await;
    let address = testbed.client.address();
    let many: String = (0..150).map(|n| format!("X-{n}: 1\r\n")).collect();
    let long = format!("X-Long: {}\r\n", "x".repeat(300_000));
    for headers in [many, long] {
        let request = format!("GET /v2/ HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
        let mut raw = RawConnection::send(address, request.as_bytes()).await;
        raw.read_body(0).await;
        assert_eq!(raw.status(), 431);
    }
    // A head within the limits of HTTP that is too large for the tunnel gets a response, too.
    let credential = format!("Bearer {}", "x".repeat(60_000));
    let headers = [("authorization", credential.as_str()), ("user-agent", &"x".repeat(10_000))];
    assert_eq!(testbed.engine.get("/v2/", &headers).await.fault("request").0, 400);
    let few: String = (0..90).map(|n| format!("X-{n}: 1\r\n")).collect();
    let request = format!("GET /v2/ HTTP/1.1\r\nHost: {address}\r\n{few}Connection: close\r\n\r\n");
    assert_eq!(send_raw(address, request.as_bytes()).await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_request_delays_no_other() {
    let testbed = Testbed::new().await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        slow.push(RawConnection::send(testbed.client.address(), b"GET /v2/ HT").await);
    }
    let response = testbed.engine.get("/v2/", &[]).await;
    assert_eq!(response.status, 401);
    drop(slow);
}
