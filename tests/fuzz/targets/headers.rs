//! Header fields, one `name: value` per line: those of one hop and about the origin's host never cross the
//! tunnel, and the others arrive unchanged.
#![no_main]

use docxy_protocol::headers::Headers;
use docxy_protocol::limits::FIELD_LINES_MAX;
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut map = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(200) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
    }
    for fields in [Headers::filter_request(&map), Headers::filter_response(&map)] {
        for name in ["connection", "transfer-encoding", "set-cookie", "access-control-allow-origin"] {
            assert!(!fields.contains_key(name));
        }
        // The HTTP server limits the field lines of a request.
        if fields.len() <= FIELD_LINES_MAX
            && let Ok(frame) = docxy_protocol::frame::encode(&fields)
        {
            assert_eq!(docxy_protocol::frame::decode::<Headers>(&frame[4..]).unwrap(), fields);
        }
    }
});
