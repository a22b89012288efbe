//! Transfers over each leg of the transport, with a server that the test plays.

mod beside_running_client;
mod layers_ahead;
mod neighbours;
mod server;

use super::*;
use crate::gateway::{BlobCache, Deadline, Engine, Gateway, ResponseDeadline};
use crate::metadata::Metadata;
use crate::settings::BlobSettings;
use crate::tunnel::{ServerState, Tunnel};
use docxy_host::blob_store::BlobLimits;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::digester::Digester;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::limits::SEGMENT_BYTES;
use docxy_transport::test_legs::TestLeg;
use futures_util::future::join_all;
use server::{Play, Seen};
use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// A body on the stream of its response, and one in segments, of which the last is short.
const LENGTHS: [u64; 2] = [100_000, 3 * SEGMENT_BYTES as u64 + 1000];

/// How long an interrupted transfer waits in these tests. A test that ends so is slower than all others.
const STALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Who reads a blob.
#[derive(Debug, Clone, Copy)]
enum Reader {
    /// An engine, through a request of its own.
    Engine,
    /// `docxy-client pull`, which knows the length before.
    Pull,
    /// An engine of a client that keeps layers.
    Keeping,
}

/// A client whose server plays.
struct Scene {
    gateway: Gateway,
    content: Bytes,
    seen: Seen,
    servers: watch::Receiver<Vec<ServerState>>,
    _server: AbortOnDropHandle<()>,
    /// Where the same client keeps layers, if it does.
    cache: OnceLock<(Gateway, BlobCache, tempfile::TempDir)>,
    metadata: Metadata,
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("an end in time")
}

impl Scene {
    fn begin(leg: TestLeg, length: u64, plays: Vec<Play>) -> Self {
        Self::with_stall_timeout(leg, length, plays, STALL_TIMEOUT)
    }

    fn with_stall_timeout(leg: TestLeg, length: u64, plays: Vec<Play>, stall_timeout: Duration) -> Self {
        let content: Bytes = (0..length).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
        let (servers, receiver) = watch::channel(Vec::new());
        let metadata = Metadata::open(None);
        let gateway = Gateway::new(Tunnel::of_servers(receiver.clone()), stall_timeout, metadata.clone());
        let seen = Seen::default();
        let server = tokio::spawn(server::run(leg, content.clone(), plays, servers, seen.clone()));
        let _server = AbortOnDropHandle::new(server);
        Self { gateway, content, seen, servers: receiver, _server, cache: OnceLock::new(), metadata }
    }

    /// The same client, which keeps layers.
    fn keeping(&self) -> &Gateway {
        let (keeping, ..) = self.cache.get_or_init(|| {
            let cache = tempfile::tempdir().unwrap();
            let blobs = BlobSettings {
                limits: Some(BlobLimits::default()),
                keeps_private: false,
                public_for: Duration::from_secs(60),
            };
            let blobs = BlobCache::open(Some(cache.path()), blobs, Duration::ZERO);
            (self.gateway.clone().with_blob_cache(blobs.clone()), blobs, cache)
        });
        keeping
    }

    /// The layers that it keeps.
    fn kept(&self) -> SharedBlobs {
        self.keeping();
        self.cache.get().and_then(|(_, blobs, _)| blobs.blobs()).unwrap()
    }

    /// The transfer of the blob, after the first session, for which a busy machine takes a while: a client without a server
    /// is one without a link.
    async fn transfer(&self, reader: Reader) -> Result<Transfer, Fault> {
        self.servers.clone().wait_for(|servers| !servers.is_empty()).await.unwrap();
        let digest = Digester::sha256().digest(&self.content);
        let repository = "library/hello".parse().unwrap();
        let operation = Operation::Blob { repository, digest: digest.clone(), method: Method::Get };
        let request =
            Request::new("docker.io".parse().unwrap(), operation).with_authorization(Authorization::Public);
        match reader {
            Reader::Pull => Ok(self.gateway.blob(request, 0..self.content.len() as u64).await),
            Reader::Engine | Reader::Keeping => {
                let timeout = Duration::from_secs(10);
                let deadline = ResponseDeadline::patient(Deadline::including_first_connect(timeout), timeout);
                let engine = Engine::new(1, &http::HeaderMap::new());
                let gateway = if matches!(reader, Reader::Keeping) { self.keeping() } else { &self.gateway };
                Ok(gateway.send(request, &engine, deadline).await?.into_body())
            }
        }
    }

    /// Reads the blob. Returns how it ended, and what came before.
    async fn read(&self, reader: Reader) -> (Result<(), Fault>, Vec<u8>) {
        let mut received = Vec::new();
        let mut body = match in_time(self.transfer(reader)).await {
            Ok(body) => body,
            Err(fault) => return (Err(fault), received),
        };
        loop {
            match self.next(&mut body).await {
                Ok(Some(bytes)) => received.extend_from_slice(&bytes),
                Ok(None) => return (Ok(()), received),
                Err(fault) => return (Err(fault), received),
            }
        }
    }

    async fn next(&self, body: &mut Transfer) -> Result<Option<Bytes>, Fault> {
        let next = in_time(body.next()).await;
        self.seen.begun.send_replace(true);
        next
    }

    async fn assert_whole(&self, reader: Reader, what: &str) {
        let (end, received) = self.read(reader).await;
        assert!(end.is_ok(), "{what}: {end:?} after {} bytes", received.len());
        assert!(received == self.content, "{what}: the bytes are wrong");
        assert!(self.gateway.transfers().snapshot().is_empty(), "{what}");
    }

    fn ranges(&self) -> Vec<String> {
        self.seen.ranges.lock().unwrap().clone()
    }
}

/// All combinations of legs, readers and lengths.
fn all() -> impl Iterator<Item = (TestLeg, Reader, u64)> {
    TestLeg::ALL.into_iter().flat_map(|leg| {
        let readers = [Reader::Engine, Reader::Pull, Reader::Keeping].into_iter();
        readers.flat_map(move |reader| LENGTHS.map(|length| (leg, reader, length)))
    })
}

#[tokio::test]
async fn a_whole_body_arrives() {
    for (leg, reader, length) in all() {
        let scene = Scene::begin(leg, length, vec![]);
        scene.assert_whole(reader, &format!("{leg:?} {reader:?} {length}")).await;
        assert_eq!(scene.ranges(), [""]);
    }
}

#[tokio::test]
async fn a_body_is_resumed_after_a_loss_at_any_offset() {
    for (leg, reader, length) in all() {
        let segment = u64::from(SEGMENT_BYTES);
        for offset in [1, 30_000, 99_999, segment - 1, segment, 2 * segment + 7, length - 1] {
            if offset >= length {
                continue;
            }
            let scene = Scene::begin(leg, length, vec![Play::LoseAfter(offset)]);
            let what = format!("{leg:?} {reader:?} {length} at {offset}");
            scene.assert_whole(reader, &what).await;
            let ranges = scene.ranges();
            // What had arrived is not requested again. In memory everything arrives at once.
            if leg == TestLeg::Memory && ranges.len() > 1 {
                assert_eq!(ranges, ["".to_owned(), format!("bytes={offset}-")], "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_is_lost_again_and_again_arrives() {
    for (leg, reader, length) in all() {
        let plays = (1..6).map(|n| Play::LoseAfter(n * 20_011)).collect();
        let scene = Scene::begin(leg, length, plays);
        scene.assert_whole(reader, &format!("{leg:?} {reader:?} {length}")).await;
    }
}

#[tokio::test]
async fn only_gaps_are_requested_again() {
    for leg in TestLeg::ALL {
        for reader in [Reader::Engine, Reader::Pull, Reader::Keeping] {
            let scene = Scene::begin(leg, LENGTHS[1], vec![Play::LoseWithGap]);
            scene.assert_whole(reader, &format!("{leg:?} {reader:?}")).await;
            let segment = SEGMENT_BYTES;
            if leg == TestLeg::Memory {
                let gaps = [format!("bytes=1000-{}", segment - 1), format!("bytes={}-", 2 * segment)];
                assert_eq!(scene.ranges()[1..], gaps, "{reader:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_registry_without_ranges_sends_the_whole_again() {
    for (leg, reader, length) in all() {
        let scene = Scene::begin(leg, length, vec![Play::LoseAfter(60_000), Play::IgnoreRange]);
        scene.assert_whole(reader, &format!("{leg:?} {reader:?} {length}")).await;
    }
}

#[tokio::test]
async fn wrong_bytes_never_become_a_whole_body() {
    for (leg, reader, length) in all() {
        for position in [0, length as usize / 2, length as usize - 1] {
            let scene = Scene::begin(leg, length, vec![Play::Corrupt(position)]);
            let (end, received) = scene.read(reader).await;
            let fault = end.unwrap_err();
            assert_eq!((fault.hop, fault.kind), (Hop::Cdn, FaultKind::Mismatch), "{leg:?} {reader:?}");
            assert!(received.len() as u64 <= length - 64 * 1024, "{} bytes of {length}", received.len());
            assert_eq!(scene.ranges().len(), 1, "the same bytes would come again");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_shorter_or_longer_than_announced_is_an_error() {
    for (leg, reader, length) in all() {
        for play in [Play::EndAfter(50_000), Play::EndAfter(length - 1), Play::GoOn] {
            let scene = Scene::begin(leg, length, vec![play.clone()]);
            let (end, received) = scene.read(reader).await;
            assert_eq!(end.unwrap_err().kind, FaultKind::Mismatch, "{leg:?} {reader:?} {length} {play:?}");
            assert!(scene.content.starts_with(&received));
            assert!((received.len() as u64) < length);
            assert_eq!(scene.ranges().len(), 1);
        }
    }
}

#[tokio::test]
async fn a_reader_that_leaves_stops_the_server() {
    for (leg, reader, length) in all() {
        let scene = Scene::begin(leg, length, vec![Play::StallAfter(70_000)]);
        let mut body = in_time(scene.transfer(reader)).await.unwrap();
        assert!(!scene.next(&mut body).await.unwrap().unwrap().is_empty());
        assert_eq!(scene.gateway.transfers().snapshot().len(), 1);
        drop(body);
        let mut stopped = scene.seen.stopped.subscribe();
        in_time(stopped.wait_for(|stopped| *stopped == 1)).await.unwrap();
        assert!(scene.gateway.transfers().snapshot().is_empty(), "{leg:?} {reader:?} {length}");
    }
}

#[tokio::test]
async fn a_transient_failure_only_delays_a_body() {
    let fault = |hop, kind| Fault::new(hop, kind, "soon better");
    let upstream = fault(Hop::Cdn, FaultKind::Truncated);
    let server = fault(Hop::Server, FaultKind::Overloaded);
    for leg in TestLeg::ALL {
        let cases = all().filter(|(of, ..)| *of == leg);
        // At a time, since each waits for its next attempt.
        join_all(cases.flat_map(|(_, reader, length)| {
            let within =
                [Play::AbortAfter(40_000, upstream.clone()), Play::AbortAfter(40_000, server.clone())];
            let rest = [
                Play::Refuse(fault(Hop::Registry, FaultKind::Unreachable)),
                Play::Reset(fault(Hop::Server, FaultKind::Cancelled)),
                Play::Respond(503),
                Play::Respond(429),
            ];
            let scenes = within.into_iter().map(|play| vec![play]);
            // An engine is told at once if the first response fails. The others go on.
            let scenes = scenes.chain(rest.map(|play| vec![Play::LoseAfter(40_000), play]));
            scenes.map(move |plays| async move {
                let what = format!("{leg:?} {reader:?} {length} {plays:?}");
                Scene::begin(leg, length, plays).assert_whole(reader, &what).await;
            })
        }))
        .await;
    }
}

#[tokio::test]
async fn a_first_response_may_fail_for_a_pull_and_not_for_an_engine() {
    let unreachable = Play::Refuse(Fault::new(Hop::Registry, FaultKind::Unreachable, "no route"));
    for leg in TestLeg::ALL {
        let scene = Scene::begin(leg, LENGTHS[0], vec![unreachable.clone()]);
        scene.assert_whole(Reader::Pull, &format!("{leg:?}")).await;
        let scene = Scene::begin(leg, LENGTHS[0], vec![unreachable.clone()]);
        let (end, _) = scene.read(Reader::Engine).await;
        assert_eq!(end.unwrap_err().kind, FaultKind::Unreachable, "{leg:?}");
        // A reset may have discarded the head of a response, so the request is sent again.
        let reset = Play::Reset(Fault::new(Hop::Server, FaultKind::Cancelled, ""));
        let scene = Scene::begin(leg, LENGTHS[0], vec![reset]);
        scene.assert_whole(Reader::Engine, &format!("{leg:?}")).await;
    }
}

#[tokio::test]
async fn a_permanent_failure_ends_a_body_without_another_try() {
    let fault = |hop, kind| Fault::new(hop, kind, "never better");
    for (leg, reader, length) in all() {
        for (plays, requests) in [
            (vec![Play::AbortAfter(40_000, fault(Hop::Server, FaultKind::Internal))], 1),
            (vec![Play::AbortAfter(40_000, fault(Hop::Cdn, FaultKind::RedirectRefused))], 1),
            // The server has tried again already.
            (vec![Play::AbortAfter(40_000, fault(Hop::Cdn, FaultKind::RetriesExhausted))], 1),
            (
                vec![
                    Play::LoseAfter(40_000),
                    Play::Refuse(fault(Hop::Registry, FaultKind::RegistryNotServed)),
                ],
                2,
            ),
            (vec![Play::LoseAfter(40_000), Play::Respond(404)], 2),
            (vec![Play::LoseAfter(40_000), Play::Respond(416)], 2),
            // The token of this request cannot be renewed.
            (vec![Play::LoseAfter(40_000), Play::Respond(401)], 2),
        ] {
            let scene = Scene::begin(leg, length, plays.clone());
            let (end, received) = scene.read(reader).await;
            assert!(end.is_err(), "{leg:?} {reader:?} {length} {plays:?}");
            assert!(scene.content.starts_with(&received) && (received.len() as u64) < length);
            assert_eq!(scene.ranges().len(), requests, "{leg:?} {reader:?} {length} {plays:?}");
        }
    }
}

#[tokio::test]
async fn a_body_that_stays_interrupted_ends_with_the_reason() {
    for leg in TestLeg::ALL {
        let refused = Play::Refuse(Fault::new(Hop::Cdn, FaultKind::Unreachable, "no route"));
        let plays = [vec![Play::LoseAfter(50_000)], vec![refused; 100]].concat();
        let scene = Scene::with_stall_timeout(leg, LENGTHS[0], plays, Duration::from_secs(1));
        let (end, received) = scene.read(Reader::Engine).await;
        let fault = end.unwrap_err();
        assert_eq!((fault.hop, fault.kind), (Hop::Cdn, FaultKind::TimedOut), "{fault}");
        assert!(fault.to_string().contains("no byte received for 1 s: no route"), "{fault}");
        assert!(scene.content.starts_with(&received));
    }
}

#[tokio::test]
async fn a_continued_body_that_stays_silent_ends_at_the_stall_timeout() {
    join_all(all().map(async |(leg, reader, length)| {
        let plays = vec![Play::LoseAfter(50_000), Play::StallAfter(0)];
        let scene = Scene::with_stall_timeout(leg, length, plays, Duration::from_secs(1));
        let (end, received) = scene.read(reader).await;
        let fault = end.unwrap_err();
        assert_eq!((fault.hop, fault.kind), (Hop::Tunnel, FaultKind::TimedOut), "{fault}");
        assert!(fault.to_string().contains("the connection was lost"), "{fault}");
        assert!(scene.content.starts_with(&received));
    }))
    .await;
}

#[tokio::test]
async fn a_pull_ends_when_the_registry_refuses_the_first_request_six_times() {
    join_all(TestLeg::ALL.map(async |leg| {
        let plays = vec![Play::Respond(429); 100];
        let scene = Scene::with_stall_timeout(leg, LENGTHS[0], plays, Duration::from_secs(60));
        let (end, received) = scene.read(Reader::Pull).await;
        assert!(end.unwrap_err().to_string().contains("429") && received.is_empty(), "{leg:?}");
        assert_eq!(scene.ranges().len(), 6, "{leg:?}");
    }))
    .await;
}

#[tokio::test]
async fn the_registry_lists_what_a_transfer_waits_for() {
    for leg in TestLeg::ALL {
        let plays = vec![Play::LoseAfter(80_000), Play::StallAfter(10_000)];
        let scene = Scene::begin(leg, LENGTHS[0], plays);
        let transfers = scene.gateway.transfers().clone();
        let mut changes = transfers.watch();
        let mut body = in_time(scene.transfer(Reader::Pull)).await.unwrap();
        let reading = async { while scene.next(&mut body).await.unwrap().is_some() {} };
        let waiting = async {
            loop {
                changes.changed().await.unwrap();
                let [transfer] = &transfers.snapshot()[..] else { panic!("one transfer runs") };
                assert_eq!((&*transfer.image, transfer.operation), ("docker.io/library/hello", "blob"));
                assert_eq!((transfer.length, transfer.bytes > LENGTHS[0]), (Some(LENGTHS[0]), false));
                if let Some(reason) = &transfer.reason {
                    assert!(reason.text.as_str().starts_with("tunnel: "), "{reason:?}");
                    assert!(transfer.server.is_some());
                    return;
                }
            }
        };
        tokio::select! {
            () = in_time(waiting) => {}
            () = reading => panic!("{leg:?}: nothing was interrupted"),
        }
        drop(body);
        assert!(transfers.snapshot().is_empty());
    }
}
