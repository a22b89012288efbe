//! A manifest or an index from a registry, with its media type in the first line: the sizes of an accepted
//! image can be added up, and only a matching image of an index is chosen.
#![no_main]

use docxy_protocol::manifest::Manifest;
use docxy_protocol::platform::Platform;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or_default();
    let (content_type, document) = bytes.split_at(end);
    match Manifest::parse(document, std::str::from_utf8(content_type).ok()) {
        Ok(Manifest::Image(image)) => {
            let mut sizes = image.layers.iter().map(|layer| layer.size);
            assert!(sizes.try_fold(image.config.size, u64::checked_add).is_some());
        }
        Ok(Manifest::Index(entries)) => {
            let platform: Platform = "linux/arm/v7".parse().unwrap();
            if let Ok(chosen) = platform.choose(&entries) {
                assert!(platform.match_rank(chosen.platform.as_ref().unwrap()).is_some());
            }
        }
        Err(_) => {}
    }
});
