//! Token requests as query and as form: the token service gets the engine's request, and a credential for a
//! registry other than Docker Hub is removed.
#![no_main]

use docxy_protocol::authorization::Authorization;
use docxy_protocol::name::Registry;
use docxy_protocol::token::TokenRequest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Without its registry, a scope may look as if it named another one.
    if let Ok((None, request)) = TokenRequest::from_query(text) {
        let again = TokenRequest::from_query(&request.query(Some("service"))).map(|(_, again)| again);
        assert_eq!(again.as_ref(), Ok(&request));
    }
    if let Ok((named, request)) = TokenRequest::from_form(text) {
        let form = request.form(Some("service")).unwrap();
        if named.is_none() {
            let again = TokenRequest::from_form(form.expose()).map(|(_, again)| again);
            assert_eq!(again.as_ref(), Ok(&request));
        }
        let elsewhere: Registry = "ghcr.io".parse().unwrap();
        let without_foreign_credentials = request.for_registry(&elsewhere);
        assert!(
            without_foreign_credentials.form(None).is_none()
                && without_foreign_credentials.is_anonymous(&Authorization::None)
        );
    }
});
