//! Compares a passing blob with its digest.
//!
//! The last bytes are held back until the digest matches. Must never release the last byte before: an engine
//! would accept a wrong blob.

use bytes::Bytes;
use docxy_protocol::digester::Digester;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::name::Digest;
use std::collections::VecDeque;

/// The bytes that are held back.
const HELD_BACK_BYTES: u64 = 64 * 1024;

/// Verifies the bytes of a blob between the tunnel and the engine.
pub(super) struct BlobVerifier {
    expected: Digest,
    digester: Digester,
    /// The length of the blob, if it is known.
    length: Option<u64>,
    received: u64,
    held_back: VecDeque<Bytes>,
    released: u64,
}

impl BlobVerifier {
    pub(super) fn new(expected: Digest, length: Option<u64>) -> Self {
        let digester = Digester::matching(&expected);
        Self { expected, digester, length, received: 0, held_back: VecDeque::new(), released: 0 }
    }

    /// Adds received bytes.
    pub(super) fn take(&mut self, bytes: Bytes) {
        self.digester.update(&bytes);
        self.received += bytes.len() as u64;
        self.held_back.push_back(bytes);
    }

    /// The next bytes that may be released.
    pub(super) fn release(&mut self) -> Option<Bytes> {
        let edge = self.length.unwrap_or(self.received).saturating_sub(HELD_BACK_BYTES).min(self.received);
        let free = usize::try_from(edge.saturating_sub(self.released)).unwrap_or(usize::MAX);
        let front = self.held_back.front_mut().filter(|_| free > 0)?;
        let part = front.split_to(front.len().min(free));
        if front.is_empty() {
            self.held_back.pop_front();
        }
        self.released += part.len() as u64;
        Some(part)
    }

    /// The bytes that were held back, if the digest matches.
    pub(super) fn finish(self) -> Result<VecDeque<Bytes>, Fault> {
        let found = self.digester.finish();
        if found == self.expected {
            return Ok(self.held_back);
        }
        // The tunnel is authenticated, so the path did not change the bytes.
        let detail = format!(
            "the blob from the registry or its CDN is not {}: its {} bytes hash to {found}",
            self.expected, self.received
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
        range: usize,
        expected: &Digest,
        length: Option<u64>,
    ) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut verify = BlobVerifier::new(expected.clone(), length);
        let mut before = Vec::new();
        for chunk in content.chunks(range) {
            verify.take(Bytes::copy_from_slice(chunk));
            while let Some(bytes) = verify.release() {
                assert!(!bytes.is_empty());
                before.extend_from_slice(&bytes);
            }
        }
        let rest = verify.finish().ok().map(|held_back| held_back.into_iter().flatten().collect());
        (before, rest)
    }

    #[test]
    fn the_last_bytes_wait_for_the_hash() {
        for size in [0, 1, HELD_BACK_BYTES as usize, HELD_BACK_BYTES as usize + 1, 300_000] {
            let content: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let right = Digester::sha256().digest(&content);
            let wrong = Digester::sha256().digest(b"another");
            let early = size.saturating_sub(HELD_BACK_BYTES as usize);
            for (range, length) in [(1000, Some(size as u64)), (100_000, Some(size as u64)), (7000, None)] {
                let (before, rest) = pass(&content, range, &right, length);
                assert_eq!(before, content[..early], "{size} in {range}");
                assert_eq!(rest.as_deref(), Some(&content[early..]));
                let (before, rest) = pass(&content, range, &wrong, length);
                assert_eq!((before.len(), rest), (early, None));
            }
        }
    }

    #[test]
    fn a_wrong_blob_is_told_with_its_hop_and_both_hashes() {
        let expected = Digester::sha256().digest(b"right");
        let mut verify = BlobVerifier::new(expected.clone(), Some(5));
        verify.take(Bytes::from_static(b"wrong"));
        let text = verify.finish().unwrap_err().to_string();
        let found = Digester::sha256().digest(b"wrong");
        assert!(
            text.starts_with("CDN: ") && text.contains(expected.as_str()) && text.contains(found.as_str()),
            "{text}"
        );
    }
}
