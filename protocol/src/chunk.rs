//! How a body follows its head on the answering stream: in pieces, so that the stream's end says
//! whether the body was whole, and if not, why.
//!
//! A reset could say as much, but it overtakes what was sent before it, the head included (RFC
//! 9000, section 3.2: a receiver may discard what was not read yet). So a stream that just ends is
//! never a whole body, and a reset is left for what nobody wants any more.

/// What comes next on an answering stream. Each is announced by [`ChunkHeader::SIZE`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkHeader {
    /// So many bytes of the body.
    Data(u32),
    /// The end of a whole body. Nothing of it follows, but perhaps what comes
    /// [ahead](crate::prefetch).
    End,
    /// The end of a broken one. A frame with a [`Fault`](crate::fault::Fault) follows, and nothing
    /// else.
    Aborted,
}

impl ChunkHeader {
    /// Bytes of an announcement.
    pub const SIZE: usize = 4;

    /// Most bytes in one piece: far more than is ever written at once.
    pub const DATA_MAX: u32 = ABORTED - 1;

    /// The announcement.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::SIZE] {
        match self {
            Self::Data(count) => count,
            Self::End => END,
            Self::Aborted => ABORTED,
        }
        .to_be_bytes()
    }

    /// What is announced.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        match u32::from_be_bytes(bytes) {
            END => Self::End,
            ABORTED => Self::Aborted,
            count => Self::Data(count),
        }
    }
}

/// No bytes at all would be a piece that says nothing, so its number is free.
const END: u32 = 0;
const ABORTED: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_what_it_was_announced_as() {
        for piece in [
            ChunkHeader::Data(1),
            ChunkHeader::Data(ChunkHeader::DATA_MAX),
            ChunkHeader::End,
            ChunkHeader::Aborted,
        ] {
            assert_eq!(ChunkHeader::from_bytes(piece.to_bytes()), piece);
        }
        assert_eq!(ChunkHeader::End.to_bytes(), [0; 4]);
        assert_eq!(ChunkHeader::Data(258).to_bytes(), [0, 0, 1, 2]);
        assert_eq!(ChunkHeader::Aborted.to_bytes(), [255; 4]);
    }
}
