//! The CDN: signed URLs, ranges, streaming.

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hub_stand_in::{Blob, Transfer, TransferState};

use crate::support::test_hub::{publish_blob, start};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_signed_url_gives_the_full_blob() {
    let (hub, client) = start().await;
    let (bytes, url) = publish_blob(&hub, &client, 200_000).await;
    let response = client.get(&url, &[]).await;
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(response.header("content-length"), "200000");
    assert_eq!(response.header("accept-ranges"), "bytes");
    assert!(response.body == bytes);
}

#[tokio::test]
async fn credentials_are_rejected_with_400_and_xml() {
    let (hub, client) = start().await;
    let (_, url) = publish_blob(&hub, &client, 10).await;
    let response = client.get(&url, &[("authorization", "Bearer x")]).await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST);
    assert_eq!(response.header("content-type"), "application/xml");
    assert!(response.text().contains("<Code>InvalidArgument</Code>"));
}

#[tokio::test]
async fn a_changed_url_is_403_and_xml() {
    let (hub, client) = start().await;
    let (_, url) = publish_blob(&hub, &client, 10).await;
    let (path, _) = url.split_once('?').unwrap();
    for changed in
        [path.to_owned(), url.replace("expires=", "expires=9"), url.replace("signature=", "signature=A")]
    {
        let response = client.get(&changed, &[]).await;
        assert_eq!(response.status, StatusCode::FORBIDDEN);
        assert!(response.text().contains("<Code>AccessDenied</Code>"));
    }
}

#[tokio::test]
async fn ranges_give_206_with_an_exact_content_range() {
    let (hub, client) = start().await;
    let (bytes, url) = publish_blob(&hub, &client, 200_000).await;
    for (range, start, end) in [
        ("bytes=0-", 0, 200_000),
        ("bytes=70000-", 70_000, 200_000),
        ("bytes=5-9", 5, 10),
        ("bytes=-7", 199_993, 200_000),
    ] {
        let response = client.get(&url, &[("range", range)]).await;
        assert_eq!(response.status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(response.header("content-range"), format!("bytes {start}-{}/200000", end - 1));
        assert_eq!(response.header("content-length"), (end - start).to_string());
        assert!(response.body == bytes[start..end], "{range}");
    }
    let past_the_end = client.get(&url, &[("range", "bytes=200000-")]).await;
    assert_eq!(past_the_end.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(past_the_end.header("content-range"), "bytes */200000");
}

#[tokio::test]
async fn several_ranges_give_a_multipart_206() {
    let (hub, client) = start().await;
    let (bytes, url) = publish_blob(&hub, &client, 1000).await;
    let response = client.get(&url, &[("range", "bytes=0-3,990-")]).await;
    assert_eq!(response.status, StatusCode::PARTIAL_CONTENT);
    let boundary = response.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap();
    let mut expected = Vec::new();
    for (range, part) in [("0-3", &bytes[..4]), ("990-999", &bytes[990..])] {
        let head = format!("Content-Type: application/octet-stream\r\nContent-Range: bytes {range}/1000");
        expected.extend_from_slice(format!("\r\n--{boundary}\r\n{head}\r\n\r\n").as_bytes());
        expected.extend_from_slice(part);
    }
    expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert_eq!(response.header("content-length"), expected.len().to_string());
    assert!(response.body == expected);
}

#[tokio::test]
async fn head_and_if_none_match_send_no_body() {
    let (hub, client) = start().await;
    let (_, url) = publish_blob(&hub, &client, 1000).await;
    let head = client.head(&url, &[]).await;
    assert_eq!((head.status, head.header("content-length")), (StatusCode::OK, "1000"));
    let etag = head.header("etag").to_owned();
    assert_eq!(client.get(&url, &[("if-none-match", &etag)]).await.status, StatusCode::NOT_MODIFIED);
    let ranged = [("range", "bytes=5-"), ("if-range", "\"another\"")];
    assert_eq!(client.get(&url, &ranged).await.status, StatusCode::OK, "the range is of another version");
    assert_eq!(hub.transfers().snapshot().len(), 1);
}

#[tokio::test]
async fn a_slow_reader_slows_the_cdn_and_a_cancel_stops_it() {
    let (hub, client) = start().await;
    // More than the socket buffers of both ends hold.
    let blob = Blob::generated(1, 64 << 20);
    hub.store().add_blob("library/hello", blob.clone());
    let url = client.signed_url(blob.digest()).await;
    let mut response = client.begin(Method::GET, &url, &[]).await;
    let first = response.body_mut().frame().await.unwrap().unwrap();
    assert!(!first.data_ref().unwrap().is_empty());
    assert_eq!(hub.transfers().live(), 1);
    drop(response);
    let ended = |all: &[Transfer]| all[0].state == TransferState::Broken;
    let transfers = hub.transfers().wait_until(ended, WAIT_TIMEOUT).await.unwrap();
    assert!(transfers[0].sent < blob.len() / 2, "{} bytes were sent after the cancel", transfers[0].sent);
    assert_eq!(hub.transfers().live(), 0);
}
