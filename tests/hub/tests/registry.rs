//! The registry API: challenges, manifests, tags, referrers, redirects.

use std::time::Duration;

use http::{Method, StatusCode};
use hub_stand_in::{Artifact, Format, HubConfig, Image, LoggedRequest, Site, media_type};

use crate::support::{
    https_client::{ACCEPT_ANY, ACCEPT_SINGLE, FullResponse, REGISTRY},
    test_hub::{hello, start, start_with_config, test_store},
};

const CHALLENGE: &str = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\"";

#[tokio::test]
async fn a_ping_without_a_token_names_realm_and_service() {
    let (_hub, client) = start().await;
    let response = client.get(&format!("{REGISTRY}/v2/"), &[]).await;
    assert_eq!(response.status, StatusCode::UNAUTHORIZED);
    assert_eq!(response.header("www-authenticate"), CHALLENGE);
    assert_eq!(response.header("docker-distribution-api-version"), "registry/2.0");
    assert_eq!(response.code(), "UNAUTHORIZED");
}

#[tokio::test]
async fn a_ping_with_a_token_is_200() {
    let (_hub, client) = start().await;
    let bearer = client.bearer(&[]).await;
    let response = client.get(&format!("{REGISTRY}/v2/"), &[("authorization", &bearer)]).await;
    assert_eq!(response.status, StatusCode::OK);
}

#[tokio::test]
async fn a_manifest_without_a_token_names_its_scope() {
    let (_hub, client) = start().await;
    let response = client.get(&format!("{REGISTRY}/v2/library/hello/manifests/latest"), &[ACCEPT_ANY]).await;
    assert_eq!(response.status, StatusCode::UNAUTHORIZED);
    let expected = format!("{CHALLENGE},scope=\"repository:library/hello:pull\"");
    assert_eq!(response.header("www-authenticate"), expected);
}

#[tokio::test]
async fn a_token_for_another_repository_has_insufficient_scope() {
    let (_hub, client) = start().await;
    let bearer = client.bearer(&["library/other"]).await;
    let url = format!("{REGISTRY}/v2/library/hello/manifests/latest");
    let response = client.get(&url, &[("authorization", &bearer)]).await;
    assert_eq!(response.status, StatusCode::UNAUTHORIZED);
    let expected =
        format!("{CHALLENGE},scope=\"repository:library/hello:pull\",error=\"insufficient_scope\"");
    assert_eq!(response.header("www-authenticate"), expected);
}

#[tokio::test]
async fn a_token_that_is_forged_expired_or_revoked_is_invalid() {
    let (hub, client) = start().await;
    let revoked = client.bearer(&["library/hello"]).await;
    hub.tokens().revoke_all();
    hub.tokens().set_lifetime(Duration::ZERO);
    let expired = client.bearer(&["library/hello"]).await;
    for bearer in [revoked.as_str(), &expired, "Bearer nonsense", "Basic YTpi"] {
        let url = format!("{REGISTRY}/v2/library/hello/manifests/latest");
        let response = client.get(&url, &[("authorization", bearer)]).await;
        assert_eq!(response.status, StatusCode::UNAUTHORIZED);
        assert!(response.header("www-authenticate").ends_with(",error=\"invalid_token\""), "{bearer}");
    }
}

#[tokio::test]
async fn a_private_and_a_missing_repository_look_the_same() {
    let (_hub, client) = start().await;
    for name in ["alice/private", "alice/missing"] {
        let bearer = client.bearer(&[name]).await;
        let url = format!("{REGISTRY}/v2/{name}/manifests/latest");
        let response = client.get(&url, &[("authorization", &bearer)]).await;
        assert_eq!(response.status, StatusCode::UNAUTHORIZED);
        assert!(response.header("www-authenticate").ends_with(",error=\"insufficient_scope\""));
    }
}

#[tokio::test]
async fn a_manifest_has_the_same_fields_by_head_and_get() {
    let (_hub, client) = start().await;
    let bearer = client.bearer(&["library/hello"]).await;
    let image = hello();
    let digest = image.digest().as_str();
    for reference in ["latest", digest] {
        let url = format!("{REGISTRY}/v2/library/hello/manifests/{reference}");
        let accept = ("accept", media_type::OCI_INDEX);
        let get = client.get(&url, &[("authorization", &bearer), accept]).await;
        let head = client.head(&url, &[("authorization", &bearer), accept]).await;
        assert_eq!(get.body, image.index().bytes);
        assert!(head.body.is_empty());
        for response in [&get, &head] {
            assert_eq!(response.status, StatusCode::OK);
            assert_eq!(response.header("content-type"), media_type::OCI_INDEX);
            assert_eq!(response.header("content-length"), image.index().bytes.len().to_string());
            assert_eq!(response.header("docker-content-digest"), digest);
            assert_eq!(response.header("etag"), format!("\"{digest}\""));
        }
    }
}

#[tokio::test]
async fn a_manifest_with_a_matching_etag_is_304() {
    let (_hub, client) = start().await;
    let bearer = client.bearer(&["library/hello"]).await;
    let etag = format!("\"{}\"", hello().digest());
    let url = format!("{REGISTRY}/v2/library/hello/manifests/latest");
    let headers = [("authorization", bearer.as_str()), ACCEPT_ANY, ("if-none-match", &etag)];
    let response = client.get(&url, &headers).await;
    assert_eq!((response.status, response.body.len()), (StatusCode::NOT_MODIFIED, 0));
}

#[tokio::test]
async fn an_oci_index_that_is_not_accepted_is_404() {
    let (_hub, client) = start().await;
    let bearer = client.bearer(&["library/hello"]).await;
    let url = format!("{REGISTRY}/v2/library/hello/manifests/latest");
    let response = client.get(&url, &[("authorization", &bearer), ACCEPT_SINGLE]).await;
    assert_eq!((response.status, response.code().as_str()), (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"));
    assert!(response.text().contains("accept header does not support OCI indexes"));
}

#[tokio::test]
async fn accept_may_be_one_field_or_several() {
    let (_hub, client) = start().await;
    let bearer = client.bearer(&["library/hello"]).await;
    let url = format!("{REGISTRY}/v2/library/hello/manifests/latest");
    let joined = format!("{}, {};q=0.5", media_type::DOCKER_LIST, media_type::OCI_INDEX);
    let lines = [("authorization", bearer.as_str()), ACCEPT_SINGLE, ("accept", media_type::OCI_INDEX)];
    assert_eq!(client.get(&url, &lines).await.status, StatusCode::OK);
    let line = [("authorization", bearer.as_str()), ("accept", &joined)];
    assert_eq!(client.get(&url, &line).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_client_without_lists_gets_the_amd64_manifest_of_a_docker_list() {
    let (hub, client) = start().await;
    let image = hello().in_format(Format::Docker);
    hub.store().publish("library/old", "latest", &image);
    let bearer = client.bearer(&["library/old"]).await;
    let url = format!("{REGISTRY}/v2/library/old/manifests/latest");
    let single = client.get(&url, &[("authorization", &bearer), ACCEPT_SINGLE]).await;
    assert_eq!(single.header("content-type"), media_type::DOCKER_MANIFEST);
    assert_eq!(single.body, image.platform("amd64").unwrap().manifest.bytes);
    let list = ("accept", media_type::DOCKER_LIST);
    let whole = client.get(&url, &[("authorization", &bearer), list]).await;
    assert_eq!(whole.header("docker-content-digest"), image.digest().as_str());
}

#[tokio::test]
async fn missing_content_is_404_in_the_registrys_format() {
    let (_hub, client) = start().await;
    let bearer = client.bearer(&["library/hello"]).await;
    let absent = format!("sha256:{}", "0".repeat(64));
    for (path, code) in [
        ("manifests/nope".to_owned(), "MANIFEST_UNKNOWN"),
        (format!("manifests/{absent}"), "MANIFEST_UNKNOWN"),
        (format!("blobs/{absent}"), "BLOB_UNKNOWN"),
    ] {
        let url = format!("{REGISTRY}/v2/library/hello/{path}");
        let response = client.get(&url, &[("authorization", &bearer), ACCEPT_ANY]).await;
        assert_eq!((response.status, response.code().as_str()), (StatusCode::NOT_FOUND, code), "{path}");
    }
    for path in ["/v1/search", "/v2/_catalog", "/extensions/x"] {
        let response = client.get(&format!("{REGISTRY}{path}"), &[("authorization", &bearer)]).await;
        assert_eq!(response.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_push_is_405_in_the_registrys_format() {
    let (_hub, client) = start().await;
    let url = format!("{REGISTRY}/v2/library/hello/manifests/latest");
    let response = FullResponse::read(client.begin(Method::PUT, &url, &[]).await).await;
    assert_eq!((response.status, response.code().as_str()), (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"));
}

#[tokio::test]
async fn a_request_for_another_host_is_misdirected() {
    let (_hub, client) = start().await;
    let response = client.get(&format!("{REGISTRY}/v2/"), &[("host", "127.0.0.1:5080")]).await;
    assert_eq!(response.status, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn tag_pages_are_linked_by_path_or_by_url() {
    for absolute_links in [false, true] {
        let config = HubConfig { store: test_store(), absolute_links, ..HubConfig::default() };
        let (hub, client) = start_with_config(config).await;
        for tag in ["a", "b", "c"] {
            hub.store().publish("library/hello", tag, &hello());
        }
        let bearer = client.bearer(&["library/hello"]).await;
        let list = format!("{REGISTRY}/v2/library/hello/tags/list");
        let first = client.get(&format!("{list}?n=3"), &[("authorization", &bearer)]).await;
        assert_eq!(first.json()["tags"], serde_json::json!(["a", "b", "c"]));
        let base = if absolute_links { REGISTRY } else { "" };
        let link = format!("<{base}/v2/library/hello/tags/list?last=c&n=3>; rel=\"next\"");
        assert_eq!(first.header("link"), link);
        let last = client.get(&format!("{list}?last=c&n=3"), &[("authorization", &bearer)]).await;
        assert_eq!((&last.json()["tags"][0], last.header("link")), (&"latest".into(), ""));
    }
}

#[tokio::test]
async fn referrers_can_be_filtered() {
    let (hub, client) = start().await;
    let image = hello();
    for kind in ["application/vnd.in-toto+json", "application/spdx+json"] {
        hub.store().attach("library/hello", &Artifact::about(image.index(), kind, b"{}"));
    }
    let bearer = client.bearer(&["library/hello"]).await;
    let url = format!("{REGISTRY}/v2/library/hello/referrers/{}", image.digest());
    let all = client.get(&url, &[("authorization", &bearer)]).await;
    assert_eq!(all.header("content-type"), media_type::OCI_INDEX);
    assert_eq!(all.json()["manifests"].as_array().unwrap().len(), 2);
    let filtered = format!("{url}?artifactType=application/spdx%2Bjson");
    let some = client.get(&filtered, &[("authorization", &bearer)]).await;
    assert_eq!(some.header("oci-filters-applied"), "artifactType");
    assert_eq!(some.json()["manifests"].as_array().unwrap().len(), 1);
    let none = format!("{REGISTRY}/v2/library/hello/referrers/sha256:{}", "0".repeat(64));
    let none = client.get(&none, &[("authorization", &bearer)]).await;
    assert_eq!((none.status, none.json()["manifests"].clone()), (StatusCode::OK, serde_json::json!([])));
}

#[tokio::test]
async fn a_blob_is_redirected_to_a_signed_url_on_the_cdn_by_get_and_head() {
    let (_hub, client) = start().await;
    let bearer = client.bearer(&["library/hello"]).await;
    let image = hello();
    let layer = &image.platform("amd64").unwrap().layers[0].blob;
    let url = format!("{REGISTRY}/v2/library/hello/blobs/{}", layer.digest());
    for method in [Method::GET, Method::HEAD] {
        let response = client.begin(method, &url, &[("authorization", &bearer)]).await;
        assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
        let location = response.headers()["location"].to_str().unwrap();
        assert!(location.starts_with("https://production.cloudflare.docker.com/"), "{location}");
        assert!(location.contains("expires=") && location.contains("signature="), "{location}");
    }
}

#[tokio::test]
async fn a_tag_can_move_while_the_stand_in_runs() {
    let (hub, client) = start().await;
    let bearer = client.bearer(&["library/hello"]).await;
    let newer = Image::hello_from("a newer build").unwrap();
    hub.store().publish("library/hello", "latest", &newer);
    let url = format!("{REGISTRY}/v2/library/hello/manifests/latest");
    let response = client.head(&url, &[("authorization", &bearer), ACCEPT_ANY]).await;
    assert_eq!(response.header("docker-content-digest"), newer.digest().as_str());
    let old = format!("{REGISTRY}/v2/library/hello/manifests/{}", hello().digest());
    assert_eq!(client.head(&old, &[("authorization", &bearer), ACCEPT_ANY]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_request_log_has_every_request_with_fields_and_status() {
    let (hub, client) = start().await;
    let bearer = client.bearer(&["library/hello"]).await;
    let url = format!("{REGISTRY}/v2/library/hello/manifests/latest?ns=docker.io");
    client.get(&url, &[("authorization", &bearer), ACCEPT_SINGLE, ACCEPT_ANY]).await;
    let is_manifest = |entry: &LoggedRequest| entry.path.contains("/manifests/") && entry.status.is_some();
    let entry = hub.request_log().wait_for(is_manifest, Duration::from_secs(5)).await.unwrap();
    assert_eq!(entry.line(), "GET /v2/library/hello/manifests/latest");
    assert_eq!(entry.query_values("ns"), ["docker.io"]);
    assert_eq!(entry.header("host"), Some("registry-1.docker.io"));
    assert_eq!(entry.header_lines("accept").collect::<Vec<_>>(), [ACCEPT_SINGLE.1, ACCEPT_ANY.1]);
    assert_eq!(entry.authorization_scheme(), Some("Bearer"));
    assert_eq!(entry.status, Some(200));
    assert_eq!(hub.request_log().of(Site::Auth).len(), 1);
    let never = hub.request_log().wait_for(|entry| entry.path == "/nope", Duration::ZERO).await;
    assert!(never.unwrap_err().to_string().contains("GET /token"));
}
