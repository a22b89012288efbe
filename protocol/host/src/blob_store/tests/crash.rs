//! What a crash leaves, and how long a start takes.

use super::*;
use proptest::prelude::*;
use std::process::Stdio;

/// What a crash leaves of a file: a part, or zeros, old or torn bytes in some places.
#[derive(Debug, Clone)]
enum Damage {
    Truncated(usize),
    Zeros(usize, usize),
    Noise(usize, usize),
    Moved(usize, usize),
    /// Some sectors, chosen by this seed, are as they were when only the first chunk had been written: of what came later,
    /// its bytes, its checksum in the table and the length of the file, each may be lost or not, in any order.
    Unwritten(u64),
}

/// What a disk writes whole.
const SECTOR_BYTES: usize = 512;

fn damage(length: usize) -> impl Strategy<Value = Damage> {
    // Half of them in the head and the table.
    let at = prop_oneof![0..8192.min(length), 0..length];
    let count = prop_oneof![1..64_usize, 1..300_000_usize];
    (0..6_u8, at, count, any::<u64>()).prop_map(|(kind, at, count, seed)| match kind {
        0 => Damage::Truncated(at),
        1 => Damage::Zeros(at, count),
        2 => Damage::Noise(at, count),
        3 => Damage::Moved(at, count),
        _ => Damage::Unwritten(seed),
    })
}

fn apply(damage: &Damage, bytes: &mut Vec<u8>, old: &[u8]) {
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
        Damage::Unwritten(seed) => {
            for (n, sector) in bytes.chunks_mut(SECTOR_BYTES).enumerate() {
                // A quarter to three quarters of them.
                let chance = seed.wrapping_add(n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62;
                if chance > seed % 3 {
                    continue;
                }
                let before = old.iter().skip(n * SECTOR_BYTES).chain(std::iter::repeat(&0));
                sector.iter_mut().zip(before).for_each(|(byte, before)| *byte = *before);
            }
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
            let blob = store.blob(&key, SIZE).await;
            write(&blob, &content, 0..CHUNK_BYTES, 100_000);
            store.flush().await;
            let [path] = &files(dir.path())[..] else { panic!() };
            let old = fs::read(path).unwrap();
            drop(blob);
            let blob = put(&store, &key, &content).await;
            drop(blob);
            store.flush().await;
            drop(store);
            let before = fs::read(path).unwrap();
            let mut bytes = before.clone();
            damages.iter().for_each(|damage| apply(damage, &mut bytes, &old));
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

#[tokio::test]
async fn a_store_is_intact_after_its_process_is_killed_while_it_writes() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        // This is the process that is killed.
        let store = open(Path::new(&directory), LIMITS).await;
        for seed in (0..).map(|n| n % 8) {
            let (key, bytes) = content(seed);
            let blob = put(&store, &key, &bytes).await;
            if seed % 2 == 0 {
                blob.discard();
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let name = "crash::a_store_is_intact_after_its_process_is_killed_while_it_writes";
    let mut process = this_test(name, dir.path()).stdout(Stdio::null()).spawn().unwrap();
    while files(dir.path()).len() < 4 {
        tokio::task::yield_now().await;
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let store = open(dir.path(), LIMITS).await;
    let mut found = 0;
    for seed in 0..8 {
        let (key, bytes) = content(seed);
        if let Some(blob) = store.find(&key).await {
            found += read_all(&blob, &bytes, usize::MAX).await;
        }
    }
    assert!(found >= 3 * SIZE, "{found}");
    assert_eq!((store.state().chunks_damaged, files(dir.path()).len() as u64), (0, store.state().blobs));
}

/// A measurement: `cargo test --release -p docxy-host --lib twenty_thousand -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "it measures, and writes 20,000 files"]
async fn twenty_thousand_blobs() {
    let rss = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let key = |n: u64| {
        let digest = Digester::sha256().digest(&n.to_le_bytes());
        BlobKey { digest, owner: BlobOwner::Public }
    };
    // Of this thread, since the machine may be busy.
    let processor_time = || {
        let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    };
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let (rss_before, began, before) = (rss(), std::time::Instant::now(), processor_time());
        let store = BlobStore::open(Path::new(&directory), LIMITS).unwrap();
        let (elapsed, opened) = (began.elapsed(), processor_time());
        let keys: Vec<_> = (0..20_000).map(key).collect();
        let keyed = processor_time();
        assert!(keys.iter().all(|key| store.contains(key)));
        let looked_up = (processor_time() - keyed) / 20_000;
        drop(keys);
        println!("open {elapsed:?}, of which processor {:?}", opened - before);
        println!("look-up {looked_up:?}, RSS + {} KiB", rss() - rss_before);
        let before = processor_time();
        println!("list of {} {:?}", store.list().len(), processor_time() - before);
        return;
    }
    let store = open(dir.path(), LIMITS).await;
    for n in 0..20_000 {
        let blob = store.blob(&key(n), 3).await;
        blob.write(0, Bytes::from_static(b"abc"));
        // It is not.
        blob.verified();
    }
    store.flush().await;
    let state = store.state();
    assert_eq!((state.blobs, state.bytes_dropped, state.paused), (20_000, 0, None));
    drop(store);
    let status = this_test("crash::twenty_thousand_blobs", dir.path()).arg("--ignored").status();
    assert!(status.unwrap().success());
}
