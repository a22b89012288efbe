mod crash;
mod room;

use super::chunks::CHUNK_BYTES;
use super::*;
use bytes::Bytes;
use docxy_protocol::digester::Digester;
use std::fs;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
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
fn write(blob: &StoredBlob, content: &Bytes, part: Range<u64>, piece: usize) {
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

/// The one part that is missing.
fn only(part: Range<u64>) -> Vec<Range<u64>> {
    std::iter::once(part).collect()
}

/// The variable that names the directory for the other process of a test.
const DIRECTORY: &str = "DOCXY_TEST_BLOBS";

/// This test's program, which runs the test of this name alone.
fn this_test(name: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("blob_store::tests::{name}"), "--nocapture"]);
    command.env(DIRECTORY, directory);
    command
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
    assert_eq!(blob.missing(0..SIZE), only(missing.clone()));
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
    assert_eq!(blob.missing(0..u64::MAX), only(CHUNK_BYTES..SIZE));
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
    // Also while it is in use.
    let in_use = put(&store, &key, &wrong).await;
    in_use.check();
    store.flush().await;
    assert_eq!(in_use.missing(0..SIZE), only(0..SIZE));
    drop(in_use);

    let blob = put(&store, &key, &wrong).await;
    let reader = blob.clone();
    assert!(reader.read(0, 1).await.is_some());
    let changed = reader.changed();
    blob.discard();
    changed.await;
    assert_eq!((reader.read(1, 1).await, reader.missing(0..u64::MAX)), (None, only(0..SIZE)));
    let anew = put(&store, &key, &right).await;
    blob.write(0, wrong.slice(..1000));
    store.flush().await;
    assert_eq!(read_all(&anew, &right, usize::MAX).await, SIZE);
    assert_eq!(files(dir.path()).len(), 1);
    // A blob has one size.
    drop(store.blob(&key, SIZE - 1).await);
    assert_eq!(reader.missing(0..u64::MAX), only(0..SIZE));
    assert!(store.find(&key).await.is_none());
}

#[tokio::test]
async fn a_held_blob_does_not_outlast_its_process_and_what_is_wrong_of_it_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let ((key, right), (_, wrong)) = (content(0), content(1));
    let store = open(dir.path(), LIMITS).await;
    let blob = store.blob(&key, SIZE).await;
    assert!(blob.hold() && !blob.hold());
    write(&blob, &wrong, 0..SIZE, 70_000);
    store.flush().await;
    drop((blob, store));
    let store = open(dir.path(), LIMITS).await;
    assert!(store.find(&key).await.is_none());
    // Wrong bytes and right ones in one chunk.
    let blob = store.blob(&key, SIZE).await;
    assert!(blob.hold());
    write(&blob, &wrong, 0..CHUNK_BYTES + 1, 70_000);
    write(&blob, &right, CHUNK_BYTES + 1..SIZE, 1 << 20);
    blob.written().await;
    blob.discard_held(CHUNK_BYTES + 1);
    store.flush().await;
    drop((blob, store));
    let store = open(dir.path(), LIMITS).await;
    let blob = store.find(&key).await.unwrap();
    assert_eq!(blob.missing(0..SIZE), only(0..2 * CHUNK_BYTES));
    assert_eq!(read_all(&blob, &right, usize::MAX).await, SIZE - 2 * CHUNK_BYTES);
    assert!(!blob.hold(), "something is there");
    drop(blob);
    // What was right stays.
    let (key, content) = content(2);
    let blob = store.blob(&key, SIZE).await;
    assert!(blob.hold());
    write(&blob, &content, 0..SIZE, 70_000);
    blob.verified();
    blob.release();
    store.flush().await;
    drop((blob, store));
    let blob = open(dir.path(), LIMITS).await.find(&key).await.unwrap();
    assert!(blob.is_verified());
    assert_eq!(read_all(&blob, &content, usize::MAX).await, SIZE);
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
    assert_eq!(blob.missing(0..SIZE), only(CHUNK_BYTES..2 * CHUNK_BYTES));
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
    assert_eq!((report.blobs, report.bytes), (3, 3 * SIZE));
    assert_eq!((report.chunks_damaged, report.blobs_wrong), (1, 1));
    assert!(held[2].is_verified() && held[1].missing(0..1) == only(0..1));
    assert_eq!(held[0].missing(0..SIZE), only(2 * CHUNK_BYTES..SIZE));
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
    assert_eq!(store.remove_private(is_removed), 2);
    write(&blob, &bytes, 1000..SIZE, 100_000);
    store.flush().await;
    assert!(store.find(&hers).await.is_none() && store.find(&in_use).await.is_none());
    assert_eq!(read_all(&blob, &bytes, usize::MAX).await, 0);
    assert!(store.find(&public).await.is_some() && store.find(&his).await.is_some());
    assert_eq!(files(dir.path()).len(), 2);
}
