//! An engine's request line, `METHOD PATH?QUERY`: the registry's URL stays on its host and below `/v2/`,
//! and its path is not changed.
#![no_main]

use docxy_protocol::route::{self, Route};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &str| {
    let Some((method, target)) = line.split_once(' ') else { return };
    let Ok(method) = http::Method::from_bytes(method.as_bytes()) else { return };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    match route::parse(&method, path, query) {
        Ok(Route::Registry(registry, operation, _)) => {
            let api = url::Url::parse(&format!("https://{registry}")).unwrap_or_else(|_| {
                // For example 1.2.3.256: a valid host name, but an invalid address.
                url::Url::parse("https://registry.example").unwrap()
            });
            let path = operation.path().unwrap();
            let url = api.join(&path).unwrap();
            assert_eq!(url.origin(), api.origin(), "{path}");
            assert!(url.path().starts_with("/v2/") && url.fragment().is_none(), "{path}");
            assert_eq!(url.path(), path.split('?').next().unwrap(), "the path is not normalised");
        }
        Ok(Route::Token(registry)) => {
            // The realm in the registry's challenges routes to the same registry.
            let realm = if registry.is_docker_hub() {
                "/auth/token".to_owned()
            } else {
                format!("/auth/token/{registry}")
            };
            let uri: http::Uri = format!("http://127.0.0.1:5080{realm}?scope=x").parse().unwrap();
            assert_eq!(uri.path(), realm);
            assert_eq!(route::parse(&method, uri.path(), uri.query()), Ok(Route::Token(registry)));
        }
        Ok(
            Route::Health
            | Route::Metrics
            | Route::Page(_)
            | Route::Status
            | Route::Events
            | Route::Action(_),
        ) => {}
        Err(fault) => {
            assert!(fault.status().is_client_error());
            assert!(fault.detail.as_str().chars().count() <= 1000);
        }
    }
});
