//! A client with 20,000 layers on its disk: how much longer its start takes, and how much more memory it needs.

use std::{path::Path, time::Instant};

use anyhow::Result;
use bytes::Bytes;
use docxy_host::blob_store::{BlobKey, BlobLimits, BlobOwner, BlobStore};
use docxy_protocol::digester::Digester;
use docxy_tests::{docxy::Client, process::PROCESS_TIMEOUT, stand_in::StandIn};

use super::{KEEPING, scene::Scene};

const BLOBS: u64 = 20_000;

/// What they cost.
pub(super) struct Cost {
    pub(super) seconds: f64,
    pub(super) mib: f64,
}

pub(super) fn measure(source: &StandIn, runs: u32) -> Result<Vec<Cost>> {
    let mut scene = Scene::start(source, 1 << 20)?;
    let mut costs = Vec::new();
    let mut without = Vec::new();
    for _ in 0..runs {
        without.push(start(&mut scene.client)?);
    }
    scene.client.stop()?;
    fill(&scene.client.cache().join("blobs"))?;
    scene.client.start_again_with(&[KEEPING])?;
    let health = scene.client.health()?;
    anyhow::ensure!(health["cache"]["blobs"] == BLOBS, "{:#}", health["cache"]);
    for without in without {
        let with = start(&mut scene.client)?;
        costs.push(Cost { seconds: with.0 - without.0, mib: (with.1 - without.1) / f64::from(1 << 20) });
    }
    Ok(costs)
}

/// Starts it again. Returns how long that takes, until it is connected, and its memory in bytes.
fn start(client: &mut Client) -> Result<(f64, f64)> {
    client.stop()?;
    let began = Instant::now();
    client.start_again_with(&[KEEPING])?;
    let seconds = began.elapsed().as_secs_f64();
    client.wait_until_up(PROCESS_TIMEOUT)?;
    Ok((seconds, client.process().memory()?.now as f64))
}

/// Writes small blobs.
fn fill(directory: &Path) -> Result<()> {
    let limits = BlobLimits { bytes_max: Some(1 << 30), free_bytes_min: Some(0) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = BlobStore::open(directory, limits)?;
        for n in 0..BLOBS {
            let bytes = Bytes::copy_from_slice(&n.to_le_bytes());
            let key = BlobKey { digest: Digester::sha256().digest(&bytes), owner: BlobOwner::Public };
            let blob = store.blob(&key, bytes.len() as u64).await;
            blob.write(0, bytes);
            if n % 256 == 0 {
                store.flush().await;
            }
        }
        store.flush().await;
        Ok(())
    })
}
