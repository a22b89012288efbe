//! Tags and referrers: the next page of a list must be requested through the client.

use http::StatusCode;
use hub_stand_in::{Artifact, Hub, HubConfig, Site, media_type};

use crate::support::{
    http_client::{HttpClient, HttpResponse},
    testbed::{Testbed, hello, test_store},
};

/// The next page's path in `Link`, as an engine reads it.
fn next(response: &HttpResponse) -> Option<String> {
    let link = response.headers.get("link")?.to_str().unwrap();
    let (target, parameters) = link.strip_prefix('<').and_then(|link| link.split_once('>')).unwrap();
    assert_eq!(parameters, "; rel=\"next\"");
    assert!(target.starts_with("/v2/"), "{target} does not lead through the client");
    Some(target.to_owned())
}

async fn all_tags(engine: &HttpClient, first: &str) -> Vec<String> {
    let bearer = engine.anonymous("library/hello").await;
    let mut tags = Vec::new();
    let mut path = Some(first.to_owned());
    while let Some(current) = path {
        let response = engine.get(&current, &[("authorization", &bearer)]).await;
        assert_eq!(response.status, StatusCode::OK, "{current}");
        assert_eq!(response.json()["name"], "library/hello");
        let page = response.json()["tags"].as_array().unwrap().clone();
        tags.extend(page.iter().map(|tag| tag.as_str().unwrap().to_owned()));
        path = next(&response);
    }
    tags
}

#[tokio::test(flavor = "multi_thread")]
async fn tag_pages_link_to_the_client() {
    let tags: Vec<String> = (10..35).map(|n| format!("v{n}")).collect();
    for absolute_links in [false, true] {
        let config = HubConfig { store: test_store(), absolute_links, ..HubConfig::default() };
        let testbed = Testbed::of(Hub::start(config).await.unwrap());
        for tag in &tags {
            testbed.hub.store().publish("library/hello", tag, &hello());
        }
        let latest = ["latest".to_owned()];
        let all = [&latest[..], &tags].concat();
        assert_eq!(all_tags(&testbed.engine, "/v2/library/hello/tags/list?n=10").await, all);
        assert_eq!(all_tags(&testbed.engine, "/v2/hello/tags/list?n=7").await, all);
        assert_eq!(all_tags(&testbed.engine, "/v2/library/hello/tags/list").await, all);
        let rest = all_tags(&testbed.engine, "/v2/library/hello/tags/list?n=4&last=v20&ns=docker.io").await;
        assert_eq!(rest, tags[11..]);
        let request = testbed.hub.request_log().of(Site::Registry).pop().unwrap();
        assert!(request.query_values("ns").is_empty(), "{request:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_of_a_missing_repository_are_404() {
    let testbed = Testbed::new().await;
    let bearer = testbed.engine.anonymous("library/hello").await;
    let missing = testbed.engine.get("/v2/library/missing/tags/list", &[("authorization", &bearer)]).await;
    // Docker Hub does not reveal whether a repository exists to users who may not read it.
    assert_eq!(missing.error().1, "UNAUTHORIZED");
    assert_eq!(missing.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_can_be_listed_and_filtered() {
    let testbed = Testbed::new().await;
    let image = hello();
    for kind in ["application/vnd.in-toto+json", "application/spdx+json"] {
        testbed.hub.store().attach("library/hello", &Artifact::about(image.index(), kind, b"{}"));
    }
    let bearer = testbed.engine.anonymous("library/hello").await;
    let path = format!("/v2/library/hello/referrers/{}", image.digest());
    let get = async |path: &str| testbed.engine.get(path, &[("authorization", &bearer)]).await;
    for path in [path.clone(), format!("{path}?ns=docker.io")] {
        let all = get(&path).await;
        assert_eq!(all.header("content-type"), media_type::OCI_INDEX);
        assert_eq!(all.json()["manifests"].as_array().unwrap().len(), 2);
        assert_eq!(all.header("oci-filters-applied"), "");
    }
    let some = get(&format!("{path}?artifactType=application/spdx%2Bjson")).await;
    assert_eq!(some.header("oci-filters-applied"), "artifactType");
    assert_eq!(some.json()["manifests"][0]["artifactType"], "application/spdx+json");
    assert_eq!(some.json()["manifests"].as_array().unwrap().len(), 1);
    let none = get(&format!("/v2/library/hello/referrers/sha256:{}", "0".repeat(64))).await;
    assert_eq!((none.status, none.json()["manifests"].clone()), (StatusCode::OK, serde_json::json!([])));
}
