use super::eviction::DISK_BLOCK_BYTES;
use super::memory::ENTRY_OVERHEAD_BYTES;
use super::*;
use bytes::Bytes;
use docxy_protocol::digester::Digester;
use docxy_protocol::headers::Headers;
use docxy_protocol::prefetch::ContentKind;
use docxy_protocol::secret::Secret;
use http::{HeaderValue, header};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(super) const LIMITS: Limits = Limits {
    memory_bytes: 16 << 20,
    disk_bytes: 64 << 20,
    public_lifetime: Duration::from_secs(3600),
    private_lifetime: Duration::from_secs(300),
};

/// Nothing stays in memory.
const DISK_ONLY: Limits = Limits { memory_bytes: 0, ..LIMITS };

/// A blob of these bytes, as a client stores it.
pub(super) fn blob(bytes: &[u8]) -> Arc<Content<ContentKind>> {
    with_head(ContentKind::Blob, bytes)
}

/// A manifest of these bytes, as a server stores it.
fn manifest(text: &str) -> Arc<Content<Headers>> {
    let mut headers = Headers::default();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("a/b"));
    with_head(headers, text.as_bytes())
}

fn with_head<H>(head: H, bytes: &[u8]) -> Arc<Content<H>> {
    let digest = Digester::sha256().digest(bytes);
    Arc::new(Content::new(digest, head, Bytes::copy_from_slice(bytes)).unwrap())
}

/// The key of public content.
pub(super) fn key<H>(registry: &str, repository: &str, content: &Content<H>) -> Key {
    Key::public(&registry.parse().unwrap(), &repository.parse().unwrap(), content.digest().clone())
}

/// The key of the same content with this token.
pub(super) fn with_token(key: &Key, token: &str) -> Key {
    Key { scope: key.scope.clone().with_token(&Secret::new(token)), digest: key.digest.clone() }
}

/// Stores content as `library/a`'s, and waits for its file.
async fn put<H: ContentHead>(store: &Store<H>, content: &Arc<Content<H>>) -> Key {
    let key = key("docker.io", "library/a", content);
    if let Some(written) = store.put(&key, content) {
        written.await.unwrap();
    }
    key
}

fn open<H: ContentHead>(directory: &Path, limits: Limits) -> Store<H> {
    let store = Store::open(Some(directory.to_owned()), limits);
    store.list_files();
    store
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        found.extend(if path.is_dir() { files(&path) } else { vec![path] });
    }
    found
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

/// Both kinds of files, each in a new directory.
async fn survives_a_restart<H: ContentHead + PartialEq>(content: Arc<Content<H>>) {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("new/store");
    let store = open(&directory, LIMITS);
    let here = put(&store, &content).await;
    let [file] = &files(&directory)[..] else { panic!() };
    assert_eq!((mode(&directory), mode(file)), (0o700, 0o600));
    let elsewhere = key("docker.io", "library/b", &content);
    for store in [store, open(&directory, DISK_ONLY)] {
        assert_eq!(store.get(&here).await, Some(Arc::clone(&content)));
        assert_eq!(store.get(&elsewhere).await, None);
    }
}

#[tokio::test]
async fn content_survives_a_restart_for_its_repository_only() {
    survives_a_restart(manifest("hello")).await;
    survives_a_restart(with_head(ContentKind::Manifest { content_type: "a/b".into() }, b"hello")).await;
}

#[tokio::test]
async fn the_file_of_another_key_is_not_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let (store, content) = (open(dir.path(), DISK_ONLY), blob(b"config"));
    let here = put(&store, &content).await;
    let elsewhere = key("docker.io", "library/b", &content);
    let path = |key: &Key| dir.path().join(ContentKind::path(key));
    fs::copy(path(&here), path(&elsewhere)).unwrap();
    assert_eq!(store.get(&elsewhere).await, None);
    assert!(store.get(&here).await.is_some());
}

#[tokio::test]
async fn private_content_is_never_on_disk_nor_read_from_there() {
    let dir = tempfile::tempdir().unwrap();
    let (store, content) = (open(dir.path(), LIMITS), blob(b"config"));
    let public = key("docker.io", "library/a", &content);
    let hers = with_token(&public, "hers");
    assert!(store.put(&hers, &content).is_none());
    assert_eq!(store.get(&hers).await, Some(Arc::clone(&content)));
    assert_eq!(files(dir.path()), [] as [PathBuf; 0]);
    put(&store, &content).await;
    assert_eq!(open::<ContentKind>(dir.path(), LIMITS).get(&hers).await, None);
}

#[tokio::test]
async fn a_repository_without_content_is_known_before_a_request() {
    let dir = tempfile::tempdir().unwrap();
    let content = manifest("hello");
    let here = put(&open(dir.path(), LIMITS), &content).await;
    let store = open::<Headers>(dir.path(), DISK_ONLY);
    assert!(store.may_contain(&here.scope).await);
    for (registry, repository) in [("docker.io", "library/b"), ("ghcr.io", "library/a")] {
        assert!(!store.may_contain(&key(registry, repository, &content).scope).await);
    }
}

#[tokio::test]
async fn the_first_writes_of_a_new_process_may_be_concurrent() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..10 {
        let store = Store::open(Some(dir.path().to_owned()), LIMITS);
        let contents: Vec<_> = (0..20).map(|n| blob(format!("{round} {n}").as_bytes())).collect();
        let keys: Vec<_> = contents.iter().map(|content| key("docker.io", "a/b", content)).collect();
        let written: Vec<_> = keys.iter().zip(&contents).filter_map(|(key, c)| store.put(key, c)).collect();
        for written in written {
            written.await.unwrap();
        }
        assert_eq!(files(dir.path()).len(), 20 * (round + 1));
    }
}

/// What `kill -9` or a crash leaves at each step of a write, and a file that another program has changed.
#[tokio::test]
async fn an_interrupted_or_changed_file_is_never_returned_and_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let content = manifest("hello");
    let key = put(&open(dir.path(), DISK_ONLY), &content).await;
    let [path] = &files(dir.path())[..] else { panic!() };
    let whole = fs::read(path).unwrap();
    fs::remove_file(path).unwrap();
    let temporary = path.with_file_name(".tmpAb3xYz");
    for end in 0..=whole.len() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Killed while the temporary file is written, or before it is renamed.
        fs::write(&temporary, &whole[..end]).unwrap();
        let store = open::<Headers>(dir.path(), DISK_ONLY);
        assert!(!temporary.exists() && !store.may_contain(&key.scope).await);
        assert_eq!(store.get(&key).await, None);
        // The machine crashed after the rename, before all bytes were on the disk.
        let zeros = vec![0; whole.len() - end];
        for rest in [&zeros[..], b""].iter().filter(|_| end < whole.len()) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, [&whole[..end], rest].concat()).unwrap();
            let store = open::<Headers>(dir.path(), DISK_ONLY);
            assert_eq!(store.get(&key).await, None, "{end}");
            assert!(!path.exists() && !store.may_contain(&key.scope).await);
        }
    }
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    let longer = [&whole[..], b"\n"].concat();
    let mut store = open(dir.path(), DISK_ONLY);
    for damaged in [&changed[..], &longer, &[b' '; 8 << 20]] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, damaged).unwrap();
        assert_eq!(store.get(&key).await, None);
        assert!(!path.exists());
        put(&store, &content).await;
        store = open(dir.path(), DISK_ONLY);
        assert_eq!(store.get(&key).await, Some(Arc::clone(&content)));
    }
}

#[tokio::test]
async fn a_read_only_store_reads_all_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (manifest("old"), manifest("new"));
    let old_key = put(&open(dir.path(), LIMITS), &old).await;
    let before = files(dir.path());
    let modified = before[0].metadata().unwrap().modified().unwrap();
    fs::write(before[0].with_file_name("half-written"), "x").unwrap();
    let store = Store::read_only(dir.path().to_owned(), LIMITS);
    assert!(store.get(&old_key).await.is_some());
    let new_key = put(&store, &new).await;
    assert!(store.get(&new_key).await.is_some());
    assert_eq!(files(dir.path()).len(), 2);
    assert_eq!(before[0].metadata().unwrap().modified().unwrap(), modified);
    assert!(open::<Headers>(dir.path(), LIMITS).get(&new_key).await.is_none());
    assert_eq!(files(dir.path()), before, "whoever may write has tidied up");
}

#[tokio::test]
async fn memory_and_files_are_bounded_and_the_last_used_stay() {
    let dir = tempfile::tempdir().unwrap();
    let limits = |entries, files| Limits {
        memory_bytes: entries * (ENTRY_OVERHEAD_BYTES + 100),
        disk_bytes: files * DISK_BLOCK_BYTES,
        ..LIMITS
    };
    let store = open(dir.path(), limits(3, 4));
    let mut keys = Vec::new();
    for n in 0..10 {
        keys.push(put(&store, &manifest(&format!("manifest {n}"))).await);
    }
    assert_eq!(files(dir.path()).len(), 4);
    for store in [store, open(dir.path(), limits(0, 2))] {
        assert!(store.get(&keys[0]).await.is_none());
        assert!(store.get(&keys[9]).await.is_some());
    }
    assert_eq!(files(dir.path()).len(), 2);
}

#[tokio::test]
async fn after_a_restart_the_files_that_were_read_last_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut keys) = (open(dir.path(), DISK_ONLY), Vec::new());
    for n in 0..8_u8 {
        let key = put(&store, &blob(&[n])).await;
        let file = File::open(dir.path().join(ContentKind::path(&key))).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(100 - u64::from(n))).unwrap();
        keys.push(key);
    }
    assert!(store.get(&keys[0]).await.is_some(), "it is used");
    open::<ContentKind>(dir.path(), Limits { disk_bytes: 4 * DISK_BLOCK_BYTES, ..LIMITS });
    let left: Vec<_> = keys.iter().map(|key| dir.path().join(ContentKind::path(key)).exists()).collect();
    assert_eq!(left, [true, false, false, false, false, true, true, true]);
}

#[tokio::test]
async fn the_oldest_are_removed_from_a_full_disk_and_a_running_store_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut keys) = (open(dir.path(), DISK_ONLY), Vec::new());
    let all: Vec<_> = (0..10).map(|n| manifest(&format!("manifest {n}"))).collect();
    for (n, manifest) in all.iter().enumerate() {
        let key = put(&store, manifest).await;
        let written = SystemTime::UNIX_EPOCH + Duration::from_secs(n as u64);
        File::open(dir.path().join(Headers::path(&key))).unwrap().set_modified(written).unwrap();
        keys.push(key);
    }
    assert!(remove_oldest(dir.path().to_owned(), 1, 3));
    assert_eq!(files(dir.path()).len(), 7);
    assert!(store.get(&keys[2]).await.is_none() && store.get(&keys[3]).await.is_some());
    assert!(remove_oldest(dir.path().to_owned(), usize::MAX, 0));
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "nor is a directory left");
    assert!(!remove_oldest(dir.path().to_owned(), 1, 1));
    assert!(store.get(&keys[9]).await.is_none());
    put(&store, &all[9]).await;
    assert!(store.get(&keys[9]).await.is_some());
}

#[tokio::test]
async fn on_a_disk_that_cannot_be_written_content_is_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let store = open(&dir.path().join("file/store"), LIMITS);
    let key = put(&store, &manifest("hello")).await;
    assert!(store.get(&key).await.is_some() && store.may_contain(&key.scope).await);
}

#[tokio::test]
async fn content_that_is_stored_while_its_file_is_looked_for_is_returned() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    // Nothing can be written there.
    let (store, content) = (open(&dir.path().join("file/store"), LIMITS), manifest("hello"));
    let key = key("docker.io", "library/a", &content);
    let mut get = std::pin::pin!(store.get(&key));
    tokio::select! {
        biased;
        found = &mut get => panic!("{found:?}"),
        () = std::future::ready(()) => {}
    }
    store.put(&key, &content);
    assert_eq!(get.await, Some(content));
}

#[tokio::test]
async fn a_writer_stores_whole_content_and_a_dropped_or_failed_one_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, content) = (open(dir.path(), LIMITS), blob(b"config"));
    let key = key("docker.io", "library/a", &content);
    let writer = |parts: &[&[u8]]| {
        let mut writer = store.writer(key.clone(), ContentKind::Blob, 6);
        parts.iter().for_each(|part| writer.write(part));
        writer
    };
    assert!(!writer(&[b"conf"]).is_complete());
    drop(writer(&[b"con", b"fig"]));
    let length = |found| WriteError::Length { expected: 6, found };
    assert_eq!(writer(&[b"con"]).finish(), Err(length(3)));
    assert_eq!(writer(&[b"con", b"figs"]).finish(), Err(length(7)));
    assert!(matches!(writer(&[b"gifnoc"]).finish(), Err(WriteError::Digest(_))));
    assert_eq!((store.get(&key).await, files(dir.path())), (None, vec![]));
    assert!(writer(&[b"con", b"", b"fig"]).is_complete());
    assert_eq!(writer(&[b"con", b"fig"]).finish(), Ok(Arc::clone(&content)));
    assert_eq!(store.get(&key).await, Some(content));
}

/// The contents that the killed process writes, one after the other.
fn numbered(n: usize) -> Arc<Content<Headers>> {
    manifest(&format!("{n} ").repeat(4096))
}

#[tokio::test]
async fn a_store_is_intact_after_its_process_is_killed_while_it_writes() {
    const DIRECTORY: &str = "DOCXY_TEST_STORE";
    const CONTENTS: usize = 1000;
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        // This is the process that is killed.
        let store = open(Path::new(&directory), LIMITS);
        for n in (0..CONTENTS).cycle() {
            put(&store, &numbered(n)).await;
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let key = |n| key("docker.io", "library/a", &numbered(n));
    let keys: Vec<_> = (0..CONTENTS).map(key).collect();
    let path = |key: &Key| dir.path().join(Headers::path(key));
    for round in 0..5 {
        let mut process = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::a_store_is_intact_after_its_process_is_killed_while_it_writes"])
            .env(DIRECTORY, dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Until it writes somewhere beyond the contents of the last round.
        while !path(&keys[CONTENTS / 6 * (round + 1)]).exists() {
            assert_eq!(process.try_wait().unwrap(), None);
            tokio::task::yield_now().await;
        }
        process.kill().unwrap();
        process.wait().unwrap();
        let store = open::<Headers>(dir.path(), DISK_ONLY);
        let written: Vec<_> = (0..CONTENTS).filter(|n| path(&keys[*n]).exists()).collect();
        assert_eq!(files(dir.path()).len(), written.len(), "nothing else is left");
        for n in written {
            assert_eq!(store.get(&keys[n]).await, Some(numbered(n)));
        }
    }
}
