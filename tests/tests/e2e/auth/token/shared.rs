//! One fetch of a token, and one of `/v2/`, for all that need it: it goes on without the engine that needed it first.

use std::time::Instant;

use docxy_protocol::limits::PING_AND_TOKEN_TIMEOUT;
use docxy_tests::process::PROCESS_TIMEOUT;
use http::StatusCode;
use hub_stand_in::{Fault, Image, Rule, Site};
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, REQUEST_TIMEOUT},
    raw_http::RawConnection,
    testbed::{Testbed, bytes},
};

const PUBLIC: (&str, &str) = ("authorization", "Bearer docxy-public");

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_two_wait_for_is_fetched_once_although_the_first_leaves() {
    let mut testbed = Testbed::new().await;
    let ((_, first), (blob, second)) = (testbed.with_blob(1, 1000), testbed.with_blob(2, 1000));
    testbed.hub.faults().arm(Rule::always(Fault::Hold { site: Site::Auth }));
    let address = testbed.engine.address();
    let leaving = RawConnection::get(address, &first, &[PUBLIC]).await;
    let is_token = |entry: &hub_stand_in::LoggedRequest| entry.site == Site::Auth;
    testbed.hub.request_log().wait_for(is_token, REQUEST_TIMEOUT).await.unwrap();
    let staying = RawConnection::get(address, &second, &[PUBLIC, ("connection", "close")]).await;
    let exchanges = |count| move |status: &serde_json::Value| status["exchanges"] == count;
    block_in_place(|| testbed.server.wait_for_status("serve both", PROCESS_TIMEOUT, exchanges(2))).unwrap();
    drop(leaving);
    block_in_place(|| testbed.server.wait_for_status("serve one", PROCESS_TIMEOUT, exchanges(1))).unwrap();
    testbed.hub.faults().clear();
    testbed.hub.faults().release();
    let response = staying.rest().await;
    assert_eq!((response.status(), response.body()), (200, &bytes(&blob)[..]));
    assert_eq!(testbed.hub.request_log().of(Site::Auth).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_v2_is_not_waited_for_longer_than_a_moment() {
    let testbed = Testbed::new().await;
    let (blob, path) = testbed.with_blob(1, 1000);
    testbed.hub.faults().arm(Rule::once(Fault::Hold { site: Site::Registry }));
    let started = Instant::now();
    let response = testbed.engine.get(&path, &[PUBLIC]).await;
    assert_eq!((response.status, response.body), (StatusCode::OK, bytes(&blob)));
    assert!(started.elapsed() < PING_AND_TOKEN_TIMEOUT, "it was waited for until it failed");
    let registry = testbed.hub.request_log().of(Site::Registry);
    assert!(registry[0].path == "/v2/" && registry[0].status.is_none(), "{registry:#?}");
    testbed.hub.faults().release();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_does_not_wait_for_a_silent_head() {
    let testbed = Testbed::new().await;
    let path = "/v2/library/hello/manifests/latest";
    // With a manifest in its store, the server asks by HEAD whether the tag has moved.
    assert_eq!(testbed.engine.get(path, &[PUBLIC, ANY]).await.status, StatusCode::OK);
    let newer = Image::hello_from("newer").unwrap();
    testbed.hub.store().publish("library/hello", "latest", &newer);
    testbed.hub.request_log().clear();
    testbed.hub.faults().arm(Rule::once(Fault::Hold { site: Site::Registry }).on("/manifests/latest"));
    let started = Instant::now();
    let response = testbed.engine.get(path, &[PUBLIC, ANY]).await;
    assert!(
        started.elapsed() < PING_AND_TOKEN_TIMEOUT,
        "it was waited for as long as for an engine's answer"
    );
    assert_eq!((response.status, response.body), (StatusCode::OK, newer.index().bytes.to_vec()));
    let requests = testbed.hub.request_log().snapshot();
    let of_tag: Vec<_> = requests
        .iter()
        .filter(|entry| entry.path == path)
        .map(|e| (&e.method[..], e.status.is_some()))
        .collect();
    assert_eq!(of_tag, [("HEAD", false), ("GET", true)]);
    testbed.hub.faults().release();
}
