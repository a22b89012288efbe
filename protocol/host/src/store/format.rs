//! Where the file of an entry is, and what it has before the content. Earlier builds wrote the same.

use super::content::Key;
use docxy_protocol::digester::Digester;
use docxy_protocol::frame;
use docxy_protocol::headers::Headers;
use docxy_protocol::prefetch::ContentKind;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::io;
use std::path::PathBuf;

/// Maximum number of bytes of a line before the content.
const LINE_BYTES_MAX: usize = 2048;

/// What is stored with content.
pub trait ContentHead: Clone + Debug + Send + Sync + Sized + 'static {
    /// The path of an entry's file in the directory of the store. Its last component ends with a hash.
    fn path(key: &Key) -> PathBuf;

    /// The bytes of the file before the content.
    ///
    /// # Errors
    /// If the head is too long.
    fn encode(&self, key: &Key) -> io::Result<Vec<u8>>;

    /// The head of a file, and where its content begins. `None` if it is damaged, or of another entry.
    fn decode(key: &Key, file: &[u8]) -> Option<(Self, usize)>;

    /// Its bytes in memory, roughly.
    fn size(&self) -> usize;
}

/// The header fields of a response: `SCOPE/DIGEST`, with a frame before the content.
impl ContentHead for Headers {
    fn path(key: &Key) -> PathBuf {
        key.scope.directory().join(key.digest.as_str().replacen(':', "-", 1))
    }

    fn encode(&self, _: &Key) -> io::Result<Vec<u8>> {
        frame::encode(self).map_err(io::Error::other)
    }

    fn decode(_: &Key, file: &[u8]) -> Option<(Self, usize)> {
        frame::decode_prefix(file).ok()
    }

    fn size(&self) -> usize {
        self.size()
    }
}

/// What the content is: a file named by the hash of the key, with a line of JSON before the content.
impl ContentHead for ContentKind {
    fn path(key: &Key) -> PathBuf {
        Digester::sha256().digest(key.to_string().as_bytes()).hex().into()
    }

    fn encode(&self, key: &Key) -> io::Result<Vec<u8>> {
        let media_type = match self {
            Self::Manifest { content_type } => Some(content_type.clone()),
            Self::Blob => None,
        };
        let mut line = serde_json::to_vec(&Line { key: key.to_string(), media_type })?;
        line.push(b'\n');
        Ok(line)
    }

    fn decode(key: &Key, file: &[u8]) -> Option<(Self, usize)> {
        let end = file.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n')?;
        let line: Line = serde_json::from_slice(&file[..end]).ok()?;
        let kind = line.media_type.map_or(Self::Blob, |content_type| Self::Manifest { content_type });
        (line.key == key.to_string()).then_some((kind, end + 1))
    }

    fn size(&self) -> usize {
        match self {
            Self::Manifest { content_type } => content_type.len(),
            Self::Blob => 0,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    /// The repository and the digest.
    key: String,
    /// Of a manifest.
    media_type: Option<String>,
}
