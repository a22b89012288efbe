//! Manifests: requests reach the registry unchanged, and responses the engine.

use http::{Method, StatusCode};
use hub_stand_in::{Fault, Format, LoggedRequest, Rule, Site, media_type};

use crate::support::{
    http_client::ANY,
    raw_http::{End, send_raw},
    testbed::{Testbed, hello},
};

const LATEST: &str = "/v2/library/hello/manifests/latest";

#[tokio::test(flavor = "multi_thread")]
async fn accept_headers_keep_their_order() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let accept = [
        media_type::DOCKER_MANIFEST,
        media_type::OCI_INDEX,
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/json",
        media_type::OCI_MANIFEST,
        media_type::DOCKER_LIST,
    ];
    let mut headers: Vec<_> = accept.iter().map(|line| ("accept", *line)).collect();
    headers.push(("authorization", &bearer));
    for method in [Method::HEAD, Method::GET] {
        let response = testbed.engine.request(method, LATEST, &headers).await;
        assert_eq!(response.status, StatusCode::OK);
        let request = testbed.hub.request_log().of(Site::Registry).pop().unwrap();
        assert_eq!(request.header_lines("accept").collect::<Vec<_>>(), accept);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_type_length_and_digest() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let image = hello();
    for reference in ["latest", image.digest().as_str()] {
        let path = format!("/v2/library/hello/manifests/{reference}");
        let response = testbed.engine.head(&path, &[("authorization", &bearer), ANY]).await;
        assert_eq!(response.status, StatusCode::OK);
        assert_eq!(response.header("content-type"), media_type::OCI_INDEX);
        assert_eq!(response.header("content-length"), image.index().bytes.len().to_string());
        assert_eq!(response.header("docker-content-digest"), image.digest().as_str());
        assert_eq!(response.header("ratelimit-remaining"), "100;w=21600", "a HEAD must stay one");
    }
    let is_get = |entry: &LoggedRequest| entry.path.contains("/manifests/") && entry.method == "GET";
    assert_eq!(testbed.hub.request_log().count(is_get), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_a_missing_manifest_is_404() {
    let testbed = Testbed::new().await;
    let (address, bearer) = (testbed.client.address(), testbed.engine.anonymous("library/hello").await);
    let path = "/v2/library/hello/manifests/missing";
    let get = testbed.engine.get(path, &[("authorization", &bearer), ANY]).await;
    let request = format!(
        "HEAD {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: {bearer}\r\nConnection: close\r\n\r\n"
    );
    let received = send_raw(address, request.as_bytes()).await;
    assert_eq!((received.status(), received.body(), received.end), (404, &b""[..], End::Fin));
    assert!(
        received.head().contains(&format!("content-length: {}\r\n", get.body.len())),
        "{}",
        received.head()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_arrive_unchanged_by_tag_and_digest() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    for format in [Format::Oci, Format::Docker] {
        let image = hello().in_format(format);
        testbed.hub.store().publish("library/hello", "latest", &image);
        for manifest in image.manifests() {
            let digest = manifest.digest.as_str();
            let path = format!("/v2/library/hello/manifests/{digest}");
            let response = testbed.engine.get(&path, &[("authorization", &bearer), ANY]).await;
            assert_eq!(response.body, manifest.bytes);
            assert_eq!(response.header("content-type"), manifest.media_type);
            assert_eq!(response.header("content-length"), manifest.bytes.len().to_string());
            assert_eq!(response.header("docker-content-digest"), digest);
        }
        let by_tag = testbed.engine.get(LATEST, &[("authorization", &bearer), ANY]).await;
        assert_eq!(by_tag.body, image.index().bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_manifest_is_304() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let first = testbed.engine.get(LATEST, &[("authorization", &bearer), ANY]).await;
    let etag = first.header("etag");
    assert_eq!(etag, format!("\"{}\"", hello().digest()));
    let headers = [("authorization", bearer.as_str()), ANY, ("if-none-match", etag)];
    for method in [Method::GET, Method::HEAD] {
        let again = testbed.engine.request(method, LATEST, &headers).await;
        assert_eq!((again.status, again.body.len(), again.whole), (StatusCode::NOT_MODIFIED, 0, true));
        assert_eq!(again.header("etag"), etag);
        assert_eq!(again.header("docker-content-digest"), hello().digest().as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_tag_or_signature_is_404() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let signature = format!("sha256-{}.sig", hello().digest().hex());
    let absent = format!("sha256:{}", "0".repeat(64));
    for reference in [signature.as_str(), "missing", &absent] {
        let path = format!("/v2/library/hello/manifests/{reference}");
        let response = testbed.engine.get(&path, &[("authorization", &bearer), ANY]).await;
        let (status, code, message) = response.error();
        assert_eq!((status, code.as_str(), message.as_str()), (404, "MANIFEST_UNKNOWN", "manifest unknown"));
        assert!(response.json()["errors"][0]["detail"].is_object(), "the registry's own body: {response:?}");
        let head = testbed.engine.head(&path, &[("authorization", &bearer), ANY]).await;
        assert_eq!(head.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_without_oci_gets_the_registrys_error() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let old = ("accept", media_type::DOCKER_MANIFEST);
    let response = testbed.engine.get(LATEST, &[("authorization", &bearer), old]).await;
    let (status, code, message) = response.error();
    assert_eq!((status, code.as_str()), (404, "MANIFEST_UNKNOWN"));
    assert!(message.contains("accept header does not support OCI indexes"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_unknown_length_arrives_whole() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    testbed.hub.faults().arm(Rule::once(Fault::NoLength));
    let response = testbed.engine.get(LATEST, &[("authorization", &bearer), ANY]).await;
    assert!(response.whole && response.body == hello().index().bytes);
    assert_eq!(response.header("docker-content-digest"), hello().digest().as_str());
    assert!(testbed.hub.faults().armed().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let testbed = Testbed::new().await;
    let (address, bearer) = (testbed.client.address(), testbed.engine.anonymous("library/hello").await);
    let get = |path: &str, last: bool| {
        let end = if last { "Connection: close\r\n" } else { "" };
        format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: {bearer}\r\nAccept: */*\r\n{end}\r\n"
        )
    };
    let image = hello();
    let by_digest = format!("/v2/library/hello/manifests/{}", image.platforms()[0].manifest.digest);
    let received = send_raw(address, (get(LATEST, false) + &get(&by_digest, true)).as_bytes()).await;
    let text = String::from_utf8(received.bytes).unwrap();
    let index = text.find(std::str::from_utf8(&image.index().bytes).unwrap()).unwrap();
    let manifest = std::str::from_utf8(&image.platforms()[0].manifest.bytes).unwrap();
    assert!(text.ends_with(manifest) && index < text.len() - manifest.len());
}
