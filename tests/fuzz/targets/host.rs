//! A request's `Host`, `Origin` and `Sec-Fetch-Site`, and a response's `WWW-Authenticate` and `Link`, one
//! per line: only the client's own names are accepted, and an engine gets only URLs of the client.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| docxy_client::frontend::fuzz::heads(text));
