//! `WWW-Authenticate`: a parsed challenge is formatted as the same challenge, and a new realm changes nothing
//! else. A confined one has that realm and names only the requested repository.
#![no_main]

use docxy_protocol::challenge::Challenge;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    for challenge in Challenge::parse_all(line) {
        let written = challenge.to_header().unwrap();
        assert_eq!(Challenge::parse_all(&written), std::slice::from_ref(&challenge));
        let ours = challenge.clone().with_realm("http://127.0.0.1:5080/auth/token");
        assert_eq!(ours.parameter("realm"), Some("http://127.0.0.1:5080/auth/token"));
        for name in ["service", "scope", "error"] {
            assert_eq!(ours.parameter(name), challenge.parameter(name));
        }
        assert_eq!(ours.is_bearer(), challenge.is_bearer());
        check_confined(&challenge);
    }
});

fn check_confined(challenge: &Challenge) {
    const REALM: &str = "http://127.0.0.1:5080/auth/token/ghcr.io";
    let written = challenge.clone().without_foreign_credentials(REALM, Some("asked/for")).to_string();
    let again = Challenge::parse_all(&written).remove(0);
    let realm = again.parameter("realm");
    let leads_nowhere = realm.is_none_or(|realm| !realm.contains(['/', ':', '"', '\\', '%']));
    assert!(realm == Some(REALM) || (leads_nowhere && !again.is_bearer()), "{written}");
    for scope in again.parameter("scope").unwrap_or_default().split(' ').map(str::to_ascii_lowercase) {
        assert!(!scope.starts_with("repository") || scope.ends_with(":asked/for:pull"), "{written}");
    }
}
