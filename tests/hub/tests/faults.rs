//! Scripted faults, from a client's view.

use std::time::{Duration, Instant};

use http::{Method, Request, StatusCode};
use hub_stand_in::{Fault, Rule, Site};

use crate::support::{
    https_client::{ACCEPT_ANY, AUTH, FullResponse, REGISTRY},
    test_hub::{hello, publish_blob, start},
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
const LATEST: &str = "https://registry-1.docker.io/v2/library/hello/manifests/latest";

#[tokio::test]
async fn a_cut_body_ends_at_the_byte_and_can_be_resumed() {
    let (hub, client) = start().await;
    let (bytes, url) = publish_blob(&hub, &client, 3_000_000).await;
    hub.faults().arm(Rule::once(Fault::CutAt { byte: 1_234_567 }));
    let cut = client.get(&url, &[]).await;
    assert_eq!(cut.header("content-length"), "3000000");
    assert!(cut.error.is_some());
    assert_eq!(cut.body.len(), 1_234_567);
    assert!(bytes.starts_with(&cut.body));
    let rest = client.get(&url, &[("range", &format!("bytes={}-", cut.body.len()))]).await;
    assert!(rest.error.is_none() && rest.body == bytes[cut.body.len()..]);
    assert!(hub.faults().armed().is_empty());
}

#[tokio::test]
async fn a_fault_hits_the_first_body_that_has_its_byte() {
    let (hub, client) = start().await;
    let (bytes, url) = publish_blob(&hub, &client, 100_000).await;
    hub.faults().arm(Rule::once(Fault::CorruptAt { byte: 70_000 }));
    assert!(client.get(&url, &[("range", "bytes=0-9")]).await.body == bytes[..10]);
    assert_eq!(hub.faults().armed().len(), 1);
    let corrupt = client.get(&url, &[]).await;
    assert!(corrupt.error.is_none());
    let wrong: Vec<_> = (0..bytes.len()).filter(|&at| corrupt.body[at] != bytes[at]).collect();
    assert_eq!(wrong, [70_000]);
}

#[tokio::test]
async fn a_stalled_body_continues_after_release() {
    let (hub, client) = start().await;
    let (bytes, url) = publish_blob(&hub, &client, 100_000).await;
    hub.faults().arm(Rule::once(Fault::StallAt { byte: 50_000 }));
    let body = FullResponse::read(client.begin(Method::GET, &url, &[]).await);
    let release = async {
        hub.transfers().wait_until(|all| all.iter().any(|t| t.sent == 50_000), WAIT_TIMEOUT).await.unwrap();
        assert_eq!(hub.transfers().live(), 1);
        hub.faults().release();
    };
    let (response, ()) = tokio::join!(body, release);
    assert!(response.body == bytes);
}

#[tokio::test]
async fn a_truncated_blob_looks_complete() {
    let (hub, client) = start().await;
    let (bytes, url) = publish_blob(&hub, &client, 100_000).await;
    hub.faults().arm(Rule::once(Fault::TruncateAt { byte: 60_000 }));
    let response = client.get(&url, &[]).await;
    assert_eq!(response.header("content-length"), "60000");
    assert!(response.error.is_none() && response.body == bytes[..60_000]);
}

#[tokio::test]
async fn a_range_can_be_ignored_or_wrong() {
    let (hub, client) = start().await;
    let (_, url) = publish_blob(&hub, &client, 1000).await;
    hub.faults().arm(Rule::once(Fault::IgnoreRange));
    let ignored = client.get(&url, &[("range", "bytes=10-")]).await;
    assert_eq!((ignored.status, ignored.body.len()), (StatusCode::OK, 1000));
    hub.faults().arm(Rule::once(Fault::WrongRange));
    let wrong = client.get(&url, &[("range", "bytes=10-")]).await;
    assert_eq!(wrong.header("content-range"), "bytes 11-999/1000");
}

#[tokio::test]
async fn a_redirect_can_lead_to_an_expired_url() {
    let (hub, client) = start().await;
    let image = hello();
    let config = image.platforms()[0].config.digest();
    hub.faults().arm(Rule::once(Fault::ExpiredUrl));
    let expired = client.get(&client.signed_url(config).await, &[]).await;
    assert_eq!(expired.status, StatusCode::FORBIDDEN);
    assert!(expired.text().contains("Request has expired"));
    assert_eq!(client.get(&client.signed_url(config).await, &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_registry_can_be_unavailable_for_a_number_of_requests() {
    let (hub, client) = start().await;
    let fault = Fault::Status { site: Site::Registry, status: 503, retry_after: Some(3) };
    hub.faults().arm(Rule::times(fault, 2));
    let bearer = client.bearer(&["library/hello"]).await;
    let headers = [("authorization", bearer.as_str()), ACCEPT_ANY];
    for _ in 0..2 {
        let response = client.get(LATEST, &headers).await;
        assert_eq!((response.status, response.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "3"));
        assert_eq!(response.code(), "UNAVAILABLE");
    }
    assert_eq!(client.get(LATEST, &headers).await.status, StatusCode::OK);
}

#[tokio::test]
async fn both_kinds_of_429_can_be_scripted() {
    let (hub, client) = start().await;
    let bearer = client.bearer(&["library/hello"]).await;
    let headers = [("authorization", bearer.as_str()), ACCEPT_ANY];
    hub.faults().arm(Rule::once(Fault::PullLimit));
    let json = client.get(LATEST, &headers).await;
    assert_eq!((json.status, json.code().as_str()), (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"));
    hub.faults().arm(Rule::once(Fault::AbuseLimit));
    let bare = client.get(LATEST, &headers).await;
    assert_eq!((bare.status, bare.text()), (StatusCode::TOO_MANY_REQUESTS, "Too Many Requests"));
}

#[tokio::test]
async fn a_valid_token_can_be_rejected() {
    let (hub, client) = start().await;
    let bearer = client.bearer(&["library/hello"]).await;
    hub.faults().arm(Rule::once(Fault::InvalidToken).on("/manifests/"));
    let response = client.get(LATEST, &[("authorization", &bearer), ACCEPT_ANY]).await;
    assert!(response.header("www-authenticate").ends_with("error=\"invalid_token\""));
}

#[tokio::test]
async fn a_token_can_be_delayed_or_held() {
    let (hub, client) = start().await;
    hub.faults().arm(Rule::once(Fault::Delay { site: Site::Auth, millis: 150 }));
    let asked = Instant::now();
    client.bearer(&["library/hello"]).await;
    assert!(asked.elapsed() >= Duration::from_millis(150));

    hub.faults().arm(Rule::once(Fault::Hold { site: Site::Auth }));
    let release = async {
        hub.faults().wait_until_spent(WAIT_TIMEOUT).await.unwrap();
        hub.faults().release();
    };
    tokio::join!(client.bearer(&["library/hello"]), release);
}

#[tokio::test]
async fn a_host_can_close_the_connection_without_a_response() {
    let (hub, client) = start().await;
    hub.faults().arm(Rule::once(Fault::HangUp { site: Site::Auth }));
    let request = || Request::get(format!("{AUTH}/token")).body(String::new()).unwrap();
    assert!(client.try_send(request()).await.is_err());
    assert!(client.try_send(request()).await.is_ok());
}

#[tokio::test]
async fn a_body_can_end_in_its_middle_with_or_without_a_length_or_a_pause() {
    let (hub, client) = start().await;
    let bearer = client.bearer(&["library/hello"]).await;
    let headers = [("authorization", bearer.as_str()), ACCEPT_ANY];
    let half = hello().index().bytes.len() / 2;
    let site = Site::Registry;
    for faults in [&[Fault::BreakOff { site }][..], &[Fault::BreakOff { site }, Fault::NoLength]] {
        faults.iter().for_each(|fault| hub.faults().arm(Rule::once(fault.clone())));
        let cut = client.get(LATEST, &headers).await;
        assert!(cut.error.is_some() && cut.body == hello().index().bytes[..half], "{faults:?}");
        assert!(hub.faults().armed().is_empty());
    }
    hub.faults().arm(Rule::once(Fault::FallSilent { site }));
    let silent = client.begin(Method::GET, LATEST, &headers).await;
    hub.faults().release();
    let silent = FullResponse::read(silent).await;
    assert!(silent.error.is_some() && silent.body.len() == half);
}

#[tokio::test]
async fn a_manifest_can_come_without_a_length() {
    let (hub, client) = start().await;
    let bearer = client.bearer(&["library/hello"]).await;
    let headers = [("authorization", bearer.as_str()), ACCEPT_ANY];
    hub.faults().arm(Rule::times(Fault::NoLength, 2));
    let head = client.head(&format!("{REGISTRY}/v2/library/hello/manifests/latest"), &headers).await;
    assert!(!head.headers.contains_key("content-length"));
    let get = client.get(LATEST, &headers).await;
    assert_eq!(get.header("transfer-encoding"), "chunked");
    assert!(get.body == hello().index().bytes);
}
