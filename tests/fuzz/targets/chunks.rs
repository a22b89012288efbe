//! An answering stream behind its head: what is announced is written again as it was, and a stream
//! that says neither that it was whole nor why it broke is neither.
#![no_main]

use docxy_protocol::chunk::ChunkHeader;
use docxy_protocol::fault::Fault;
use docxy_protocol::frame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut left = bytes;
    while let Some((announced, behind)) = left.split_first_chunk::<{ ChunkHeader::SIZE }>() {
        let piece = ChunkHeader::from_bytes(*announced);
        assert_eq!(piece.to_bytes(), *announced);
        left = behind;
        match piece {
            ChunkHeader::Data(count) => {
                assert!((1..=ChunkHeader::DATA_MAX).contains(&count));
                let Some((_, behind)) = left.split_at_checked(count as usize) else { return };
                left = behind;
            }
            ChunkHeader::End => return,
            ChunkHeader::Aborted => return fault(left),
        }
    }
});

/// Why it broke, as a frame.
fn fault(bytes: &[u8]) {
    let Some((_, payload)) = bytes.split_first_chunk::<4>() else { return };
    let Ok(fault) = frame::decode::<Fault>(payload) else { return };
    let status = fault.status();
    assert!(status.is_client_error() || status.is_server_error(), "{status}");
    if let Ok(again) = frame::encode(&fault) {
        assert_eq!(frame::decode::<Fault>(&again[4..]).unwrap(), fault);
    }
}
