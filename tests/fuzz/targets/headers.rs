//! Header fields, one `name: value` a line: those of one hop and of the origin's host never cross
//! the tunnel, and what crosses it arrives as it was.
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
    for kept in [Headers::filter_request(&map), Headers::filter_response(&map)] {
        for name in ["connection", "transfer-encoding", "set-cookie", "access-control-allow-origin"] {
            assert!(!kept.map().contains_key(name));
        }
        // A request's repeated lines are bounded by the HTTP server in front.
        if kept.map().len() <= FIELD_LINES_MAX
            && let Ok(frame) = docxy_protocol::frame::encode(&kept)
        {
            assert_eq!(docxy_protocol::frame::decode::<Headers>(&frame[4..]).unwrap(), kept);
        }
    }
});
