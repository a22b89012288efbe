//! Whether what passes is the blob that was asked for.
//!
//! Its last bytes are held back until the hash says so. Must never let go of the last one before: an
//! engine would take a wrong blob for complete.

use bytes::Bytes;
use docxy_protocol::digester::Digester;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::name::Digest;
use std::collections::VecDeque;

/// Bytes held back.
const HELD_BACK: u64 = 64 * 1024;

/// A blob's bytes between the tunnel and the engine.
pub(super) struct Verify {
    wanted: Digest,
    checksum: Digester,
    /// Bytes of the whole, where that is known.
    length: Option<u64>,
    seen: u64,
    held: VecDeque<Bytes>,
    released: u64,
}

impl Verify {
    pub(super) fn new(wanted: Digest, length: Option<u64>) -> Self {
        let checksum = Digester::matching(&wanted);
        Self { wanted, checksum, length, seen: 0, held: VecDeque::new(), released: 0 }
    }

    /// Takes what came.
    pub(super) fn take(&mut self, bytes: Bytes) {
        self.checksum.update(&bytes);
        self.seen += bytes.len() as u64;
        self.held.push_back(bytes);
    }

    /// Gives what may go on already.
    pub(super) fn release(&mut self) -> Option<Bytes> {
        let edge = self.length.unwrap_or(self.seen).saturating_sub(HELD_BACK).min(self.seen);
        let free = usize::try_from(edge.saturating_sub(self.released)).unwrap_or(usize::MAX);
        let front = self.held.front_mut().filter(|_| free > 0)?;
        let part = front.split_to(front.len().min(free));
        if front.is_empty() {
            self.held.pop_front();
        }
        self.released += part.len() as u64;
        Some(part)
    }

    /// Gives what was held back, when everything has come and is right.
    pub(super) fn finish(self) -> Result<VecDeque<Bytes>, Fault> {
        let found = self.checksum.finish();
        if found == self.wanted {
            return Ok(self.held);
        }
        // The tunnel is authenticated end to end, so it was not the line.
        let detail = format!(
            "what came through the tunnel from the registry or its CDN is not {}: its {} bytes hash to {found}",
            self.wanted, self.seen
        );
        Err(Fault::new(Hop::Cdn, FaultKind::MalformedResponse, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passes `content` in pieces; what was let go before the end, and what the end gives.
    fn pass(
        content: &[u8],
        piece: usize,
        wanted: &Digest,
        length: Option<u64>,
    ) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut verify = Verify::new(wanted.clone(), length);
        let mut before = Vec::new();
        for chunk in content.chunks(piece) {
            verify.take(Bytes::copy_from_slice(chunk));
            while let Some(bytes) = verify.release() {
                assert!(!bytes.is_empty());
                before.extend_from_slice(&bytes);
            }
        }
        let rest = verify.finish().ok().map(|held| held.into_iter().flatten().collect());
        (before, rest)
    }

    #[test]
    fn the_last_bytes_wait_for_the_hash() {
        for size in [0, 1, HELD_BACK as usize, HELD_BACK as usize + 1, 300_000] {
            let content: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let right = Digester::sha256().digest(&content);
            let wrong = Digester::sha256().digest(b"another");
            let early = size.saturating_sub(HELD_BACK as usize);
            for (piece, length) in [(1000, Some(size as u64)), (100_000, Some(size as u64)), (7000, None)] {
                let (before, rest) = pass(&content, piece, &right, length);
                assert_eq!(before, content[..early], "{size} in {piece}");
                assert_eq!(rest.as_deref(), Some(&content[early..]));
                let (before, rest) = pass(&content, piece, &wrong, length);
                assert_eq!((before.len(), rest), (early, None));
            }
        }
    }

    #[test]
    fn a_wrong_blob_is_told_with_its_hop_and_both_hashes() {
        let wanted = Digester::sha256().digest(b"right");
        let mut verify = Verify::new(wanted.clone(), Some(5));
        verify.take(Bytes::from_static(b"wrong"));
        let text = verify.finish().unwrap_err().to_string();
        let found = Digester::sha256().digest(b"wrong");
        assert!(
            text.starts_with("CDN: ") && text.contains(wanted.as_str()) && text.contains(found.as_str()),
            "{text}"
        );
    }
}
