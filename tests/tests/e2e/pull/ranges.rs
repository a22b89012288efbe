//! Ranges, by which engines resume and lazy pulling reads.

use http::StatusCode;
use hub_stand_in::{Blob, Fault, Rule, Site};

use crate::support::{
    http_client::HttpResponse,
    testbed::{Testbed, bytes},
};

const BLOB_LEN: usize = 3_000_000;

struct Ranged {
    testbed: Testbed,
    bearer: String,
    path: String,
    bytes: Vec<u8>,
}

impl Ranged {
    async fn new() -> Self {
        let testbed = Testbed::new().await;
        let bearer = testbed.engine.anonymous("library/hello").await;
        let (blob, path): (Blob, String) = testbed.with_blob(1, BLOB_LEN as u64);
        Self { testbed, bearer, path, bytes: bytes(&blob) }
    }

    async fn get(&self, headers: &[(&str, &str)]) -> HttpResponse {
        let headers = [&[("authorization", self.bearer.as_str())], headers].concat();
        self.testbed.engine.get(&self.path, &headers).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_layer_is_206() {
    let ranged = Ranged::new().await;
    // The last ones fit on one stream. The others arrive in segments.
    for (range, start, end) in [
        ("bytes=0-", 0, BLOB_LEN),
        ("bytes=1234567-", 1_234_567, BLOB_LEN),
        ("bytes=524288-1048576", 524_288, 1_048_577),
        ("bytes=-2000000", 1_000_000, BLOB_LEN),
        ("bytes=5-9", 5, 10),
        ("bytes=2999999-", BLOB_LEN - 1, BLOB_LEN),
    ] {
        let response = ranged.get(&[("range", range)]).await;
        assert_eq!(response.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(response.header("content-range"), format!("bytes {start}-{}/{BLOB_LEN}", end - 1));
        assert_eq!(response.header("content-length"), (end - start).to_string());
        assert!(response.whole && response.body == ranged.bytes[start..end], "{range}");
        let cdn = ranged.testbed.hub.request_log().of(Site::Cdn).pop().unwrap();
        assert_eq!(cdn.header("range"), Some(range), "kept across the redirect");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_beyond_the_end_is_416() {
    let ranged = Ranged::new().await;
    let response = ranged.get(&[("range", "bytes=3000000-")]).await;
    assert_eq!(response.error().0, 416);
    assert_eq!(response.header("content-range"), format!("bytes */{BLOB_LEN}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_ranges_are_one_multipart_206() {
    let ranged = Ranged::new().await;
    let response = ranged.get(&[("range", "bytes=0-3,1000000-1999999,2999990-")]).await;
    assert_eq!(response.status, StatusCode::PARTIAL_CONTENT);
    let boundary = response.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap();
    let mut expected = Vec::new();
    for (start, end) in [(0, 4), (1_000_000, 2_000_000), (2_999_990, BLOB_LEN)] {
        let range = format!("Content-Range: bytes {start}-{}/{BLOB_LEN}", end - 1);
        let head = format!("\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n{range}\r\n\r\n");
        expected.extend_from_slice(head.as_bytes());
        expected.extend_from_slice(&ranged.bytes[start..end]);
    }
    expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert_eq!(response.header("content-length"), expected.len().to_string());
    assert!(response.whole && response.body == expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn if_range_with_another_etag_gives_the_whole_layer() {
    let ranged = Ranged::new().await;
    let etag = ranged.get(&[("range", "bytes=0-0")]).await.header("etag").to_owned();
    let same = ranged.get(&[("range", "bytes=5-"), ("if-range", &etag)]).await;
    assert_eq!((same.status, same.body.len()), (StatusCode::PARTIAL_CONTENT, BLOB_LEN - 5));
    let other = ranged.get(&[("range", "bytes=5-"), ("if-range", "\"another\"")]).await;
    assert!(other.status == StatusCode::OK && other.body == ranged.bytes);
    let known = ranged.get(&[("if-none-match", &etag)]).await;
    assert_eq!((known.status, known.body.len()), (StatusCode::NOT_MODIFIED, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ignored_range_is_200() {
    let ranged = Ranged::new().await;
    ranged.testbed.hub.faults().arm(Rule::once(Fault::IgnoreRange));
    let ignored = ranged.get(&[("range", "bytes=10-")]).await;
    assert!(ignored.status == StatusCode::OK && ignored.body == ranged.bytes);
    ranged.testbed.hub.faults().arm(Rule::once(Fault::WrongRange));
    let wrong = ranged.get(&[("range", "bytes=10-")]).await;
    assert_eq!(wrong.header("content-range"), format!("bytes 11-{}/{BLOB_LEN}", BLOB_LEN - 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_resume_requests_a_new_url() {
    let ranged = Ranged::new().await;
    for start in ["bytes=0-9", "bytes=10-19", "bytes=20-29"] {
        assert_eq!(ranged.get(&[("range", start)]).await.status, StatusCode::PARTIAL_CONTENT);
    }
    assert_eq!(ranged.testbed.hub.request_log().count(|entry| entry.path == ranged.path), 3);
}
