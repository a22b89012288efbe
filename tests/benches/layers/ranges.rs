//! A layer over a line with loss, as containerd 2.1 and later fetch it with `concurrent_layer_fetch_buffer`: workers take chunks
//! in order, request each by a range without an end, and close the connection after the chunk (`dockerFetcher.open` in
//! containerd's `core/remotes/docker/fetcher.go`; Debian's containerd has no such setting). Must never read beyond a chunk.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use anyhow::{Result, anyhow};
use docxy_tests::{
    docxy::{Client, Server},
    net::Lab,
    process::PROCESS_TIMEOUT,
    stored,
    wan::{End, LinkPreset, PRESETS, Wan, run_in_namespace},
};
use hub_stand_in::Listen;

use super::KEEPING;
use crate::bulk_source::{self, REPOSITORY};

const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 1);
const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 2);

const LENGTH: u64 = 96 << 20;

/// The buffer's size, and how many downloads containerd runs at the same time by default.
const CHUNK_BYTES: u64 = 8 << 20;
const WORKERS: usize = 3;

/// How one pull went.
pub(super) struct Pull {
    pub(super) seconds: f64,
    /// What crossed, as a share of the layer.
    pub(super) share: f64,
}

/// A pull without the buffer, and one with it, over a new line with a new client each, which has pulled once.
pub(super) fn measure(seed: u64) -> Result<[Pull; 2]> {
    let lab = Lab::new()?;
    let [small, blob] = [("warm", 16 << 20), ("bulk", LENGTH)]
        .map(|(name, bytes)| (format!("{REPOSITORY}-{name}"), format!("--blob={REPOSITORY}-{name}:{bytes}")));
    let source = bulk_source::start(Some(&lab.hub), Listen::on(Lab::HUB), &[&small.1, &blob.1])?;
    let path = |repository: &str| -> Result<_> {
        Ok(format!("/v2/{repository}/blobs/{}", source.digest(repository)?))
    };
    let (small, blob) = (path(&small.0)?, path(&blob.0)?);
    let pull = |read: fn(SocketAddr, &str) -> Result<()>| -> Result<Pull> {
        let (left, right) =
            (End::new(lab.laptop.name(), CLIENT_ADDRESS), End::new(lab.abroad.name(), SERVER_ADDRESS));
        let _wan = Wan::join(&left, &right, line()?.link, seed)?;
        let server = Server::start(Some(&lab.abroad), SERVER_ADDRESS.into(), &source.server_config())?;
        let mut client = Client::start_with(Some(&lab.laptop), &server.invite("bench")?, &[KEEPING])?;
        client.wait_until_up(PROCESS_TIMEOUT)?;
        let in_laptop = |read: &(dyn Fn() -> Result<()> + Sync)| run_in_namespace(lab.laptop.name(), read)?;
        in_laptop(&|| stored::read(client.address(), &small, None, 16 << 20))?;
        let (before, began) = (client.count("transfers/bytes_crossed")?, Instant::now());
        in_laptop(&|| read(client.address(), &blob))?;
        let seconds = began.elapsed().as_secs_f64();
        let crossed = client.count("transfers/bytes_crossed")? - before;
        Ok(Pull { seconds, share: crossed as f64 / LENGTH as f64 })
    };
    Ok([pull(|client, path| stored::read(client, path, None, LENGTH))?, pull(in_chunks)?])
}

/// 100 Mbit/s, 200 ms, 1 % loss.
fn line() -> Result<&'static LinkPreset> {
    PRESETS.iter().find(|preset| preset.name == "transpacific-1%").ok_or_else(|| anyhow!("no such line"))
}

fn in_chunks(client: SocketAddr, path: &str) -> Result<()> {
    let next = AtomicU64::new(0);
    let work = || loop {
        let start = next.fetch_add(CHUNK_BYTES, Ordering::Relaxed);
        if start >= LENGTH {
            return Ok(());
        }
        stored::read(client, path, Some(start), CHUNK_BYTES.min(LENGTH - start))?;
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow!("a reader panicked"))?)
    })
}
