//! The first frame of a stream, Hellos, control messages and what is prefetched: a decoded frame is encoded as the
//! same value, and a request stays on the registry's host.
#![no_main]

use docxy_protocol::control::{ControlMessage, Hello, StreamHeader};
use docxy_protocol::frame;
use docxy_protocol::limits::MANIFEST_BYTES_MAX;
use docxy_protocol::prefetch::{LayerSegment, PrefetchItem};
use docxy_protocol::reply::{BodyFraming, Reply};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, payload)) = bytes.split_first() else { return };
    match kind % 6 {
        0 => {
            if let Some(StreamHeader::Request(header)) = reencoded::<StreamHeader>(payload) {
                let request = header.request.without_foreign_credentials();
                if let Some(path) = request.operation.path() {
                    assert_stays_on_host(&path);
                }
            }
        }
        1 => {
            if let Some(Reply::Response(response)) = reencoded::<Reply>(payload)
                && let BodyFraming::Segmented(layout) = response.body
            {
                assert!(layout.count() > 0 && !layout.range(layout.count() - 1).is_empty());
                assert_eq!(layout.range(layout.count() - 1).end, layout.length());
            }
        }
        2 => drop(reencoded::<ControlMessage>(payload)),
        4 => drop(reencoded::<Hello>(payload)),
        5 => drop(reencoded::<LayerSegment>(payload)),
        _ => {
            if let Some(item) = reencoded::<PrefetchItem>(payload) {
                assert!(item.length() <= MANIFEST_BYTES_MAX);
            }
        }
    }
});

fn reencoded<T: Serialize + DeserializeOwned + PartialEq + Debug>(payload: &[u8]) -> Option<T> {
    let value: T = frame::decode(payload).ok()?;
    // The encoding can be longer than the original: Docker Hub's other names, for example, are normalised.
    if let Ok(again) = frame::encode(&value) {
        assert_eq!(frame::decode::<T>(&again[4..]).unwrap(), value);
    }
    Some(value)
}

fn assert_stays_on_host(path: &str) {
    let api = url::Url::parse("https://registry.example:5000").unwrap();
    let url = api.join(path).unwrap();
    assert_eq!(url.origin(), api.origin(), "{path}");
    assert!(url.path().starts_with("/v2/") && url.username().is_empty(), "{path}");
    assert_eq!(url.path(), path.split('?').next().unwrap(), "the path is not normalised");
}
