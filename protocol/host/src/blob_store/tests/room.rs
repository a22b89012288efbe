//! How much is kept, where, and what becomes of others' files.

use super::*;
use crate::blob_store::shared::MEMORY_BYTES_MAX;
use std::os::unix::fs::symlink;
use std::sync::mpsc;

#[tokio::test]
async fn the_least_recently_used_goes_first_and_what_is_in_use_stays() {
    let dir = tempfile::tempdir().unwrap();
    // Three fit, each with a head and a table.
    let limits = BlobLimits { bytes_max: Some(3 * (SIZE + 2 * 4096)), ..LIMITS };
    let store = open(dir.path(), limits).await;
    let blobs: Vec<_> = (0..5).map(content).collect();
    let in_use = put(&store, &blobs[0].0, &blobs[0].1).await;
    for (key, bytes) in &blobs[1..3] {
        drop(put(&store, key, bytes).await);
    }
    assert!(store.find(&blobs[1].0).await.is_some(), "it is used");
    store.flush().await;
    drop(put(&store, &blobs[3].0, &blobs[3].1).await);
    let there = |store: &BlobStore| blobs.iter().map(|(key, _)| store.contains(key)).collect::<Vec<_>>();
    assert_eq!(there(&store), [true, true, false, true, false]);
    assert_eq!(read_all(&in_use, &blobs[0].1, usize::MAX).await, SIZE);
    assert_eq!((store.state().blobs, store.state().blobs_evicted, files(dir.path()).len()), (3, 1, 3));
    // All room is in use, so nothing more is stored; nor is ever a blob that is larger than all room.
    let held = [store.find(&blobs[1].0).await, store.find(&blobs[3].0).await];
    let fourth = put(&store, &blobs[4].0, &blobs[4].1).await;
    assert_eq!(read_all(&fourth, &blobs[4].1, usize::MAX).await, 0);
    assert_eq!(store.state().bytes_dropped, SIZE);
    let large = store.blob(&private(&blobs[0].0, "a/b"), 4 * SIZE).await;
    large.write(0, blobs[0].1.clone());
    assert_eq!((large.missing(0..1), store.state().bytes_dropped), (only(0..1), 2 * SIZE));
    drop((in_use, fourth, large, held));
    store.flush().await;
    drop(store);

    // After a restart the order is the same, also with less room.
    for (n, seconds) in [(0, 30), (1, 10), (3, 20)] {
        let file = fs::File::open(dir.path().join(blobs[n].0.name().to_string())).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    }
    let limits = BlobLimits { bytes_max: Some(2 * (SIZE + 2 * 4096)), ..LIMITS };
    let store = open(dir.path(), limits).await;
    assert_eq!(there(&store), [false, true, false, true, false]);
    let held = store.find(&blobs[3].0).await;
    let within = |seconds| Prune { keep_bytes: 0, used_within: Some(Duration::from_secs(seconds)) };
    assert_eq!(store.prune(within(3600)), Pruned::default());
    assert_eq!(store.prune(Prune { keep_bytes: 1 << 30, used_within: None }), Pruned::default());
    assert_eq!(store.prune(within(5)).blobs, 1);
    assert_eq!(there(&store), [false, false, false, true, false]);
    drop(held);
    store.flush().await;
    assert_eq!(store.prune(Prune::default()).blobs, 1);
    assert_eq!((store.state().blobs, store.state().bytes, files(dir.path()).len()), (0, 0, 0));
}

#[tokio::test]
async fn a_slow_disk_costs_bounded_memory_and_no_wait() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LIMITS).await;
    let (hold, held) = mpsc::channel::<()>();
    store.shared().later(|_, held: mpsc::Receiver<()>| assert!(held.recv().is_err()), held);
    let (key, _) = content(0);
    let size = MEMORY_BYTES_MAX + 4 * CHUNK_BYTES;
    let content = Bytes::from(vec![7; size as usize]);
    let blob = store.blob(&key, size).await;
    write(&blob, &content, 0..size, 100_000);
    let dropped = store.state().bytes_dropped;
    assert!((3 * CHUNK_BYTES..=5 * CHUNK_BYTES).contains(&dropped), "{dropped}");
    drop(hold);
    store.flush().await;
    let stored = read_all(&blob, &content, usize::MAX).await;
    assert!(stored >= MEMORY_BYTES_MAX - CHUNK_BYTES, "{stored}");
    let [missing] = &blob.missing(0..size)[..] else { panic!() };
    write(&blob, &content, missing.clone(), 1 << 18);
    store.flush().await;
    assert_eq!(read_all(&blob, &content, usize::MAX).await, size);
}

#[tokio::test]
async fn one_process_has_the_directory_and_nothing_foreign_in_it_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("blobs");
    let store = BlobStore::open(&directory, LIMITS).unwrap();
    assert!(matches!(BlobStore::open(&directory, LIMITS), Err(OpenError::InUse { .. })));
    drop(store);
    let keys: Vec<_> = (0..4).map(content).collect();
    let path = |n: usize| directory.join(keys[n].0.name().to_string());
    let outside = dir.path().join("outside");
    fs::write(&outside, vec![1; 8192]).unwrap();
    fs::write(directory.join("README"), "mine").unwrap();
    fs::create_dir(path(0)).unwrap();
    symlink(&outside, path(1)).unwrap();
    let pipe = Command::new("mkfifo").arg(path(2)).status().unwrap();
    assert!(pipe.success());
    let before = files(&directory);
    let store = open(&directory, LIMITS).await;
    assert_eq!(store.state().blobs, 0);
    for (n, (key, bytes)) in keys.iter().enumerate() {
        let blob = put(&store, key, bytes).await;
        assert_eq!(read_all(&blob, bytes, usize::MAX).await, if n == 3 { SIZE } else { 0 });
        // What is not stored is forgotten.
        blob.discard();
    }
    store.flush().await;
    assert_eq!(store.state().paused, None);
    assert_eq!(store.prune(Prune::default()), Pruned::default());
    assert_eq!(files(&directory), before);
    assert_eq!(fs::read(&outside).unwrap(), vec![1; 8192]);
    if rustix::process::geteuid().is_root() {
        drop(store);
        std::os::unix::fs::chown(&directory, Some(65534), None).unwrap();
        let other = loop {
            match BlobStore::open(&directory, LIMITS) {
                Err(OpenError::InUse { .. }) => tokio::task::yield_now().await,
                opened => break opened,
            }
        };
        assert!(matches!(other, Err(OpenError::OtherUser { .. })));
    }
    assert!(matches!(BlobStore::open(&outside, LIMITS), Err(OpenError::Io { .. })));
}

#[tokio::test]
async fn the_directory_may_be_removed_at_any_time() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("blobs");
    let store = open(&directory, LIMITS).await;
    let ((old, old_bytes), (new, new_bytes)) = (content(0), content(1));
    let blob = put(&store, &old, &old_bytes).await;
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(read_all(&blob, &old_bytes, usize::MAX).await, SIZE, "its file is open");
    // This is the first to find out.
    drop(put(&store, &new, &new_bytes).await);
    let blob = put(&store, &new, &new_bytes).await;
    assert_eq!(read_all(&blob, &new_bytes, usize::MAX).await, SIZE);
    assert_eq!((files(&directory).len(), store.state().paused), (1, None));
}

#[tokio::test]
async fn a_disk_that_others_fill_gets_no_more_and_what_is_there_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let (key, bytes) = content(0);
    let store = open(dir.path(), LIMITS).await;
    drop(put(&store, &key, &bytes).await);
    store.flush().await;
    drop(store);
    let limits = BlobLimits { free_bytes_min: Some(u64::MAX), ..LIMITS };
    let store = open(dir.path(), limits).await;
    let state = store.state();
    assert!(state.paused.unwrap().contains("would be left free"));
    assert_eq!(state.paused_cause, Some(StoreCause::Full));
    assert_eq!((state.blobs, state.bytes_max), (0, 0), "all is evicted");
    let blob = put(&store, &key, &bytes).await;
    assert_eq!((blob.missing(0..u64::MAX), store.state().bytes_dropped), (only(0..SIZE), SIZE));
}

/// Needs root, for a file system of its own.
#[tokio::test]
async fn a_full_or_read_only_disk_is_told_and_recovers() {
    let name = "room::a_full_or_read_only_disk_is_told_and_recovers";
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        let dir = tempfile::tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            let mut command = Command::new("unshare");
            let inner = this_test(name, dir.path());
            command.args([
                "--mount",
                "sh",
                "-ec",
                "mount -t tmpfs -o size=2m none $DOCXY_TEST_BLOBS; exec \"$@\"",
                "sh",
            ]);
            command.arg(inner.get_program()).args(inner.get_args()).env(DIRECTORY, dir.path());
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        return;
    };
    let blobs = directory.join("blobs");
    let store = open(&blobs, LIMITS).await;
    let (first, second, third) = (content(0), content(1), content(2));
    let held = put(&store, &first.0, &first.1).await;
    // Another program takes most of the rest.
    fs::write(directory.join("other"), vec![1; 1 << 20]).unwrap();
    let blob = put(&store, &second.0, &second.1).await;
    assert!(store.state().paused.is_some_and(|reason| reason.contains("full")), "{:?}", store.state());
    assert_eq!(store.state().paused_cause, Some(StoreCause::Full));
    assert_eq!(store.state().bytes_dropped, SIZE - read_all(&blob, &second.1, usize::MAX).await);
    assert_eq!(read_all(&held, &first.1, usize::MAX).await, SIZE);
    drop((held, blob));
    fs::remove_file(directory.join("other")).unwrap();
    // As the next write does after a while.
    store.shared().later(|writer, ()| writer.check_room(), ());
    store.flush().await;
    assert_eq!(store.state().paused, None);
    assert_eq!(store.prune(Prune::default()).blobs, 2);
    drop(put(&store, &third.0, &third.1).await);
    store.flush().await;
    assert!(store.find(&third.0).await.unwrap().is_verified());
    drop(store);
    let remount = |option: &str| {
        let status =
            Command::new("mount").args(["-o", &format!("remount,{option}")]).arg(&directory).status();
        assert!(status.unwrap().success());
    };
    loop {
        // The files of the earlier store are open until it has ended.
        match BlobStore::open(&blobs, LIMITS) {
            Err(OpenError::InUse { .. }) => tokio::task::yield_now().await,
            opened => break drop(opened),
        }
    }
    remount("ro");
    let store = open(&blobs, LIMITS).await;
    assert!(store.state().paused.is_some_and(|reason| reason.contains("read-only")));
    assert_eq!(store.state().paused_cause, Some(StoreCause::ReadOnly));
    let blob = store.find(&third.0).await.unwrap();
    assert_eq!(read_all(&blob, &third.1, usize::MAX).await, SIZE);
    let error = BlobStore::open(&directory.join("new"), LIMITS).unwrap_err();
    assert!(error.to_string().contains("ead-only"));
    assert_eq!(StoreProblem::from(error).cause, StoreCause::ReadOnly);
    drop(blob);
    remount("rw");
}
