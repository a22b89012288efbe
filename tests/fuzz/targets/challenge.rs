//! `WWW-Authenticate`: a parsed challenge is formatted as the same challenge, and a new realm changes
//! nothing else.
#![no_main]

use docxy_protocol::challenge::Challenge;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &str| {
    for challenge in Challenge::parse_all(line).unwrap_or_default() {
        assert_eq!(Challenge::parse_all(&challenge.to_string()).unwrap(), std::slice::from_ref(&challenge));
        let ours = challenge.clone().with_realm("http://127.0.0.1:5080/auth/token");
        assert_eq!(ours.parameter("realm"), Some("http://127.0.0.1:5080/auth/token"));
        for name in ["service", "scope", "error"] {
            assert_eq!(ours.parameter(name), challenge.parameter(name));
        }
        assert_eq!(ours.is_bearer(), challenge.is_bearer());
    }
});
