//! A body on its way to the engine, compared with its digest if it is a whole blob.
//!
//! The last bytes are held back until the digest matches. Must never release the last byte before: an engine
//! would accept a wrong blob.

use super::resume::ResumableBody;
use crate::exchange::ExchangeError;
use crate::metadata::cache::ManifestWriter;
use bytes::Bytes;
use docxy_host::blob_store::StoredBlob;
use docxy_protocol::digester::Digester;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::name::Digest;
use docxy_protocol::prefetch::ContentKind;
use std::collections::VecDeque;

/// The bytes at the end of a blob that are held back.
const UNRELEASED_BYTES: u64 = 64 * 1024;

/// A body with what verifies and stores it.
pub(super) struct VerifiedBody {
    pub(super) source: ResumableBody,
    pub(super) verifier: Option<BlobVerifier>,
    /// The blob on the disk, to be told what the verifier finds.
    pub(super) stored: Option<StoredBlob>,
    /// Whether it is the whole of that blob. Then it needs no verifier while that is known to be right.
    pub(super) is_whole: bool,
    pub(super) writer: Option<ManifestWriter>,
}

/// Verifies the bytes of a blob.
pub(super) struct BlobVerifier {
    expected: Digest,
    /// `None` once the digest matched.
    digester: Option<Digester>,
    /// The length of the blob, if it is known.
    length: Option<u64>,
    held_back: VecDeque<Bytes>,
}

impl VerifiedBody {
    /// The next bytes, `None` at the end of a body that is complete, and right.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        let Some(verifier) = &mut self.verifier else {
            let at = self.source.position();
            let bytes = self.source.next().await?;
            if let (Some(writer), Some(bytes)) = (&mut self.writer, &bytes)
                && let Some(entry) = writer.write(bytes)
                && let ContentKind::Manifest { content_type } = entry.head()
            {
                self.source.guard().manifest(entry.digest(), entry.bytes(), content_type);
            }
            match (&self.stored, bytes) {
                // Something of it was damaged, and came again.
                (Some(stored), Some(bytes)) if self.is_whole && !stored.is_verified() => {
                    let mut verifier = BlobVerifier::after(stored, at).await?;
                    verifier.push(bytes);
                    self.verifier = Some(verifier);
                }
                (_, bytes) => return Ok(bytes),
            }
            return Box::pin(self.next()).await;
        };
        loop {
            if let Some(bytes) = verifier.pop_verified(self.source.position()) {
                return Ok(Some(bytes));
            }
            match self.source.next().await? {
                // It was verified while this waited for it.
                Some(bytes)
                    if self.source.position() == bytes.len() as u64
                        && self.stored.as_ref().is_some_and(StoredBlob::is_verified) =>
                {
                    self.verifier = None;
                    return Ok(Some(bytes));
                }
                Some(bytes) => verifier.push(bytes),
                None if verifier.digester.is_none() => return Ok(None),
                None => {
                    let finished = verifier.finish(self.source.position());
                    match (&self.stored, &finished) {
                        (Some(stored), Ok(())) => stored.verified(),
                        (Some(stored), Err(_)) => stored.discard(),
                        (None, _) => {}
                    }
                    finished?;
                }
            }
        }
    }
}

impl BlobVerifier {
    pub(super) fn new(expected: Digest, length: Option<u64>) -> Self {
        let digester = Some(Digester::matching(&expected));
        Self { expected, digester, length, held_back: VecDeque::new() }
    }

    /// The verifier of a stored blob whose bytes before this position were released.
    async fn after(stored: &StoredBlob, position: u64) -> Result<Self, Fault> {
        let mut verifier = Self::new(stored.key().digest.clone(), Some(stored.size()));
        let mut at = 0;
        while at < position {
            let max = usize::try_from(position - at).unwrap_or(usize::MAX);
            let Some(bytes) = stored.read(at, max).await else {
                let detail = "a layer on the disk was damaged while it was sent";
                return Err(Fault::new(Hop::Tunnel, FaultKind::Internal, detail));
            };
            verifier.hash(&bytes);
            at += bytes.len() as u64;
        }
        Ok(verifier)
    }

    fn hash(&mut self, bytes: &Bytes) {
        if let Some(digester) = &mut self.digester {
            digester.update(bytes);
        }
    }

    /// Adds received bytes.
    fn push(&mut self, bytes: Bytes) {
        self.hash(&bytes);
        self.held_back.push_back(bytes);
    }

    /// The next bytes that may be released, after `received` bytes were taken.
    fn pop_verified(&mut self, received: u64) -> Option<Bytes> {
        let held_back: u64 = self.held_back.iter().map(|bytes| bytes.len() as u64).sum();
        let free = match self.digester {
            None => held_back,
            Some(_) => {
                let edge = self.length.unwrap_or(received).saturating_sub(UNRELEASED_BYTES).min(received);
                edge.saturating_sub(received - held_back)
            }
        };
        let front = self.held_back.front_mut().filter(|_| free > 0)?;
        let part = front.split_to(front.len().min(usize::try_from(free).unwrap_or(usize::MAX)));
        if front.is_empty() {
            self.held_back.pop_front();
        }
        Some(part)
    }

    /// Lets all bytes be released if the digest matches.
    fn finish(&mut self, received: u64) -> Result<(), Fault> {
        let Some(found) = self.digester.take().map(Digester::finish).filter(|found| *found != self.expected)
        else {
            return Ok(());
        };
        self.held_back.clear();
        Err(mismatch(&self.expected, &found, received))
    }
}

/// The fault of a blob that is another one. The tunnel is authenticated, so the path did not change the bytes.
fn mismatch(expected: &Digest, found: &Digest, received: u64) -> Fault {
    let detail = format!(
        "the blob from the registry or its CDN is not {expected}: its {received} bytes hash to {found}"
    );
    Fault::new(Hop::Cdn, FaultKind::Mismatch, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passes `content` in pieces. Returns the bytes released before `finish`, and after it if the digest matches.
    fn pass(
        content: &[u8],
        range: usize,
        expected: &Digest,
        length: Option<u64>,
    ) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut verify = BlobVerifier::new(expected.clone(), length);
        let (mut before, mut received) = (Vec::new(), 0);
        for chunk in content.chunks(range) {
            verify.push(Bytes::copy_from_slice(chunk));
            received += chunk.len() as u64;
            while let Some(bytes) = verify.pop_verified(received) {
                assert!(!bytes.is_empty());
                before.extend_from_slice(&bytes);
            }
        }
        let is_right = verify.finish(received).is_ok();
        let rest: Vec<u8> = std::iter::from_fn(|| verify.pop_verified(received)).flatten().collect();
        assert!(is_right || rest.is_empty());
        (before, is_right.then_some(rest))
    }

    #[test]
    fn the_last_bytes_wait_for_the_hash() {
        for size in [0, 1, UNRELEASED_BYTES as usize, UNRELEASED_BYTES as usize + 1, 300_000] {
            let content: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let right = Digester::sha256().digest(&content);
            let wrong = Digester::sha256().digest(b"another");
            let early = size.saturating_sub(UNRELEASED_BYTES as usize);
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
        verify.push(Bytes::from_static(b"wrong"));
        let text = verify.finish(5).unwrap_err().to_string();
        let found = Digester::sha256().digest(b"wrong");
        assert!(
            text.starts_with("CDN: ") && text.contains(expected.as_str()) && text.contains(found.as_str()),
            "{text}"
        );
    }
}
