//! What a registry says of an error, two bytes of status in front: an engine always gets JSON, and a
//! text of ours is never longer than theirs may be.
#![no_main]

use docxy_protocol::error_body;
use docxy_protocol::fault::Fault;
use http::StatusCode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((status, body)) = bytes.split_first_chunk::<2>() else { return };
    let number = u16::from_be_bytes(*status);
    // A stream's reset says what went wrong by a number of the peer's.
    let _ = Fault::from_reset_code(u64::from(number)).status();
    let Ok(status) = StatusCode::from_u16(400 + number % 200) else { return };
    let shown = error_body::from_upstream(status, body, "MANIFEST_UNKNOWN");
    let json: serde_json::Value = serde_json::from_slice(&shown).unwrap();
    assert!(json.is_object());
    assert!(shown == body || shown.len() < 4000, "{} bytes", shown.len());
});
