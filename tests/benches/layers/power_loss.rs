//! What a power loss may leave of a layer on the disk: of what was written since a file was last whole, each page is there or
//! not, in any order, and the file may be shorter. Must never look at the format of the file.

use std::fs;

use anyhow::Result;
use docxy_tests::{stand_in::StandIn, stored};
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::scene::Scene;

/// What a file system writes at a time.
const PAGE_BYTES: usize = 4096;

/// Pulls a layer, half of it first, and after each power loss. Returns how many engines got other bytes, and the shares that
/// crossed again.
pub(super) fn replay(source: &StandIn, length: u64, times: u32) -> Result<(u32, Vec<f64>)> {
    let mut scene = Scene::start(source, length)?;
    // As long as the write of these is not forced, any of them may be lost.
    stored::read(scene.client.address(), &scene.path, None, length / 2)?;
    scene.client.stop()?;
    let blobs = scene.client.cache().join("blobs");
    let largest = |file: &std::path::PathBuf| fs::metadata(file).map_or(0, |metadata| metadata.len());
    let file = stored::files_below(&blobs)?.into_iter().max_by_key(largest);
    let file = file.ok_or_else(|| anyhow::anyhow!("nothing is on the disk"))?;
    let old = fs::read(&file)?;
    scene.start_again()?;
    scene.read_whole()?;
    scene.client.stop()?;
    let new = fs::read(&file)?;
    let (mut wrong, mut shares, mut random) = (0, Vec::new(), Pcg64::seed_from_u64(1));
    for _ in 0..times {
        fs::write(&file, torn(&old, &new, &mut random))?;
        scene.start_again()?;
        let digest = stored::read_and_hash(scene.client.address(), &scene.path, |_| Ok(()));
        wrong += u32::from(!digest.is_ok_and(|digest| scene.path.ends_with(&digest)));
        shares.push(scene.share()?);
        scene.client.stop()?;
    }
    Ok((wrong, shares))
}

/// Pages of both states, and zeros in place of some that are in neither.
fn torn(old: &[u8], new: &[u8], random: &mut Pcg64) -> Vec<u8> {
    let kept = random.random_range(0.05..0.95);
    let mut bytes = new.to_vec();
    for (n, page) in bytes.chunks_mut(PAGE_BYTES).enumerate() {
        let before = old.get(n * PAGE_BYTES..n * PAGE_BYTES + page.len());
        if random.random_bool(kept) {
            continue;
        }
        // A sector is whole, a page need not be.
        let cut = if random.random_bool(0.1) { random.random_range(0..8) * 512 } else { 0 };
        for (at, byte) in page.iter_mut().enumerate().skip(cut) {
            *byte = before.map_or(0, |before| before[at]);
        }
    }
    if random.random_bool(0.3) {
        bytes.truncate(random.random_range(0..bytes.len()));
    }
    bytes
}
