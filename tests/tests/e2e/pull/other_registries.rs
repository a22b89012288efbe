//! Registries beside Docker Hub: how engines name them, and which credentials must never reach them.

use http::StatusCode;
use hub_stand_in::{Blob, Hub, HubConfig, LoggedRequest, Site};

use crate::support::{
    http_client::{ANY, basic},
    testbed::{ALICE, Testbed, bytes, test_store},
    two_registries::{OTHER, TwoRegistries, other_image},
};

#[tokio::test(flavor = "multi_thread")]
async fn ns_names_another_registry() {
    let two = TwoRegistries::new().await;
    let engine = two.testbed.engine;
    let ping = engine.get(&format!("/v2/?ns={OTHER}"), &[]).await;
    let realm = format!("/auth/token/{OTHER}");
    let challenge =
        format!("Bearer realm=\"http://{}{realm}\",service=\"container_registry\"", engine.address());
    assert_eq!(ping.header("www-authenticate"), challenge);
    let token = format!("{realm}?service=container_registry&scope=repository:owner/image:pull");
    let bearer = engine.get(&token, &[]).await.bearer();
    let path = format!("/v2/owner/image/manifests/latest?ns={OTHER}");
    let response = engine.get(&path, &[("authorization", &bearer), ANY]).await;
    assert_eq!(response.body, other_image().index().bytes);
    let request = two.other.request_log().of(Site::Registry).pop().unwrap();
    assert_eq!(
        (request.line().as_str(), request.query.as_str()),
        ("GET /v2/owner/image/manifests/latest", "")
    );
    assert!(two.testbed.hub.request_log().snapshot().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_path_part_names_another_registry() {
    let two = TwoRegistries::new().await;
    let engine = two.testbed.engine;
    // Engines that do not send `ns` use Docker Hub's realm, which they get from `/v2/`.
    let token = format!("/auth/token?service=127.0.0.1&scope=repository:{OTHER}/owner/image:pull");
    let bearer = engine.get(&token, &[]).await.bearer();
    let headers = [("authorization", bearer.as_str()), ANY];
    let response = engine.get(&format!("/v2/{OTHER}/owner/image/manifests/latest"), &headers).await;
    assert_eq!(response.header("docker-content-digest"), other_image().digest().as_str());
    let blob = Blob::generated(5, 3 << 20);
    two.other.store().add_blob("owner/image", blob.clone());
    let layer = engine.get(&format!("/v2/{OTHER}/owner/image/blobs/{}", blob.digest()), &headers).await;
    assert!(layer.whole && layer.body == bytes(&blob));
    assert!(two.testbed.hub.request_log().snapshot().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_registry_gets_no_docker_hub_password() {
    let two = TwoRegistries::new().await;
    let engine = two.testbed.engine;
    let credential = basic(ALICE.0, ALICE.1);
    let credential = ("authorization", credential.as_str());
    let private = format!("repository:{OTHER}/owner/private:pull");
    // The same account exists there, so a leaked password would open something.
    for path in [
        format!("/v2/?ns={OTHER}"),
        format!("/auth/token/{OTHER}?account=alice&service=container_registry&scope={private}"),
        format!("/auth/token/{OTHER}?service=container_registry&scope=repository:owner/private:pull"),
        format!("/auth/token/{OTHER}?service=registry.docker.io&offline_token=true"),
        format!("/auth/token?account=alice&service=container_registry&scope={private}"),
        format!("/auth/token?service=registry.docker.io&scope={private}"),
        format!("/auth/token?service=registry.docker.io&offline_token=true&scope={private}"),
        format!("/v2/{OTHER}/owner/private/manifests/latest"),
        format!("/v2/owner/private/manifests/latest?ns={OTHER}"),
        format!("/v2/owner/image/blobs/{}?ns={OTHER}", other_image().platforms()[0].config.digest()),
    ] {
        engine.get(&path, &[credential, ANY]).await;
    }
    for grant in [
        format!("grant_type=password&username={}&password={}", ALICE.0, ALICE.1),
        "grant_type=refresh_token&refresh_token=alices-own".to_owned(),
    ] {
        for path in ["/auth/token".to_owned(), format!("/auth/token/{OTHER}")] {
            engine.post_to(&path, &format!("{grant}&service=container_registry&scope={private}")).await;
        }
    }
    // Docker Hub gets no request for the other registry either.
    assert_eq!(two.testbed.hub.request_log().snapshot().len(), 0);
    let leaked = |entry: &LoggedRequest| {
        let secret = |text: &str| text.contains(ALICE.1) || text.contains("alices-own");
        entry.authorization_scheme() == Some("Basic")
            || entry.form.as_deref().is_some_and(secret)
            || entry.headers.iter().any(|(_, value)| secret(value))
            || secret(&entry.query)
    };
    let requests = two.other.request_log().snapshot();
    assert!(!requests.is_empty());
    assert_eq!(requests.iter().filter(|entry| leaked(entry)).collect::<Vec<_>>().len(), 0, "{requests:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlisted_registry_is_denied() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let headers = [("authorization", bearer.as_str()), ANY];
    for path in [
        "/v2/quay.example/owner/image/manifests/latest",
        "/v2/owner/image/manifests/latest?ns=quay.example",
        "/v2/?ns=quay.example",
        "/v2/quay.example/owner/image/tags/list",
    ] {
        let (status, code, message) = testbed.engine.get(path, &headers).await.fault("docxy server");
        assert_eq!((status, code.as_str()), (403, "DENIED"), "{path}");
        assert!(message.contains("quay.example"), "{message}");
    }
    assert!(testbed.hub.request_log().snapshot().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_hub_has_several_names() {
    let hub = Hub::start(HubConfig { store: test_store(), ..HubConfig::default() }).await.unwrap();
    let testbed = Testbed::of(hub);
    let bearer = testbed.engine.anonymous("library/hello").await;
    for path in [
        "/v2/library/hello/manifests/latest",
        "/v2/hello/manifests/latest",
        "/v2/library/hello/manifests/latest?ns=docker.io",
        "/v2/hello/manifests/latest?ns=docker.io",
        "/v2/docker.io/library/hello/manifests/latest",
        "/v2/docker.io/hello/manifests/latest",
        "/v2/index.docker.io/library/hello/manifests/latest",
        "/v2/library/hello/manifests/latest?ns=registry-1.docker.io",
    ] {
        let response = testbed.engine.get(path, &[("authorization", &bearer), ANY]).await;
        assert_eq!(response.status, StatusCode::OK, "{path}");
        let request = testbed.hub.request_log().of(Site::Registry).pop().unwrap();
        assert_eq!(request.path, "/v2/library/hello/manifests/latest", "{path}");
        assert_eq!(request.query, "", "{path}");
    }
}
