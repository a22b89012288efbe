use super::*;
use crate::status::Cause;
use crate::transfer::WaitsFor;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::name::Registry;
use docxy_protocol::request::{Method, Operation, Request};
use serde_json::json;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn digest(n: u8) -> Digest {
    format!("sha256:{}", format!("{n:02x}").repeat(32)).parse().unwrap()
}

/// An image of layers with these numbers, each of 100 bytes, with config 99 of 10 bytes.
fn image(layers: &[u8]) -> Manifest {
    let blob = |n: u8, size: u64| json!({ "mediaType": "x", "digest": digest(n).to_string(), "size": size });
    let layers: Vec<_> = layers.iter().map(|n| blob(*n, 100)).collect();
    let text = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": blob(99, 10), "layers": layers });
    Manifest::parse(text.to_string().as_bytes(), Some(MANIFEST)).unwrap()
}

/// An index with this manifest.
fn index(manifest: u8) -> Manifest {
    let entry = json!({ "mediaType": MANIFEST, "digest": digest(manifest).to_string(), "size": 9,
        "platform": { "os": "linux", "architecture": "arm64" } });
    let text = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] });
    Manifest::parse(text.to_string().as_bytes(), Some(INDEX)).unwrap()
}

struct Day {
    pulls: Pulls,
    now: Moment,
    next: u64,
}

impl Day {
    fn new() -> Self {
        Self { pulls: Pulls::default(), now: Moment::now(), next: 0 }
    }

    fn pass(&mut self, seconds: u64) {
        self.now.at += Duration::from_secs(seconds);
        self.now.wall += Duration::from_secs(seconds);
        self.pulls.tick(self.now);
    }

    fn begin(&mut self, engine: &'static str, repository: &str, reference: &str, is_blob: bool) -> u64 {
        let repository = repository.parse().unwrap();
        let operation = if is_blob {
            Operation::Blob { repository, digest: reference.parse().unwrap(), method: Method::Get }
        } else {
            Operation::Manifest { repository, reference: reference.parse().unwrap(), method: Method::Get }
        };
        self.next += 1;
        let wanted = Wanted::of(&Request::new(Registry::docker_hub(), operation), Some(engine)).unwrap();
        self.pulls.begin(self.next, &wanted, self.now);
        self.next
    }

    fn end(&mut self, transfer: u64, bytes: u64, status: u16) {
        let end = End { bytes, is_complete: true, status: Some(status), ..End::default() };
        self.pulls.end(transfer, end, self.now);
    }

    fn fetch_manifest(&mut self, engine: &'static str, tag: &str, layers: &[u8]) {
        let transfer = self.begin(engine, "library/app", tag, false);
        self.pulls.manifest(transfer, &digest(1), &image(layers));
        self.end(transfer, 500, 200);
    }

    fn blob(&mut self, engine: &'static str, n: u8) -> u64 {
        self.begin(engine, "library/app", digest(n).as_str(), true)
    }

    fn running(&self) -> Vec<PullReport> {
        self.pulls.running(self.now, |_| Some(Progress { bytes: 40, bytes_per_second: 20, wait: None }))
    }
}

#[test]
fn what_a_tags_manifests_name_belongs_to_its_pull() {
    let mut day = Day::new();
    let tag = day.begin("docker", "library/app", "1", false);
    day.pulls.manifest(tag, &digest(2), &index(1));
    day.end(tag, 300, 200);
    let chosen = day.begin("docker", "library/app", digest(1).as_str(), false);
    day.pulls.manifest(chosen, &digest(1), &image(&[10, 11]));
    day.end(chosen, 500, 200);
    let (config, first) = (day.blob("docker", 99), day.blob("docker", 10));
    day.end(config, 10, 200);
    let [pull] = &day.running()[..] else { panic!() };
    assert_eq!(pull.image, "docker.io/library/app:1");
    assert_eq!((pull.engine.as_deref(), pull.platform.as_deref()), (Some("docker"), Some("linux/arm64")));
    assert_eq!((pull.bytes, pull.length, pull.bytes_per_second), (50, Some(210), 20));
    assert_eq!(pull.seconds_left, Some(8));
    let layers: Vec<_> = pull.layers.iter().map(|layer| (layer.state, layer.bytes, layer.length)).collect();
    assert_eq!(layers, [(LayerState::Running, 40, Some(100)), (LayerState::Pending, 0, Some(100))]);
    day.end(first, 100, 200);
    day.pass(2);
    let second = day.blob("docker", 11);
    day.end(second, 100, 200);
    assert_eq!(day.running(), [], "all has arrived");
    let finished = day.pulls.finished();
    assert_eq!((finished[0].outcome, finished[0].milliseconds), (Outcome::Done, 2000));
    assert_eq!((finished[0].layers, finished[0].from_tunnel), ((2, 2), 1010));
}

#[test]
fn layers_that_the_engine_has_are_not_waited_for() {
    let mut day = Day::new();
    day.fetch_manifest("docker", "1", &[10, 11]);
    let layer = day.blob("docker", 11);
    day.end(layer, 100, 200);
    day.pass(4);
    assert_eq!(day.running().len(), 1);
    day.pass(2);
    let finished = day.pulls.finished().remove(0);
    assert_eq!((finished.outcome, finished.layers, finished.milliseconds), (Outcome::Done, (1, 2), 0));
}

#[test]
fn engines_pull_the_same_image_apart() {
    let mut day = Day::new();
    day.fetch_manifest("docker", "1", &[10]);
    day.fetch_manifest("podman", "1", &[10]);
    day.fetch_manifest("podman", "2", &[11]);
    let layer = day.blob("podman", 10);
    let states = |day: &Day| {
        let state = |pull: PullReport| (pull.engine.unwrap(), pull.layers[0].state);
        day.running().into_iter().map(state).collect::<Vec<_>>()
    };
    let expected = [
        ("docker".to_owned(), LayerState::Pending),
        ("podman".into(), LayerState::Running),
        ("podman".into(), LayerState::Pending),
    ];
    assert_eq!(states(&day), expected);
    day.end(layer, 100, 200);
}

#[test]
fn a_failure_is_told_until_another_attempt_succeeds() {
    let mut day = Day::new();
    day.fetch_manifest("docker", "1", &[10]);
    let config = day.blob("docker", 99);
    day.end(config, 10, 200);
    let layer = day.blob("docker", 10);
    day.pulls.end(layer, End { bytes: 30, ..End::default() }, day.now);
    let wanted = |n| {
        let operation = Operation::Blob {
            repository: "library/app".parse().unwrap(),
            digest: digest(n),
            method: Method::Get,
        };
        Wanted::of(&Request::new(Registry::docker_hub(), operation), Some("docker")).unwrap()
    };
    day.pulls.failed(&wanted(10), (&Fault::new(Hop::Tunnel, FaultKind::Down, "down")).into());
    day.pass(20);
    let pull = day.running().remove(0);
    assert_eq!((pull.reason, pull.layers[0].state), (Some("tunnel: down".into()), LayerState::Stopped));
    assert_eq!(pull.cause, Some(Cause::Fault { hop: Hop::Tunnel, kind: FaultKind::Down }));
    day.pass(20);
    assert_eq!(day.pulls.finished()[0].outcome, Outcome::Failed);
    // The engine tries again.
    let again = day.blob("docker", 10);
    assert_eq!((day.running().len(), day.pulls.finished().len()), (1, 0));
    day.end(again, 100, 200);
    let finished = day.pulls.finished().remove(0);
    assert_eq!((finished.outcome, finished.reason), (Outcome::Done, None));
}

#[test]
fn refusals_are_failures_but_challenges_are_not() {
    for (status, outcome) in [(404, Some(Outcome::Failed)), (429, Some(Outcome::Failed)), (401, None)] {
        let mut day = Day::new();
        let transfer = day.begin("docker", "library/app", "1", false);
        day.end(transfer, 20, status);
        day.pass(60);
        let finished = day.pulls.finished();
        match outcome {
            Some(outcome) => assert_eq!(finished[0].outcome, outcome, "{status}"),
            None => assert_eq!(finished, []),
        }
    }
}

#[test]
fn a_pull_waits_if_nothing_of_it_moves() {
    let mut day = Day::new();
    day.fetch_manifest("docker", "1", &[10, 11]);
    let (first, second) = (day.blob("docker", 10), day.blob("docker", 11));
    let since = day.now;
    day.pass(9);
    let wait = |id: u64, moves: u64| {
        let wait = Some((WaitsFor::Tunnel, since.at, Some("down".to_owned().into())));
        Progress { wait: wait.filter(|_| id != moves), ..Progress::default() }
    };
    let moving = day.pulls.running(day.now, |id| Some(wait(id, second))).remove(0);
    assert_eq!((moving.waits_for, moving.reason), (None, None));
    let waiting = day.pulls.running(day.now, |id| Some(wait(id, 0))).remove(0);
    assert_eq!((waiting.waits_for, waiting.reason), (Some(WaitsFor::Tunnel), Some("down".into())));
    assert_eq!(waiting.waits_since.unwrap().as_second(), since.wall.as_second());
    assert!(first < second);
}

#[test]
fn memory_is_bounded() {
    let mut day = Day::new();
    for n in 0..RUNNING_MAX + 10 {
        let transfer = day.begin("docker", "library/app", &format!("t{n}"), false);
        day.end(transfer, 0, 404);
    }
    assert_eq!(day.running().len(), RUNNING_MAX);
    day.pass(60);
    assert_eq!((day.running().len(), day.pulls.finished().len()), (0, ENDED_MAX));
    day.pulls.remove_finished(Some(day.pulls.finished()[0].id));
    assert_eq!(day.pulls.finished().len(), ENDED_MAX - 1);
    day.pulls.remove_finished(None);
    assert_eq!(day.pulls.finished(), []);
}

#[test]
fn a_pull_is_none_of_another_start_of_the_client() {
    let ids = |random: u64| {
        let mut day = Day { pulls: Pulls::new(random), ..Day::new() };
        for tag in ["1", "2"] {
            day.fetch_manifest("docker", tag, &[10]);
        }
        day.running().iter().map(|pull| pull.id).collect::<Vec<_>>()
    };
    let (before, after) = (ids(0x0123_4567_89ab_cdef), ids(u64::MAX));
    assert!(before.iter().all(|id| !after.contains(id)), "{before:?} {after:?}");
    assert!(before[0] != before[1]);
    // A page reads them as JavaScript's numbers.
    assert!(before.iter().chain(&after).all(|id| *id < 1 << 53), "{before:?} {after:?}");
}
