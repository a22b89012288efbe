//! The end of a server and of a client: what runs is finished, nothing new is begun.

use std::time::{Duration, Instant};

use docxy_tests::{
    docxy::{Client, Server},
    hub::Digest,
    process::{PATIENCE, Process},
};
use http::StatusCode;
use tokio::task::block_in_place;

use crate::support::{
    http_client::ANY,
    raw_http::{End, Raw, Said},
    testbed::{World, wait_until_down},
};

const LATEST: &str = "/v2/library/hello/manifests/latest";
const LEN: u64 = 100 << 20;

/// What counts as "at once": no grace is given, but a goodbye may leave.
const AT_ONCE: Duration = Duration::from_secs(4);

struct Transfer {
    raw: Raw,
    digest: Digest,
}

impl Transfer {
    /// One that is under way, and waits for its engine.
    async fn begin(world: &World) -> Self {
        let (blob, path) = world.with_blob(1, LEN);
        let bearer = world.engine.anonymous("library/hello").await;
        let headers = [("authorization", bearer.as_str()), ("connection", "close")];
        let mut raw = Raw::get(world.client.address(), &path, &headers).await;
        raw.read_body(1 << 20).await;
        Self { raw, digest: blob.digest().clone() }
    }

    async fn finish(self) {
        let said: Said = self.raw.rest().await;
        assert_eq!((said.body().len() as u64, said.end), (LEN, End::Fin));
        assert_eq!(Digest::of(said.body()), self.digest);
    }
}

fn drain(server: &mut Server) {
    block_in_place(|| {
        server.process().signal("TERM").unwrap();
        server.wait_for_status("drain", PATIENCE, |status| status["draining"] == true).unwrap();
    });
}

fn end(client: &mut Client) {
    let process = client.process();
    let is_closed = |process: &Process| Ok(process.listening()?.is_empty().then_some(()));
    block_in_place(|| {
        process.signal("TERM").unwrap();
        process.wait_for("close its port", PATIENCE, is_closed).unwrap();
    });
}

fn ends_well(process: &mut Process, within: Duration) {
    let status = block_in_place(|| process.wait_until_ended(within)).unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_finishes_its_transfers() {
    let mut world = World::new().await;
    let transfer = Transfer::begin(&world).await;
    drain(&mut world.server);
    wait_until_down(&mut world.client);
    let engine = world.engine;
    let late = tokio::spawn(async move {
        let bearer = engine.anonymous("library/hello").await;
        engine.get(LATEST, &[("authorization", &bearer), ANY]).await
    });
    transfer.finish().await;
    ends_well(world.server.process(), PATIENCE);
    assert_eq!(world.hub.request_log().count(|entry| entry.path == LATEST), 0);
    assert!(!late.is_finished(), "it waits for the server to come back");
    block_in_place(|| world.server.start_again()).unwrap();
    assert_eq!(late.await.unwrap().status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_stopped_twice_ends_at_once() {
    let mut world = World::new().await;
    let transfer = Transfer::begin(&world).await;
    drain(&mut world.server);
    let started = Instant::now();
    world.server.process().signal("TERM").unwrap();
    ends_well(world.server.process(), PATIENCE);
    assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
    block_in_place(|| world.server.start_again()).unwrap();
    transfer.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_client_finishes_its_transfers() {
    let mut world = World::new().await;
    let transfer = Transfer::begin(&world).await;
    let mut idle = Raw::get(world.client.address(), "/health", &[]).await;
    idle.read_body(1).await;
    end(&mut world.client);
    // Connections without a request go at once, and nobody new is let in.
    assert_eq!(idle.rest().await.end, End::Fin);
    let newcomer = tokio::net::TcpStream::connect(world.client.address()).await;
    assert!(newcomer.is_err(), "{newcomer:?}");
    transfer.finish().await;
    ends_well(world.client.process(), PATIENCE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_stopped_twice_ends_at_once() {
    let mut world = World::new().await;
    let transfer = Transfer::begin(&world).await;
    end(&mut world.client);
    let started = Instant::now();
    world.client.process().signal("TERM").unwrap();
    ends_well(world.client.process(), PATIENCE);
    assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
    assert!((transfer.raw.rest().await.body().len() as u64) < LEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_programs_end_at_once() {
    let mut world = World::new().await;
    let mut idle = Raw::get(world.client.address(), "/health", &[]).await;
    idle.read_body(1).await;
    let started = Instant::now();
    for process in [world.server.process(), world.client.process()] {
        process.signal("TERM").unwrap();
        ends_well(process, PATIENCE);
    }
    assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
}
