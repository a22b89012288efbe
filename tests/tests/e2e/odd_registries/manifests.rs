//! Manifests as some registries serve them: without `HEAD`, under a wrong digest, too large, by SHA-384.

use http::StatusCode;
use hub_stand_in::Digest;
use serde_json::json;
use sha2::{Digest as _, Sha384, Sha512};

use super::requested::Recorded;
use crate::support::{
    http_client::{ANY, HttpResponse},
    scripted_registry::{NAME, RegistryRequest, reply},
    testbed::restart_client,
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const BODY: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// The distribution spec's limit of a manifest.
const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;

fn manifest(digest: Option<&str>, body: &str) -> Vec<u8> {
    let digest = digest.map(|digest| format!("Docker-Content-Digest: {digest}\r\n")).unwrap_or_default();
    reply("200 OK", &format!("Content-Type: {INDEX}\r\nContent-Length: {}\r\n{digest}", body.len()), body)
}

fn right() -> String {
    Digest::of(BODY.as_bytes()).to_string()
}

/// Gets `path` of the repository with Docxy's public token, as an engine does that has seen a challenge.
async fn get(odd: &Recorded, repository: &str, path: &str) -> HttpResponse {
    let engine = odd.registry.testbed.engine;
    let bearer = engine.anonymous("library/hello").await;
    engine.get(&format!("/v2/{NAME}/{repository}/{path}"), &[("authorization", &bearer), ANY]).await
}

/// Fails each `HEAD` as its repository says.
fn without_head(request: &RegistryRequest) -> Option<Vec<u8>> {
    let repository = request.path.split('/').nth(2).unwrap_or_default();
    let broken = match repository {
        "silent" => return (request.method != "HEAD").then(|| manifest(Some(&right()), BODY)),
        "hangs-up" => Vec::new(),
        "no-http" => b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        "redirect" => reply("302 Found", "Location: https://nowhere.example\\/\r\n", ""),
        status => reply(&format!("{status} Broken"), "Content-Length: 0\r\n", ""),
    };
    Some(if request.method == "HEAD" { broken } else { manifest(Some(&right()), BODY) })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_works_again_and_again_at_a_registry_whose_head_is_broken() {
    let mut odd = Recorded::new(without_head).await;
    for repository in
        ["500", "501", "503", "400", "403", "404", "405", "hangs-up", "no-http", "redirect", "silent"]
    {
        for pull in 0..3 {
            if pull == 2 {
                // What the client has cached does not help.
                restart_client(&mut odd.registry.testbed.client);
            }
            let response = get(&odd, repository, "manifests/latest").await;
            assert_eq!(response.status, StatusCode::OK, "{repository}, pull {pull}: {response:?}");
            assert_eq!(response.body, BODY.as_bytes());
        }
        let gets = odd.take().iter().filter(|request| request.starts_with("GET")).count();
        assert!(gets <= 3, "{repository}: a pull costs one GET, not {gets} in three");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_a_head_reports_costs_no_get() {
    let odd = Recorded::new(|request| {
        if request.method == "HEAD" && request.path.contains("limited") {
            reply("429 Too Many Requests", "Content-Length: 0\r\n", "")
        } else {
            manifest(Some(&right()), BODY)
        }
    })
    .await;
    assert_eq!(get(&odd, "limited", "manifests/latest").await.status, StatusCode::OK);
    odd.take();
    assert_eq!(get(&odd, "limited", "manifests/latest").await.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(odd.take().iter().all(|request| request.starts_with("HEAD")));
}

/// Reports a digest for a tag as its repository says. By digest, there is the right manifest only.
fn with_digest(request: &RegistryRequest) -> Vec<u8> {
    let parts: Vec<&str> = request.path.split('/').collect();
    let sha512 = format!("sha512:{:x}", Sha512::digest(BODY));
    let zeros = format!("sha256:{}", "0".repeat(64));
    let is_tag = parts[4] == "latest";
    let reported = match parts[2] {
        "absent" => None,
        "malformed" => Some("latest".to_owned()),
        "upper-case" => Some(right().to_uppercase()),
        "sha512" => Some(sha512),
        "wrong" | "wrong-but-served" => Some(zeros.clone()),
        _ => Some(right()),
    };
    if is_tag || parts[4] == right() || (parts[2] == "wrong-but-served" && parts[4] == zeros) {
        let body = if request.method == "HEAD" { "" } else { BODY };
        let response = manifest(reported.as_deref(), BODY);
        return [&response[..response.len() - BODY.len()], body.as_bytes()].concat();
    }
    reply("404 Not Found", "Content-Length: 0\r\n", "")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tags_manifest_passes_whatever_digest_is_reported() {
    let mut odd = Recorded::new(with_digest).await;
    let zeros = format!("sha256:{}", "0".repeat(64));
    for repository in ["right", "absent", "malformed", "upper-case", "sha512", "wrong", "wrong-but-served"] {
        for pull in 0..3 {
            if pull == 2 {
                restart_client(&mut odd.registry.testbed.client);
            }
            let response = get(&odd, repository, "manifests/latest").await;
            assert_eq!(response.status, StatusCode::OK, "{repository}, pull {pull}: {response:?}");
            assert_eq!(response.body, BODY.as_bytes(), "{repository}");
            let reported = response.header("docker-content-digest");
            match repository {
                "wrong" | "wrong-but-served" => assert_eq!(reported, zeros),
                "absent" => assert_eq!(reported, ""),
                "malformed" => assert_eq!(reported, "latest"),
                _ => {}
            }
        }
        let by_digest = get(&odd, repository, &format!("manifests/{}", right())).await;
        assert_eq!((by_digest.status, by_digest.body.as_slice()), (StatusCode::OK, BODY.as_bytes()));
    }
    // Nothing is kept under a digest that it does not have, and what is requested by one must have it.
    assert_eq!(get(&odd, "wrong", &format!("manifests/{zeros}")).await.status, StatusCode::NOT_FOUND);
    let (status, _, message) =
        get(&odd, "wrong-but-served", &format!("manifests/{zeros}")).await.fault("registry");
    assert_eq!(status, 502);
    assert!(message.contains("does not match its digest"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn docxy_client_pull_takes_a_tag_with_a_wrong_digest() {
    let odd = Recorded::new(|request| {
        let blob = b"{}";
        if request.path.contains("/blobs/") {
            return reply("200 OK", "Content-Length: 2\r\n", blob);
        }
        let config = json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::of(blob).to_string(), "size": 2 });
        let body = json!({ "schemaVersion": 2, "config": config, "layers": [] }).to_string();
        let digest = format!("Docker-Content-Digest: sha256:{}\r\n", "0".repeat(64));
        let content_type = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
        reply("200 OK", &format!("{content_type}Content-Length: {}\r\n{digest}", body.len()), body)
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("image.tar");
    let arguments = ["pull", &format!("{NAME}/wrong"), "--output", output.to_str().unwrap()];
    let client = &odd.registry.testbed.client;
    let timeout = docxy_tests::process::PROCESS_TIMEOUT;
    tokio::task::block_in_place(|| client.command(&arguments, timeout)).unwrap();
    assert!(output.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_more_than_4_mib_is_413_and_requested_once() {
    let odd = Recorded::new(|request| {
        let repository = request.path.split('/').nth(2).unwrap_or_default();
        let length = if repository == "largest" { MANIFEST_BYTES_MAX } else { MANIFEST_BYTES_MAX + 1 };
        let body = format!("{{}}{}", " ".repeat(length - 2));
        if repository == "chunked" {
            let head = format!("Content-Type: {INDEX}\r\nTransfer-Encoding: chunked\r\n");
            return reply("200 OK", &head, format!("{length:x}\r\n{body}\r\n0\r\n\r\n"));
        }
        manifest(None, &body)
    })
    .await;
    let largest = get(&odd, "largest", "manifests/latest").await;
    assert_eq!((largest.status, largest.body.len()), (StatusCode::OK, MANIFEST_BYTES_MAX));
    odd.take();
    for repository in ["larger", "chunked"] {
        for reference in ["latest".to_owned(), right()] {
            let response = get(&odd, repository, &format!("manifests/{reference}")).await;
            let (status, code, message) = response.fault("registry");
            assert_eq!((status, code.as_str()), (413, "SIZE_INVALID"), "{repository}");
            assert!(
                message.contains("larger than docxy's limit") && message.contains("4194304"),
                "{message}"
            );
            assert_eq!(odd.take().len(), 1, "{repository}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_may_have_a_digest_of_any_algorithm_that_docxy_can_verify() {
    let odd = Recorded::new(|request| {
        let is_wrong = request.path.contains("/wrong/");
        let body = if is_wrong { BODY.replace('2', "3") } else { BODY.to_owned() };
        manifest(None, &body)
    })
    .await;
    let digests =
        [format!("sha384:{:x}", Sha384::digest(BODY)), format!("sha512:{:x}", Sha512::digest(BODY)), right()];
    for digest in &digests {
        for kind in ["manifests", "blobs"] {
            for _ in 0..2 {
                let response = get(&odd, "right", &format!("{kind}/{digest}")).await;
                assert_eq!((response.status, response.whole), (StatusCode::OK, true), "{kind} {digest}");
                assert_eq!(response.body, BODY.as_bytes(), "{kind} {digest}");
            }
        }
        assert_eq!(get(&odd, "wrong", &format!("manifests/{digest}")).await.status, StatusCode::BAD_GATEWAY);
        assert!(!get(&odd, "wrong", &format!("blobs/{digest}")).await.whole, "{digest}");
    }
    odd.take();
    for digest in [format!("blake3:{}", "0".repeat(64)), format!("sha384:{}", "0".repeat(64)), "md5:0".into()]
    {
        for (kind, code) in [("manifests", "MANIFEST_INVALID"), ("blobs", "DIGEST_INVALID")] {
            let (status, found, message) =
                get(&odd, "right", &format!("{kind}/{digest}")).await.fault("request");
            assert_eq!((status, found.as_str()), (400, code), "{digest}");
            assert!(message.contains("sha384"), "{message}");
        }
    }
    assert_eq!(odd.take(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_the_referrers_api_does_not_look_like_a_missing_repository() {
    let own = r#"{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}"#;
    let odd = Recorded::new(move |request| {
        let repository = request.path.split('/').nth(2).unwrap_or_default();
        let (content_type, body) = match repository {
            "html" => ("text/html", "<html>404</html>"),
            "text" => ("text/plain; charset=utf-8", "404 page not found\n"),
            "text-with-code" => ("text/plain", "NAME_UNKNOWN"),
            "json" => ("application/json", r#"{"message":"not found"}"#),
            "own" => ("application/json", own),
            _ => ("text/plain", ""),
        };
        let headers = format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
        reply("404 Not Found", &headers, body)
    })
    .await;
    let path = format!("referrers/{}", right());
    for repository in ["html", "text", "text-with-code", "json", "empty"] {
        let response = get(&odd, repository, &path).await;
        assert_eq!(response.status, StatusCode::NOT_FOUND);
        // At this code, clients do not look for the tag of the tag schema.
        assert_ne!(response.json()["errors"][0]["code"], "NAME_UNKNOWN", "{repository}");
    }
    let text = get(&odd, "text", &path).await.error();
    assert_eq!((text.1.as_str(), text.2.as_str()), ("UNSUPPORTED", "404 page not found"));
    // Only a registry can know this.
    assert_eq!(get(&odd, "own", &path).await.body, own.as_bytes());
    assert_eq!(get(&odd, "html", "tags/list").await.error().1, "NAME_UNKNOWN");
}
