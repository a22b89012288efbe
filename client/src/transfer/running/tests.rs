//! What the registry lists, and when it reports a change.

use super::*;
use docxy_protocol::name::Registry;
use docxy_protocol::request::Method;

fn request(reference: &str) -> Request {
    let operation = Operation::Manifest {
        repository: "library/alpine".parse().unwrap(),
        reference: reference.parse().unwrap(),
        method: Method::Get,
    };
    Request::new(Registry::docker_hub(), operation)
}

#[test]
fn a_transfer_is_listed_until_its_guard_is_dropped() {
    let registry = TransferRegistry::default();
    let mut changes = registry.watch();
    let digest = format!("sha256:{}", "0".repeat(64));
    let (first, second) = (registry.begin(&request("3"), None), registry.begin(&request(&digest), None));
    let names = || {
        let all = registry.snapshot().into_iter();
        all.map(|entry| (entry.image, entry.digest)).collect::<Vec<_>>()
    };
    let image = "docker.io/library/alpine";
    assert_eq!(names(), [(format!("{image}:3"), None), (image.to_owned(), Some(digest.clone()))]);
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    drop(first);
    assert_eq!(names(), [(image.to_owned(), Some(digest))]);
    assert!(changes.has_changed().unwrap());
    drop(second);
    assert!(registry.snapshot().is_empty());
}

#[test]
fn a_wait_keeps_its_beginning_until_it_ends() {
    let registry = TransferRegistry::default();
    let guard = registry.begin(&request("3"), None);
    let since = || guard.entry.state.lock().waits_since;
    let wait = || {
        let TransferSnapshot { waits_for, waits_seconds, reason, .. } = registry.snapshot().remove(0);
        assert_eq!(waits_for.is_some(), waits_seconds.is_some());
        (waits_for, reason)
    };
    assert_eq!(wait(), (None, None));
    guard.wait(WaitsFor::Tunnel, Some("down".to_owned().into()));
    assert_eq!(wait(), (Some(WaitsFor::Tunnel), Some("down".to_owned().into())));
    let began = since();
    guard.wait(WaitsFor::Permit, None);
    assert_eq!((wait(), since()), ((Some(WaitsFor::Permit), None), began));
    guard.proceed();
    assert_eq!((wait(), since()), ((None, None), None));
}

#[test]
fn bytes_are_counted_without_a_report() {
    let registry = TransferRegistry::default();
    let guard = registry.begin(&request("3"), None);
    let mut changes = registry.watch();
    changes.mark_unchanged();
    guard.receive(5);
    guard.receive(7);
    assert_eq!(registry.snapshot()[0].bytes, 12);
    assert!(!changes.has_changed().unwrap());
}
