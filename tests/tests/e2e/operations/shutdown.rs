//! Shutdown of the server and of the client: running transfers finish.

use std::time::{Duration, Instant};

use docxy_tests::{
    docxy::{Client, Server},
    process::{PROCESS_TIMEOUT, Process},
};
use http::StatusCode;
use hub_stand_in::Digest;
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient, HttpResponse, PROMPT_TIMEOUT},
    raw_http::{End, RawConnection, RawResponse},
    testbed::{Testbed, count, wait_until_down},
};

const LATEST: &str = "/v2/library/hello/manifests/latest";
const BLOB_LEN: u64 = 100 << 20;

struct Transfer {
    raw: RawConnection,
    digest: Digest,
}

impl Transfer {
    /// A transfer in progress that waits for its engine to read.
    async fn begin(testbed: &Testbed) -> Self {
        let (blob, path) = testbed.with_blob(1, BLOB_LEN);
        let bearer = testbed.engine.anonymous("library/hello").await;
        let headers = [("authorization", bearer.as_str()), ("connection", "close")];
        let mut raw = RawConnection::get(testbed.client.address(), &path, &headers).await;
        raw.read_body(1 << 20).await;
        Self { raw, digest: blob.digest().clone() }
    }

    async fn finish(self) {
        let received: RawResponse = self.raw.rest().await;
        assert_eq!((received.body().len() as u64, received.end), (BLOB_LEN, End::Fin));
        assert_eq!(Digest::of(received.body()), self.digest);
    }
}

async fn latest(engine: HttpClient) -> HttpResponse {
    let bearer = engine.anonymous("library/hello").await;
    engine.get(LATEST, &[("authorization", &bearer), ANY]).await
}

fn drain(server: &mut Server) {
    block_in_place(|| {
        server.process().signal("TERM").unwrap();
        server.wait_for_status("drain", PROCESS_TIMEOUT, |status| status["draining"] == true).unwrap();
    });
}

fn terminate(client: &mut Client) {
    let process = client.process();
    let is_closed = |process: &Process| Ok(process.listening()?.is_empty().then_some(()));
    block_in_place(|| {
        process.signal("TERM").unwrap();
        process.wait_for("close its port", PROCESS_TIMEOUT, is_closed).unwrap();
    });
}

fn assert_ends(process: &mut Process, within: Duration) {
    let status = block_in_place(|| process.wait_until_ended(within)).unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_finishes_its_transfers() {
    let mut testbed = Testbed::new().await;
    let transfer = Transfer::begin(&testbed).await;
    drain(&mut testbed.server);
    // Its client has no other server, so new requests do not wait for the end of the drain.
    assert_eq!(latest(testbed.engine).await.status, StatusCode::OK);
    transfer.finish().await;
    assert_ends(testbed.server.process(), PROCESS_TIMEOUT);
    wait_until_down(&mut testbed.client);
    assert_eq!(count(&testbed.client, "transfers/interruptions"), 0);
    let late = tokio::spawn(latest(testbed.engine));
    block_in_place(|| testbed.server.start_again()).unwrap();
    assert_eq!(late.await.unwrap().status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_stopped_twice_ends_at_once() {
    let mut testbed = Testbed::new().await;
    let transfer = Transfer::begin(&testbed).await;
    drain(&mut testbed.server);
    let started = Instant::now();
    testbed.server.process().signal("TERM").unwrap();
    assert_ends(testbed.server.process(), PROCESS_TIMEOUT);
    assert!(started.elapsed() < PROMPT_TIMEOUT, "{:?}", started.elapsed());
    block_in_place(|| testbed.server.start_again()).unwrap();
    transfer.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_client_finishes_its_transfers() {
    let mut testbed = Testbed::new().await;
    let transfer = Transfer::begin(&testbed).await;
    let mut idle = RawConnection::get(testbed.client.address(), "/health", &[]).await;
    idle.read_body(1).await;
    terminate(&mut testbed.client);
    // Connections without a request are closed at once, and new ones are refused.
    assert_eq!(idle.rest().await.end, End::Fin);
    let newcomer = tokio::net::TcpStream::connect(testbed.client.address()).await;
    assert!(newcomer.is_err(), "{newcomer:?}");
    transfer.finish().await;
    assert_ends(testbed.client.process(), PROCESS_TIMEOUT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_stopped_twice_ends_at_once() {
    let mut testbed = Testbed::new().await;
    let transfer = Transfer::begin(&testbed).await;
    terminate(&mut testbed.client);
    let started = Instant::now();
    testbed.client.process().signal("TERM").unwrap();
    assert_ends(testbed.client.process(), PROCESS_TIMEOUT);
    assert!(started.elapsed() < PROMPT_TIMEOUT, "{:?}", started.elapsed());
    assert!((transfer.raw.rest().await.body().len() as u64) < BLOB_LEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_programs_end_at_once() {
    let mut testbed = Testbed::new().await;
    let mut idle = RawConnection::get(testbed.client.address(), "/health", &[]).await;
    idle.read_body(1).await;
    let started = Instant::now();
    for process in [testbed.server.process(), testbed.client.process()] {
        process.signal("TERM").unwrap();
        assert_ends(process, PROCESS_TIMEOUT);
    }
    assert!(started.elapsed() < PROMPT_TIMEOUT, "{:?}", started.elapsed());
}
