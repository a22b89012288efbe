//! How requests name registries and repositories: twice, with ports, with words of the API.

use http::{Method, StatusCode};
use hub_stand_in::Image;

use super::requested::Recorded;
use crate::support::{
    http_client::ANY,
    scripted_registry::{NAME, reply},
    testbed::Testbed,
    two_registries::{OTHER, TwoRegistries, other_image},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_ns_and_path_name_is_named_once_upstream() {
    let two = TwoRegistries::new().await;
    let engine = two.testbed.engine;
    let image = other_image();
    let image = &image.platforms()[0];
    for path in [
        "manifests/latest".to_owned(),
        format!("manifests/{}", image.manifest.digest),
        format!("blobs/{}", image.config.digest()),
        format!("referrers/{}", image.manifest.digest),
        "tags/list".to_owned(),
    ] {
        for host in [OTHER.to_owned(), OTHER.to_ascii_uppercase(), format!("{OTHER}:443")] {
            let ping = engine.get(&format!("/v2/?ns={host}"), &[]).await;
            assert!(ping.header("www-authenticate").contains(&format!("/auth/token/{OTHER}")), "{ping:?}");
            let token = format!("/auth/token/{OTHER}?scope=repository:owner/image:pull");
            let bearer = engine.get(&token, &[]).await.bearer();
            let path = format!("/v2/{host}/owner/image/{path}?ns={}", host.replace(':', "%3A"));
            let response = engine.get(&path, &[("authorization", &bearer), ANY]).await;
            assert_eq!(response.status, StatusCode::OK, "{path}: {response:?}");
        }
    }
    // The challenge names the repository as containerd does: without the part that is in the path only.
    let path = format!("/v2/{OTHER}/owner/image/manifests/latest?ns={OTHER}");
    let challenge = engine.get(&path, &[]).await;
    assert_eq!(challenge.status, StatusCode::UNAUTHORIZED);
    let field = challenge.header("www-authenticate");
    assert!(field.contains("scope=\"repository:owner/image:pull\""), "{field}");
    assert!(two.testbed.hub.request_log().snapshot().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_in_the_path_that_ns_does_not_name_is_part_of_the_repository() {
    let odd = Recorded::new(|_| reply("200 OK", "Content-Length: 2\r\n", "{}")).await;
    let engine = odd.registry.testbed.engine;
    for (path, requested) in [
        (format!("/v2/{NAME}/{NAME}/a/manifests/1?ns={NAME}"), format!("/v2/{NAME}/a/manifests/1")),
        (format!("/v2/google.com/sdk/manifests/1?ns={NAME}"), "/v2/google.com/sdk/manifests/1".to_owned()),
        (
            format!("/v2/docker.io/library/a/manifests/1?ns={NAME}"),
            "/v2/docker.io/library/a/manifests/1".to_owned(),
        ),
        (format!("/v2/{NAME}/a/tags/list?%6es={NAME}&n=1"), "/v2/a/tags/list?n=1".to_owned()),
        // No repository of Docker Hub has such a name.
        (format!("/v2/{NAME}/a/manifests/1?ns=docker.io"), "/v2/a/manifests/1".to_owned()),
    ] {
        assert_eq!(engine.get(&path, &[]).await.status, StatusCode::OK, "{path}");
        assert_eq!(odd.take(), [format!("GET {requested}")], "{path}");
    }
    let (status, _, message) =
        engine.get(&format!("/v2/a/manifests/1?ns={NAME}&ns=other.example"), &[]).await.fault("request");
    assert_eq!(status, 400);
    assert!(message.contains("two registries"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_may_have_the_words_of_the_api_in_its_name() {
    let testbed = Testbed::new().await;
    let image = Image::hello().unwrap();
    for name in
        ["a/blobs/uploads", "blobs/uploads", "a/manifests", "tags/list", "a/referrers/blobs", "a/tags"]
    {
        testbed.hub.store().publish(name, "latest", &image);
        let bearer = testbed.engine.anonymous(name).await;
        let headers = [("authorization", bearer.as_str()), ANY];
        let config = image.platforms()[0].config.digest();
        for (path, methods) in [
            ("manifests/latest".to_owned(), &[Method::GET, Method::HEAD][..]),
            (format!("manifests/{}", image.digest()), &[Method::GET, Method::HEAD]),
            (format!("blobs/{config}"), &[Method::GET, Method::HEAD]),
            ("tags/list".to_owned(), &[Method::GET, Method::HEAD]),
            (format!("referrers/{}", image.digest()), &[Method::GET, Method::HEAD]),
        ] {
            for method in methods {
                let path = format!("/v2/{name}/{path}");
                let response = testbed.engine.request(method.clone(), &path, &headers).await;
                assert_eq!((response.status, response.whole), (StatusCode::OK, true), "{method} {path}");
                assert_eq!(response.body.is_empty(), *method == Method::HEAD, "{method} {path}");
            }
        }
        for path in ["blobs/uploads", "blobs/uploads/", "blobs/uploads/some-id"] {
            let path = format!("/v2/{name}/{path}");
            let response = testbed.engine.request(Method::POST, &path, &headers).await;
            assert_eq!(
                (response.status, response.header("allow")),
                (StatusCode::METHOD_NOT_ALLOWED, ""),
                "{path}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_a_list_is_answered_like_a_get() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let headers = [("authorization", bearer.as_str())];
    let referrers = format!("/v2/library/hello/referrers/{}", Image::hello().unwrap().digest());
    for path in ["/v2/library/hello/tags/list?n=1", &referrers] {
        let get = testbed.engine.get(path, &headers).await;
        let head = testbed.engine.head(path, &headers).await;
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        for name in ["content-type", "content-length", "link"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
    }
    let private = testbed.engine.head("/v2/alice/private/tags/list", &[]).await;
    assert_eq!(private.status, StatusCode::UNAUTHORIZED);
}
