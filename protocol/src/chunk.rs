//! How a body follows its reply on the same stream: in chunks, so that the stream says whether the body is
//! complete, and if not, why.
//!
//! A reset is not enough: it can discard data that was sent before it, the reply included (RFC 9000,
//! section 3.2). So truncation must never be silent: a body whose stream ends without [`ChunkHeader::End`]
//! is not complete. Resets are for streams that are no longer needed.

/// What follows on the stream. A chunk header has [`ChunkHeader::SIZE`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkHeader {
    /// This many bytes of the body.
    Data(u32),
    /// The end of a complete body. Only [prefetched items](crate::prefetch) may follow.
    End,
    /// The end of an incomplete body. A frame with a [`Fault`](crate::fault::Fault) follows, and nothing
    /// else.
    Aborted,
}

impl ChunkHeader {
    /// Bytes of an encoded header.
    pub const SIZE: usize = 4;
    /// Bytes of one chunk, at most: far more than is ever written at once.
    pub const DATA_MAX: u32 = ABORTED - 1;

    /// Encodes the header.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::SIZE] {
        match self {
            Self::Data(count) => count,
            Self::End => END,
            Self::Aborted => ABORTED,
        }
        .to_be_bytes()
    }

    /// Decodes a header.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        match u32::from_be_bytes(bytes) {
            END => Self::End,
            ABORTED => Self::Aborted,
            count => Self::Data(count),
        }
    }
}

/// A chunk is never empty, so its length 0 is free for this.
const END: u32 = 0;
const ABORTED: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_headers_decode_to_what_was_encoded() {
        for header in [
            ChunkHeader::Data(1),
            ChunkHeader::Data(ChunkHeader::DATA_MAX),
            ChunkHeader::End,
            ChunkHeader::Aborted,
        ] {
            assert_eq!(ChunkHeader::from_bytes(header.to_bytes()), header);
        }
        assert_eq!(ChunkHeader::End.to_bytes(), [0; 4]);
        assert_eq!(ChunkHeader::Data(258).to_bytes(), [0, 0, 1, 2]);
        assert_eq!(ChunkHeader::Aborted.to_bytes(), [255; 4]);
    }
}
