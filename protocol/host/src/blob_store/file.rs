//! The file of a blob: a head, a table with the checksum of each chunk, and the chunks at their places, so that a blob
//! of which few are there is a sparse file.
//!
//! Nothing is flushed. After a crash any part of the file may be old, torn or zero: then the head does not match its
//! checksum, and the file is removed, or a chunk does not match the one in the table, and is missing.
//!
//! Must never return bytes that do not match their checksum.

use super::chunks::{CHUNK_BYTES, Chunks};
use super::key::BlobKey;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, SystemTime};

const MAGIC: [u8; 8] = *b"DocxyBl1";

/// The head's bytes, and the unit in which file systems allocate.
pub(super) const BLOCK_BYTES: u64 = 4096;

/// Where the [`Standing`] is. The disk writes its sector whole, or not.
const STANDING_AT: u64 = BLOCK_BYTES - 16;

/// Set in the seconds of a [`Standing`] if the blob is held.
const HELD: u64 = 1 << 63;

/// Bytes of an entry of the table.
const ENTRY_BYTES: u64 = 8;

/// Bytes of a blob, at most: its table is read whole.
pub(super) const BLOB_BYTES_MAX: u64 = 1 << 40;

/// An open file.
#[derive(Debug)]
pub(super) struct BlobFile {
    file: File,
    size: u64,
    /// Of the head. The checksums of entries are made with it, so that those of another blob do not match.
    salt: u32,
}

/// What the head says, for ever.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) key: BlobKey,
    pub(super) size: u64,
}

/// What is known of a blob, and changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// The [`fingerprint`] of the chunks whose digest is right.
    pub(super) verified: Option<u32>,
    /// When it was proven to be public.
    pub(super) proven_public: Option<SystemTime>,
    /// Whether its bytes may be wrong: no reader gets them, and they are removed at the next start.
    pub(super) is_held: bool,
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: BlobFile,
    pub(super) head: Head,
    pub(super) standing: Standing,
    pub(super) chunks: Vec<Option<u32>>,
}

impl BlobFile {
    /// Makes a new file that of a blob, of which nothing is there.
    pub(super) fn create(file: File, head: &Head, standing: Standing) -> io::Result<Self> {
        let text = serde_json::to_vec(head)?;
        let salt = crc32fast::hash(&text);
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let mut block = [&MAGIC[..], &salt.to_le_bytes(), &length.to_le_bytes(), &text].concat();
        if block.len() as u64 > STANDING_AT {
            return Err(ErrorKind::InvalidInput.into());
        }
        // At once, so that a held blob never has a file that does not say so.
        block.resize(STANDING_AT as usize, 0);
        block.extend(standing.encode(salt));
        file.write_all_at(&block, 0)?;
        file.set_len(data_at(head.size))?;
        Ok(Self { file, size: head.size, salt })
    }

    /// Reads the head and the table. `None` if this is no whole head.
    pub(super) fn open(file: File) -> Option<Opened> {
        let mut block = [0; BLOCK_BYTES as usize];
        file.read_exact_at(&mut block, 0).ok()?;
        let salt = u32_at(&block, 8);
        let text = block[16..STANDING_AT as usize].get(..u32_at(&block, 12) as usize)?;
        if block[..8] != MAGIC || crc32fast::hash(text) != salt {
            return None;
        }
        let head: Head = serde_json::from_slice(text).ok()?;
        if head.size > BLOB_BYTES_MAX {
            return None;
        }
        let standing = Standing::decode(&block[STANDING_AT as usize..], salt);
        let mut table = vec![0; (Chunks::count(head.size) * ENTRY_BYTES) as usize];
        file.read_exact_at(&mut table, BLOCK_BYTES).ok()?;
        let entry = |(n, entry): (usize, &[u8])| {
            let checksum = u32_at(entry, 0);
            (u32_at(entry, 4) == entry_checksum(salt, n as u64, checksum)).then_some(checksum)
        };
        let chunks = table.chunks_exact(ENTRY_BYTES as usize).enumerate().map(entry).collect();
        Some(Opened { file: Self { file, size: head.size, salt }, head, standing, chunks })
    }

    /// Writes a chunk, and then its checksum, which is returned.
    pub(super) fn write_chunk(&self, n: u64, bytes: &[u8]) -> io::Result<u32> {
        let checksum = crc32fast::hash(bytes);
        self.file.write_all_at(bytes, data_at(self.size) + n * CHUNK_BYTES)?;
        let entry = [checksum, entry_checksum(self.salt, n, checksum)].map(u32::to_le_bytes).concat();
        self.file.write_all_at(&entry, BLOCK_BYTES + n * ENTRY_BYTES)?;
        Ok(checksum)
    }

    /// The bytes of a chunk; `None` if they do not match their checksum.
    pub(super) fn read_chunk(&self, n: u64, checksum: u32) -> io::Result<Option<Bytes>> {
        let length = CHUNK_BYTES.min(self.size.saturating_sub(n * CHUNK_BYTES)) as usize;
        let mut bytes = vec![0; length];
        match self.file.read_exact_at(&mut bytes, data_at(self.size) + n * CHUNK_BYTES) {
            Ok(()) => Ok((crc32fast::hash(&bytes) == checksum).then(|| bytes.into())),
            // It was truncated.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Records that a chunk is not there.
    pub(super) fn clear_chunk(&self, n: u64) -> io::Result<()> {
        self.file.write_all_at(&[0; ENTRY_BYTES as usize], BLOCK_BYTES + n * ENTRY_BYTES)
    }

    pub(super) fn write_standing(&self, standing: Standing) -> io::Result<()> {
        self.file.write_all_at(&standing.encode(self.salt), STANDING_AT)
    }

    /// Records that it was used now. The time decides which blobs are evicted after a restart.
    pub(super) fn touch(&self, now: SystemTime) {
        let _ = self.file.set_modified(now);
    }
}

impl Standing {
    fn encode(self, salt: u32) -> [u8; 16] {
        let proven = self.proven_public.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let mut slot = [0; 16];
        let seconds = proven.map_or(0, |proven| proven.as_secs()) | if self.is_held { HELD } else { 0 };
        slot[..8].copy_from_slice(&seconds.to_le_bytes());
        slot[8..12].copy_from_slice(&self.verified.unwrap_or_default().to_le_bytes());
        let checksum = entry_checksum(salt, crc32fast::hash(&slot[..12]).into(), 0);
        slot[12..].copy_from_slice(&checksum.to_le_bytes());
        slot
    }

    /// A slot that was never written, or is torn, says that nothing is known.
    fn decode(slot: &[u8], salt: u32) -> Self {
        if u32_at(slot, 12) != entry_checksum(salt, crc32fast::hash(&slot[..12]).into(), 0) {
            return Self::default();
        }
        let seconds = u64::from(u32_at(slot, 0)) | u64::from(u32_at(slot, 4)) << 32;
        let (is_held, seconds) = (seconds & HELD != 0, seconds & !HELD);
        let proven = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        let verified = Some(u32_at(slot, 8)).filter(|fingerprint| *fingerprint != 0);
        Self { verified, proven_public: proven.filter(|_| seconds > 0), is_held }
    }
}

/// Identifies the content of a whole blob by the checksums of its chunks; `None` if some are not there.
pub(super) fn fingerprint(chunks: impl Iterator<Item = Option<u32>>) -> Option<u32> {
    let mut hasher = crc32fast::Hasher::new();
    for checksum in chunks {
        hasher.update(&checksum?.to_le_bytes());
    }
    Some(hasher.finalize().max(1))
}

/// Bytes of a file's head and table.
pub(super) const fn data_at(size: u64) -> u64 {
    BLOCK_BYTES + (Chunks::count(size) * ENTRY_BYTES).next_multiple_of(BLOCK_BYTES)
}

/// The checksum of an entry of the table. Zeros do not match it.
fn entry_checksum(salt: u32, n: u64, checksum: u32) -> u32 {
    let entry = [&b"entry"[..], &salt.to_le_bytes(), &n.to_le_bytes(), &checksum.to_le_bytes()].concat();
    crc32fast::hash(&entry)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
