//! A request's `Host`, `Origin` and `Sec-Fetch-Site`, and an answer's `WWW-Authenticate` and `Link`,
//! one a line: who is let in is a name of ours, and what an engine is told leads to us.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| docxy_client::frontend::fuzz::heads(text));
