//! Prefetched items from a server that is slow, wrong or hostile.

use std::time::Duration;

use docxy_protocol::{
    digester::Digester,
    limits::PREFETCH_ITEMS_MAX,
    name::{Digest, Reference},
    prefetch::{ContentKind, PrefetchItem},
    request::{Operation, Request},
};
use http::Method;
use hub_stand_in::{Image, PlatformImage};

use crate::support::{
    http_client::{ANY, HttpResponse},
    scripted_server::{ScriptedResponse, ScriptedServer},
    testbed::{bytes, count, hello},
};

const DOCKERD: (&str, &str) = ("user-agent", "docker/29.0.1 go/go1.25.4");
const PUBLIC: (&str, &str) = ("authorization", "Bearer docxy-public");

/// Long enough for a response that does not wait.
const SHORT_WAIT: Duration = Duration::from_millis(300);

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

fn platform(image: &Image) -> &PlatformImage {
    image.platform(architecture()).unwrap()
}

fn digest(text: &impl ToString) -> Digest {
    text.to_string().parse().unwrap()
}

fn manifest_item(claimed: &Digest, content_type: &str, bytes: &[u8]) -> (PrefetchItem, Vec<u8>) {
    let content = ContentKind::Manifest { content_type: content_type.to_owned() };
    (PrefetchItem::new(claimed.clone(), content, bytes.len()).unwrap(), bytes.to_vec())
}

fn blob_item(claimed: &Digest, bytes: &[u8]) -> (PrefetchItem, Vec<u8>) {
    (PrefetchItem::new(claimed.clone(), ContentKind::Blob, bytes.len()).unwrap(), bytes.to_vec())
}

/// Index, manifest and config of an image, as a server prefetches them after a `HEAD`.
fn parts(image: &Image) -> Vec<(PrefetchItem, Vec<u8>)> {
    let chosen = platform(image);
    vec![
        manifest_item(&digest(image.digest()), image.index().media_type, &image.index().bytes),
        manifest_item(&digest(&chosen.manifest.digest), chosen.manifest.media_type, &chosen.manifest.bytes),
        blob_item(&digest(chosen.config.digest()), &bytes(&chosen.config)),
    ]
}

/// The response of a registry that has `image`, with these prefetched items where the request allows some.
fn registry(image: &Image, request: &Request, items: Vec<(PrefetchItem, Vec<u8>)>) -> ScriptedResponse {
    let index = image.index();
    let chosen = platform(image);
    let (media_type, found, body) = match &request.operation {
        Operation::Manifest { reference: Reference::Digest(requested), .. }
            if *requested == digest(&chosen.manifest.digest) =>
        {
            (chosen.manifest.media_type, &chosen.manifest.digest, chosen.manifest.bytes.to_vec())
        }
        Operation::Manifest { .. } => (index.media_type, &index.digest, index.bytes.to_vec()),
        _ => ("application/octet-stream", chosen.config.digest(), bytes(&chosen.config)),
    };
    let headers = [("content-type", media_type), ("docker-content-digest", found.as_str())];
    let received = ScriptedResponse::new(200, &headers, &body);
    if matches!(&request.operation, Operation::Manifest { reference: Reference::Tag(_), .. }) {
        ScriptedResponse { items, ..received }
    } else {
        received
    }
}

fn manifest(last: &impl ToString) -> String {
    format!("/v2/library/hello/manifests/{}", last.to_string())
}

async fn request(server: &ScriptedServer, method: Method, path: &str) -> HttpResponse {
    server.engine.request(method, path, &[PUBLIC, ANY, DOCKERD]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_its_prefetched_item() {
    let server = ScriptedServer::new(|request| registry(&hello(), request, parts(&hello()))).await;
    let image = hello();
    // The server has not sent the prefetched items yet.
    assert_eq!(request(&server, Method::HEAD, &manifest(&"latest")).await.status, 200);
    let engine = server.engine;
    let path = manifest(image.digest());
    let index = tokio::spawn(async move { engine.get(&path, &[PUBLIC, ANY, DOCKERD]).await });
    tokio::time::sleep(SHORT_WAIT).await;
    assert!(!index.is_finished(), "the request waits for the prefetched item");
    server.allow_prefetch(1);
    assert_eq!(index.await.unwrap().body, image.index().bytes);
    let chosen = platform(&image);
    let response = request(&server, Method::GET, &manifest(&chosen.manifest.digest)).await;
    assert_eq!(response.body, chosen.manifest.bytes);
    let config = format!("/v2/library/hello/blobs/{}", chosen.config.digest());
    assert_eq!(request(&server, Method::GET, &config).await.body, bytes(&chosen.config));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_item_is_requested() {
    let server = ScriptedServer::new(|request| registry(&hello(), request, Vec::new())).await;
    request(&server, Method::HEAD, &manifest(&"latest")).await;
    let (engine, image) = (server.engine, hello());
    let path = manifest(image.digest());
    let index = tokio::spawn(async move { engine.get(&path, &[PUBLIC, ANY, DOCKERD]).await });
    server.allow_prefetch(2);
    assert_eq!(index.await.unwrap().body, image.index().bytes);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wait_for_an_item_is_a_few_seconds() {
    let server = ScriptedServer::new(|request| registry(&hello(), request, parts(&hello()))).await;
    request(&server, Method::HEAD, &manifest(&"latest")).await;
    let image = hello();
    assert_eq!(request(&server, Method::GET, &manifest(image.digest())).await.body, image.index().bytes);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_item_ends_the_prefetch() {
    let image = hello();
    let wrong = Image::hello_from("another publisher").unwrap();
    let with_a_corrupt_item = move |request: &Request| {
        let mut items = parts(&hello());
        // Valid in form, wrong in content: the digest of one image, the bytes of another.
        let index = image.index();
        items[0] = manifest_item(&digest(image.digest()), index.media_type, &wrong.index().bytes);
        registry(&image, request, items)
    };
    let server = ScriptedServer::new(with_a_corrupt_item).await;
    server.allow_prefetch(usize::MAX >> 4);
    request(&server, Method::HEAD, &manifest(&"latest")).await;
    let image = hello();
    let chosen = platform(&image);
    assert_eq!(request(&server, Method::GET, &manifest(image.digest())).await.body, image.index().bytes);
    let response = request(&server, Method::GET, &manifest(&chosen.manifest.digest)).await;
    assert_eq!(response.body, chosen.manifest.bytes);
    assert_eq!(server.requests().len(), 3);
    assert_eq!(count(&server.client, "prefetch/rejected"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_manifest_is_not_cached() {
    let server = ScriptedServer::new(|request| {
        let image = hello();
        let received = registry(&image, request, Vec::new());
        ScriptedResponse { body: received.body.iter().map(|byte| byte ^ 1).collect(), ..received }
    })
    .await;
    server.allow_prefetch(usize::MAX >> 4);
    for expected_requests in 1..=2 {
        let response = request(&server, Method::GET, &manifest(hello().digest())).await;
        assert_ne!(
            response.body,
            hello().index().bytes,
            "the engine gets the corrupt bytes, and refuses them"
        );
        assert_eq!(server.requests().len(), expected_requests);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn items_beyond_the_limit_are_ignored() {
    let many = |request: &Request| {
        let items = (0..=PREFETCH_ITEMS_MAX as u32).map(|n| {
            let content = n.to_be_bytes();
            blob_item(&Digester::sha256().digest(&content), &content)
        });
        registry(&hello(), request, items.collect())
    };
    let server = ScriptedServer::new(many).await;
    server.allow_prefetch(usize::MAX >> 4);
    request(&server, Method::HEAD, &manifest(&"latest")).await;
    let blob = |n: u32| format!("/v2/library/hello/blobs/{}", Digester::sha256().digest(&n.to_be_bytes()));
    assert_eq!(request(&server, Method::GET, &blob(PREFETCH_ITEMS_MAX as u32 - 1)).await.body.len(), 4);
    assert_eq!(server.requests().len(), 1);
    request(&server, Method::GET, &blob(PREFETCH_ITEMS_MAX as u32)).await;
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_cached_after_the_engine_disconnects() {
    let server = ScriptedServer::new(|request| registry(&hello(), request, parts(&hello()))).await;
    drop(server.engine.begin(Method::HEAD, &manifest(&"latest"), &[PUBLIC, ANY, DOCKERD]).await);
    server.allow_prefetch(1);
    let image = hello();
    let chosen = platform(&image);
    let config = format!("/v2/library/hello/blobs/{}", chosen.config.digest());
    for path in [manifest(image.digest()), manifest(&chosen.manifest.digest), config] {
        assert_eq!(request(&server, Method::GET, &path).await.status, 200);
    }
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_challenge_is_learned() {
    let challenge = |service: &str, scope: &str| {
        let value = format!("Bearer realm=\"https://auth.example/token\",service=\"{service}\"{scope}");
        ScriptedResponse::new(
            401,
            &[("www-authenticate", &value), ("content-type", "application/json")],
            b"{}",
        )
    };
    // Its refusal of an invalid token names the new service.
    let server = ScriptedServer::new(move |request| match &request.operation {
        Operation::Ping => challenge("new.example", ""),
        operation => {
            let name = operation.repository().unwrap();
            challenge("new.example", &format!(",scope=\"repository:{name}:pull\",error=\"invalid_token\""))
        }
    })
    .await;
    let challenge_of = async |path: &str, token: Option<(&str, &str)>| {
        let headers: Vec<_> = [ANY].into_iter().chain(token).collect();
        let response = server.engine.get(path, &headers).await;
        assert_eq!(response.status, 401);
        response.header("www-authenticate").to_owned()
    };
    let (path, other) = (manifest(&"latest"), "/v2/library/other/manifests/latest");
    assert!(challenge_of("/v2/", None).await.contains("service=\"registry.docker.io\""));
    assert_eq!(server.requests().len(), 0);
    // An engine whose token is refused gets that response.
    assert!(challenge_of(&path, Some(PUBLIC)).await.contains("error=\"invalid_token\""));
    assert_eq!(server.requests().len(), 1);
    let now = challenge_of(other, None).await;
    assert!(now.contains("service=\"new.example\",scope=\"repository:library/other:pull\""), "{now}");
    assert!(!now.contains("error"), "{now}");
    assert!(challenge_of("/v2/", None).await.contains("service=\"new.example\""));
}
