use super::chunks::CHUNK_BYTES;
use super::shared::MEMORY_BYTES_MAX;
use super::*;
use bytes::Bytes;
use docxy_protocol::digester::Digester;
use proptest::prelude::*;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

const LIMITS: BlobLimits = BlobLimits { bytes_max: Some(1 << 30), free_bytes_min: Some(0) };

/// Two chunks and a half.
const SIZE: u64 = 5 * CHUNK_BYTES / 2;

/// A blob of `SIZE` bytes, each `seed` another.
fn content(seed: u64) -> (BlobKey, Bytes) {
    let mut state = seed + 1;
    let next = || {
        // SplitMix64 without its multiplications is enough to differ.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.rotate_left(32).to_le_bytes()
    };
    let bytes: Vec<u8> = std::iter::repeat_with(next).flatten().take(SIZE as usize).collect();
    (BlobKey { digest: Digester::sha256().digest(&bytes), owner: BlobOwner::Public }, bytes.into())
}

fn private(key: &BlobKey, repository: &str) -> BlobKey {
    let owner = BlobOwner::Private("ghcr.io".parse().unwrap(), repository.parse().unwrap());
    BlobKey { owner, ..key.clone() }
}

/// A store whose earlier one is still being closed.
async fn open(directory: &Path, limits: BlobLimits) -> BlobStore {
    loop {
        match BlobStore::open(directory, limits) {
            Err(OpenError::InUse { .. }) => tokio::task::yield_now().await,
            opened => return opened.unwrap(),
        }
    }
}

/// Writes a part of the content in pieces of this size.
fn write(blob: &StoredBlob, content: &Bytes, part: std::ops::Range<u64>, piece: usize) {
    let bytes = content.slice(part.start as usize..part.end as usize);
    for (n, start) in (0..bytes.len()).step_by(piece).enumerate() {
        let end = (start + piece).min(bytes.len());
        blob.write(part.start + (n * piece) as u64, bytes.slice(start..end));
    }
}

/// Writes the content, and waits for the file.
async fn put(store: &BlobStore, key: &BlobKey, content: &Bytes) -> StoredBlob {
    let blob = store.blob(key, SIZE).await;
    write(&blob, content, 0..SIZE, 100_000);
    store.flush().await;
    blob
}

/// All that is there, in parts of at most `max`, which must be the content. Returns the number of bytes.
async fn read_all(blob: &StoredBlob, content: &Bytes, max: usize) -> u64 {
    let (mut at, mut found) = (0, 0);
    while at < blob.size() {
        match blob.read(at, max).await {
            Some(bytes) => {
                assert!(bytes.len() <= max);
                assert_eq!(bytes, content.slice(at as usize..at as usize + bytes.len()));
                at += bytes.len() as u64;
                found += bytes.len() as u64;
            }
            None => {
                let missing = blob.missing(at..u64::MAX);
                assert_eq!(missing.first().map(|part| part.start), Some(at));
                at = missing[0].end;
            }
        }
    }
    found
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_part_survives_a_restart_and_the_rest_completes_it() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("new/blobs");
    let (key, content) = content(0);
    let store = open(&directory, LIMITS).await;
    assert!(store.find(&key).await.is_none());
    let blob = store.blob(&key, SIZE).await;
    assert_eq!(files(&directory), [] as [PathBuf; 0], "nothing was written");
    // The last two chunks are not whole: one ends early, one begins late.
    write(&blob, &content, 0..CHUNK_BYTES + 1000, 70_000);
    write(&blob, &content, SIZE - 500..SIZE, 500);
    let missing = CHUNK_BYTES + 1000..SIZE - 500;
    assert_eq!(blob.missing(0..SIZE), [missing.clone()]);
    assert_eq!(blob.missing(10..20), []);
    assert_eq!(
        read_all(&blob, &content, 7000).await,
        SIZE - (missing.end - missing.start),
        "before it is written"
    );
    blob.set_proven_public(SystemTime::UNIX_EPOCH + Duration::from_secs(7));
    store.flush().await;
    assert_eq!((mode(&directory), mode(&files(&directory)[0])), (0o700, 0o600));
    drop((blob, store));

    let store = open(&directory, LIMITS).await;
    assert!(store.contains(&key));
    let blob = store.find(&key).await.unwrap();
    assert_eq!(blob.missing(0..u64::MAX), [CHUNK_BYTES..SIZE]);
    assert_eq!(read_all(&blob, &content, usize::MAX).await, CHUNK_BYTES);
    assert_eq!(blob.proven_public(), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(7)));
    write(&blob, &content, CHUNK_BYTES..SIZE, 1 << 20);
    assert!(blob.is_whole() && !blob.is_verified(), "nobody has hashed it");
    drop(blob);
    store.flush().await;
    drop(store);

    let store = open(&directory, LIMITS).await;
    let blob = store.blob(&key, 1).await;
    assert!(blob.is_verified(), "the store has");
    assert_eq!((blob.size(), read_all(&blob, &content, 100_000).await), (SIZE, SIZE));
    let [listed] = &store.list()[..] else { panic!() };
    assert_eq!((&listed.key, listed.size, listed.stored, listed.verified), (&key, SIZE, SIZE, true));
}

#[tokio::test]
async fn what_a_stream_has_hashed_is_not_hashed_again_unless_bytes_came_twice() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LIMITS).await;
    for (seed, twice) in [(0, false), (1, true)] {
        let (key, content) = content(seed);
        let blob = store.blob(&key, SIZE).await;
        write(&blob, &content, 0..SIZE - 1, 70_000);
        blob.verified();
        assert!(!blob.is_verified(), "a byte is missing");
        write(&blob, &content, SIZE - if twice { 2 } else { 1 }..SIZE, 2);
        blob.verified();
        assert_eq!(blob.is_verified(), !twice);
        drop(blob);
        store.flush().await;
        assert!(store.find(&key).await.unwrap().is_verified());
    }
    assert!(store.list().iter().all(|blob| blob.verified));
}

#[tokio::test]
async fn a_wrong_blob_is_removed_and_no_reader_gets_more_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LIMITS).await;
    let ((key, right), (_, wrong)) = (content(0), content(1));
    drop(put(&store, &key, &wrong).await);
    store.flush().await;
    assert!(store.find(&key).await.is_none(), "the store hashed it");
    assert_eq!(files(dir.path()), [] as [PathBuf; 0]);
    let blob = put(&store, &key, &wrong).await;
    let reader = blob.clone();
    assert!(reader.read(0, 1).await.is_some());
    let changed = reader.changed();
    blob.discard();
    changed.await;
    assert_eq!((reader.read(1, 1).await, reader.missing(0..u64::MAX)), (None, vec![0..SIZE]));
    let anew = put(&store, &key, &right).await;
    blob.write(0, wrong.slice(..1000));
    store.flush().await;
    assert_eq!(read_all(&anew, &right, usize::MAX).await, SIZE);
    assert_eq!(files(dir.path()).len(), 1);
    // A blob has one size.
    drop(store.blob(&key, SIZE - 1).await);
    assert_eq!(reader.missing(0..u64::MAX), [0..SIZE]);
    assert!(store.find(&key).await.is_none());
}

#[tokio::test]
async fn a_flipped_bit_is_thrown_away_and_can_be_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LIMITS).await;
    let (key, content) = content(0);
    let blob = put(&store, &key, &content).await;
    blob.verified();
    let [path] = &files(dir.path())[..] else { panic!() };
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.len();
    bytes[end - SIZE as usize + CHUNK_BYTES as usize + 77] ^= 4;
    fs::write(path, &bytes).unwrap();
    assert!(blob.is_whole() && blob.is_verified());
    let changed = blob.changed();
    assert_eq!(read_all(&blob, &content, usize::MAX).await, SIZE - CHUNK_BYTES);
    changed.await;
    assert_eq!(blob.missing(0..SIZE), [CHUNK_BYTES..2 * CHUNK_BYTES]);
    assert!(!blob.is_verified());
    assert_eq!((store.state().chunks_damaged, store.state().bytes_dropped), (1, 0));
    write(&blob, &content, CHUNK_BYTES..2 * CHUNK_BYTES, 1 << 18);
    store.flush().await;
    assert_eq!(read_all(&blob, &content, usize::MAX).await, SIZE);
}

#[tokio::test]
async fn verify_finds_damage_and_wrong_blobs_and_can_be_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LIMITS).await;
    let mut held = Vec::new();
    for seed in 0..3 {
        // The second one is another blob.
        let bytes = content(if seed == 1 { 9 } else { seed }).1;
        held.push(put(&store, &content(seed).0, &bytes).await);
    }
    let paths = files(dir.path());
    let name = held[0].key().name().to_string();
    let path = paths.iter().find(|path| path.ends_with(&name)).unwrap();
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
    let stopped = store.verify(|_, _| ControlFlow::Break(()));
    assert_eq!((stopped.blobs, stopped.bytes), (0, CHUNK_BYTES));
    let mut last = (0, 0);
    let report = store.verify(|done, all| {
        assert!(done >= last.0 && done <= all);
        last = (done, all);
        ControlFlow::Continue(())
    });
    assert_eq!((report.blobs, report.bytes, report.chunks_damaged), (3, 3 * SIZE, 1));
    assert_eq!(report.wrong, [held[1].key().clone()]);
    assert!(held[2].is_verified() && held[1].missing(0..1) == [0..1]);
    assert_eq!(held[0].missing(0..SIZE), [2 * CHUNK_BYTES..SIZE]);
}

#[tokio::test]
async fn blobs_of_one_owner_are_not_another_s_and_are_removed_at_logout() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LIMITS).await;
    let (public, bytes) = content(0);
    let [hers, his, in_use] = ["a/hers", "a/his", "a/in-use"].map(|repository| private(&public, repository));
    drop(put(&store, &hers, &bytes).await);
    for other in [&public, &his] {
        assert!(store.find(other).await.is_none());
    }
    for key in [&public, &his] {
        drop(put(&store, key, &bytes).await);
    }
    let blob = store.blob(&in_use, SIZE).await;
    write(&blob, &bytes, 0..1000, 1000);
    let is_removed = |_: &_, repository: &docxy_protocol::name::Repository| repository.as_str() != "a/his";
    assert_eq!(store.remove_private(is_removed).await, 2);
    write(&blob, &bytes, 1000..SIZE, 100_000);
    store.flush().await;
    assert!(store.find(&hers).await.is_none() && store.find(&in_use).await.is_none());
    assert_eq!(read_all(&blob, &bytes, usize::MAX).await, 0);
    assert!(store.find(&public).await.is_some() && store.find(&his).await.is_some());
    assert_eq!(files(dir.path()).len(), 2);
}

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
    assert_eq!((large.missing(0..1), store.state().bytes_dropped), (vec![0..1], 2 * SIZE));
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
    let pipe = std::process::Command::new("mkfifo").arg(path(2)).status().unwrap();
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
    assert_eq!((state.blobs, state.bytes_max), (0, 0), "all is evicted");
    let blob = put(&store, &key, &bytes).await;
    assert_eq!((blob.missing(0..u64::MAX), store.state().bytes_dropped), (vec![0..SIZE], SIZE));
}

/// What a crash leaves of a file: a part, or zeros, old or torn bytes in some places.
#[derive(Debug, Clone)]
enum Damage {
    Truncated(usize),
    Zeros(usize, usize),
    Noise(usize, usize),
    Moved(usize, usize),
}

fn damage(length: usize) -> impl Strategy<Value = Damage> {
    // Half of them in the head and the table.
    let at = prop_oneof![0..8192.min(length), 0..length];
    (0..4_u8, at, prop_oneof![1..64_usize, 1..300_000_usize]).prop_map(|(kind, at, count)| match kind {
        0 => Damage::Truncated(at),
        1 => Damage::Zeros(at, count),
        2 => Damage::Noise(at, count),
        _ => Damage::Moved(at, count),
    })
}

fn apply(damage: &Damage, bytes: &mut Vec<u8>) {
    let part = |at: usize, count: usize| at.min(bytes.len())..(at + count).min(bytes.len());
    match *damage {
        Damage::Truncated(at) => bytes.truncate(at),
        Damage::Zeros(at, count) => {
            let part = part(at, count);
            bytes[part].fill(0);
        }
        Damage::Noise(at, count) => {
            let part = part(at, count);
            bytes[part].iter_mut().enumerate().for_each(|(n, byte)| *byte ^= (n % 255) as u8 + 1);
        }
        Damage::Moved(at, count) => {
            let part = part(at, count);
            let to = bytes.len().saturating_sub(part.len()) / 2;
            bytes.copy_within(part, to);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Any prefix of the file, and any torn write, loses chunks at most.
    #[test]
    fn after_a_crash_nothing_wrong_is_returned(
        damages in prop::collection::vec(damage(8192 + SIZE as usize), 0..3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let (key, content) = content(0);
            let store = open(dir.path(), LIMITS).await;
            let blob = put(&store, &key, &content).await;
            drop(blob);
            store.flush().await;
            drop(store);
            let [path] = &files(dir.path())[..] else { panic!() };
            let before = fs::read(path).unwrap();
            let mut bytes = before.clone();
            damages.iter().for_each(|damage| apply(damage, &mut bytes));
            fs::write(path, &bytes).unwrap();
            let store = open(dir.path(), LIMITS).await;
            let blob = store.blob(&key, SIZE).await;
            let found = read_all(&blob, &content, 100_000).await;
            assert!(bytes != before || found == SIZE);
            assert!(!blob.is_verified() || found == SIZE);
            // It can be completed.
            for part in blob.missing(0..SIZE) {
                write(&blob, &content, part, 1 << 20);
            }
            store.flush().await;
            assert_eq!(read_all(&blob, &content, usize::MAX).await, SIZE);
            drop(blob);
            store.flush().await;
            assert!(store.find(&key).await.unwrap().is_verified());
        });
    }
}
