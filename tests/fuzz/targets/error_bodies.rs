//! A registry's error body after two bytes of status: an engine always gets JSON, and a body of our own is
//! short.
#![no_main]

use docxy_protocol::error_body;
use docxy_protocol::fault::Fault;
use http::StatusCode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((status, body)) = bytes.split_first_chunk::<2>() else { return };
    let number = u16::from_be_bytes(*status);
    // A peer chooses the code of a reset freely.
    let _ = Fault::from_reset_code(u64::from(number)).status();
    let Ok(status) = StatusCode::from_u16(400 + number % 200) else { return };
    let shown = error_body::from_upstream(status, body, "MANIFEST_UNKNOWN");
    let json: serde_json::Value = serde_json::from_slice(&shown).unwrap();
    assert!(json.is_object());
    assert!(shown == body || shown.len() < 4000, "{} bytes", shown.len());
});
