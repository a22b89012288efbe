//! Token requests as query and as form, and responses of token services. A parsed request is formatted as the
//! same request, its scopes are reduced to pull, and a request to a registry other than Docker Hub has no
//! credentials.
#![no_main]

use docxy_protocol::authorization::Authorization;
use docxy_protocol::limits::TOKEN_BYTES_MAX;
use docxy_protocol::name::Registry;
use docxy_protocol::scope::Scope;
use docxy_protocol::token::{Parsed, TokenRequest};
use docxy_protocol::token_response::TokenResponse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let hub = Registry::docker_hub();
    let elsewhere: Registry = "ghcr.io".parse().unwrap();
    let by_query = |text: &str| request(TokenRequest::from_query(text, &hub));
    let by_form = |text: &str| TokenRequest::from_form(text, &hub).ok().and_then(request);
    if let Some(asked) = by_query(text) {
        if is_read_alike(&asked) {
            assert_eq!(by_query(&asked.query(Some("service"))).as_ref(), Some(&asked));
        }
        check_cut(&asked.for_registry(&hub).query(None));
    }
    if let Some(asked) = by_form(text) {
        let form = asked.form(Some("service")).unwrap();
        if is_read_alike(&asked) {
            assert_eq!(by_form(form.expose()).as_ref(), Some(&asked));
        }
        check_cut(asked.clone().for_registry(&hub).form(None).unwrap().expose());
    }
    if let Some(asked) = TokenRequest::from_form(text, &elsewhere).ok().and_then(request) {
        let without_foreign_credentials = asked.for_registry(&elsewhere);
        assert!(
            without_foreign_credentials.form(None).is_none()
                && without_foreign_credentials.is_anonymous(&Authorization::None)
        );
    }
    if let Ok(response) = TokenResponse::parse(text.as_bytes()) {
        assert!(response.secrets().all(|secret| (1..=TOKEN_BYTES_MAX).contains(&secret.expose().len())));
        let _ = response.into_token();
    }
});

fn request(parsed: Parsed) -> Option<TokenRequest> {
    match parsed {
        Parsed::Request(request) => Some(request),
        Parsed::NamesOtherRegistry => None,
    }
}

/// Whether the scopes, once their registry was removed, do not seem to name another one.
fn is_read_alike(request: &TokenRequest) -> bool {
    request.scopes.iter().all(|scope| matches!(Scope::parse(&scope.to_string()), Ok((None, _))))
}

/// Checks that the scopes allow pulling only.
fn check_cut(fields: &str) {
    let pairs = url::form_urlencoded::parse(fields.as_bytes());
    for (_, value) in pairs.filter(|(name, _)| name == "scope") {
        for scope in value.split(' ').map(str::to_ascii_lowercase) {
            assert!(!scope.starts_with("repository") || scope.ends_with(":pull"), "{scope}");
            assert!(!scope.starts_with("registry:"), "{scope}");
        }
    }
}
