//! A response's stream after the reply: chunk headers are encoded as they were decoded, and a fault after
//! an aborted body has a valid status.
#![no_main]

use docxy_protocol::chunk::ChunkHeader;
use docxy_protocol::fault::Fault;
use docxy_protocol::frame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut left = bytes;
    while let Some((header, rest)) = left.split_first_chunk::<{ ChunkHeader::SIZE }>() {
        let chunk = ChunkHeader::from_bytes(*header);
        assert_eq!(chunk.to_bytes(), *header);
        left = rest;
        match chunk {
            ChunkHeader::Data(count) => {
                assert!((1..=ChunkHeader::DATA_MAX).contains(&count));
                let Some((_, rest)) = left.split_at_checked(count as usize) else { return };
                left = rest;
            }
            ChunkHeader::End => return,
            ChunkHeader::Aborted => return fault(left),
        }
    }
});

/// Decodes the frame with the fault of an aborted body.
fn fault(bytes: &[u8]) {
    let Some((_, payload)) = bytes.split_first_chunk::<4>() else { return };
    let Ok(fault) = frame::decode::<Fault>(payload) else { return };
    let status = fault.status();
    assert!(status.is_client_error() || status.is_server_error(), "{status}");
    if let Ok(again) = frame::encode(&fault) {
        assert_eq!(frame::decode::<Fault>(&again[4..]).unwrap(), fault);
    }
}
