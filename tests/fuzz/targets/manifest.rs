//! A manifest or an index from a registry, its media type in the first line.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| docxy_client::pull::fuzz::manifest(bytes));
