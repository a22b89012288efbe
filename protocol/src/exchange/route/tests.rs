//! Paths of engines, and what each is.

use super::*;
use http::Method as M;
use proptest::prelude::*;

fn upstream(method: &M, path: &str, query: Option<&str>) -> String {
    match parse(method, path, query).unwrap() {
        Route::Registry(registry, operation, _) => {
            format!("{registry}{}", operation.path().unwrap())
        }
        other => format!("{other:?}"),
    }
}

fn fault(method: &M, path: &str, query: Option<&str>) -> (u16, FaultKind) {
    let fault = parse(method, path, query).unwrap_err();
    (fault.status().as_u16(), fault.kind)
}

#[test]
fn the_registry_comes_from_ns_or_the_path() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    for (path, query, expected) in [
        ("/v2/", None, "docker.io/v2/".to_owned()),
        ("/v2", Some("ns=ghcr.io"), "ghcr.io/v2/".to_owned()),
        ("/v2/alpine/manifests/latest", None, "docker.io/v2/library/alpine/manifests/latest".to_owned()),
        (
            "/v2/library/alpine/manifests/latest",
            Some("ns=docker.io"),
            "docker.io/v2/library/alpine/manifests/latest".to_owned(),
        ),
        ("/v2/a/b/manifests/1", Some("ns=ghcr.io"), "ghcr.io/v2/a/b/manifests/1".to_owned()),
        ("/v2/ghcr.io/a/b/manifests/1", None, "ghcr.io/v2/a/b/manifests/1".to_owned()),
        ("/v2/host:5000/b/manifests/1", None, "host:5000/v2/b/manifests/1".to_owned()),
        (
            "/v2/google.com/sdk/cli/manifests/1",
            Some("ns=gcr.io"),
            "gcr.io/v2/google.com/sdk/cli/manifests/1".to_owned(),
        ),
        (
            "/v2/alpine/tags/list",
            Some("n=2&ns=docker.io"),
            "docker.io/v2/library/alpine/tags/list?n=2".to_owned(),
        ),
        (&format!("/v2/a/b/blobs/{digest}"), None, format!("docker.io/v2/a/b/blobs/{digest}")),
        (
            &format!("/v2/a/b/blobs/{}", digest.replace(':', "%3A")),
            None,
            format!("docker.io/v2/a/b/blobs/{digest}"),
        ),
        (
            &format!("/v2/a/b/referrers/{digest}"),
            Some("artifactType=x%2Fy"),
            format!("docker.io/v2/a/b/referrers/{digest}?artifactType=x%2Fy"),
        ),
        ("/v2/quay.io/a/b/manifests/1", Some("ns=quay.io"), "quay.io/v2/a/b/manifests/1".to_owned()),
        ("/v2/QUAY.io/a/b/manifests/1", Some("ns=Quay.IO"), "quay.io/v2/a/b/manifests/1".to_owned()),
        ("/v2/quay.io:443/a/b/manifests/1", Some("ns=quay.io"), "quay.io/v2/a/b/manifests/1".to_owned()),
        ("/v2/quay.io/quay.io/b/manifests/1", Some("ns=quay.io"), "quay.io/v2/quay.io/b/manifests/1".into()),
        (
            "/v2/quay.io/b/manifests/1",
            Some("ns=quay.io:5000"),
            "quay.io:5000/v2/quay.io/b/manifests/1".into(),
        ),
        ("/v2/host:5000/b/manifests/1", Some("ns=host%3A5000"), "host:5000/v2/b/manifests/1".to_owned()),
        ("/v2/host%3A5000/b/manifests/1", Some("%6es=host:5000"), "host:5000/v2/b/manifests/1".to_owned()),
        ("/v2/localhost/b/manifests/1", Some("ns=localhost"), "localhost/v2/b/manifests/1".to_owned()),
        ("/v2/quay.io/manifests/1", Some("ns=quay.io"), "quay.io/v2/quay.io/manifests/1".to_owned()),
        ("/v2/quay.io/a/tags/list", Some("ns=quay.io&n=1"), "quay.io/v2/a/tags/list?n=1".to_owned()),
        ("/v2/a/tags/list", Some("%6Es=quay.io&n=1"), "quay.io/v2/a/tags/list?n=1".to_owned()),
        (
            &format!("/v2/quay.io/a/blobs/{digest}"),
            Some("ns=quay.io"),
            format!("quay.io/v2/a/blobs/{digest}"),
        ),
        (
            &format!("/v2/quay.io/a/referrers/{digest}"),
            Some("ns=quay.io"),
            format!("quay.io/v2/a/referrers/{digest}"),
        ),
        (
            "/v2/index.docker.io/alpine/manifests/1",
            Some("ns=docker.io"),
            "docker.io/v2/library/alpine/manifests/1".to_owned(),
        ),
        (
            "/v2/docker.io/alpine/manifests/1",
            Some("ns=registry-1.docker.io"),
            "docker.io/v2/library/alpine/manifests/1".to_owned(),
        ),
        ("/v2/quay.io/a/manifests/1", Some("ns=docker.io"), "quay.io/v2/a/manifests/1".to_owned()),
        (
            "/v2/docker.io/library/alpine/manifests/1",
            Some("ns=cache.corp"),
            "cache.corp/v2/docker.io/library/alpine/manifests/1".to_owned(),
        ),
        (
            "/v2/manifests/tags/blobs/manifests/list",
            None,
            "docker.io/v2/manifests/tags/blobs/manifests/list".to_owned(),
        ),
        ("/v2/a/blobs/uploads/manifests/1", None, "docker.io/v2/a/blobs/uploads/manifests/1".to_owned()),
        ("/v2/a/blobs/uploads/tags/list", None, "docker.io/v2/a/blobs/uploads/tags/list".to_owned()),
        (
            &format!("/v2/blobs/uploads/blobs/{digest}"),
            None,
            format!("docker.io/v2/blobs/uploads/blobs/{digest}"),
        ),
        ("/v2/a/manifests/tags/list", None, "docker.io/v2/a/manifests/tags/list".to_owned()),
        (
            &format!("/v2/a/referrers/blobs/referrers/{digest}"),
            None,
            format!("docker.io/v2/a/referrers/blobs/referrers/{digest}"),
        ),
    ] {
        assert_eq!(upstream(&M::GET, path, query), expected, "{path}");
    }
}

#[test]
fn the_path_alone_names_the_registry_of_a_token_request() {
    for (path, registry) in [
        ("/auth/token", "docker.io"),
        ("/auth/token/docker.io", "docker.io"),
        ("/auth/token/index.docker.io", "docker.io"),
        ("/auth/token/registry-1.docker.io", "docker.io"),
        ("/auth/token/Docker.IO", "docker.io"),
        ("/auth/token/ghcr.io", "ghcr.io"),
        ("/auth/token/GHCR.io", "ghcr.io"),
        ("/auth/token/registry.corp:5000", "registry.corp:5000"),
        ("/auth/token/registry.corp%3A5000", "registry.corp:5000"),
        ("/auth/token/%67hcr.io", "ghcr.io"),
        ("/auth/token/localhost", "localhost"),
    ] {
        for method in [M::GET, M::POST] {
            for query in
                [None, Some("ns=evil.example&service=evil.example&scope=repository:evil.example/a:pull")]
            {
                assert_eq!(
                    parse(&method, path, query),
                    Ok(Route::Token(registry.parse().unwrap())),
                    "{path}"
                );
            }
        }
        assert_eq!(fault(&M::PUT, path, None), (405, FaultKind::MethodNotServed), "{path}");
    }
    for path in [
        "/auth/token/",
        "/auth/token//",
        "/auth/token/ghcr.io/",
        "/auth/token/ghcr.io/x",
        "/auth/token/%ff",
        "/auth/tokens",
        "/auth/Token",
    ] {
        assert_eq!(fault(&M::GET, path, None), (404, FaultKind::RouteUnknown), "{path}");
    }
    for path in [
        "/auth/token/..",
        "/auth/token/a%2fb",
        "/auth/token/ghcr.io%2F",
        "/auth/token/user@host",
        "/auth/token/host:0",
        "/auth/token/a%00b",
        "/auth/token/%20",
        "/auth/token/[::1]",
        "/auth/token/d\u{f6}cker.io",
    ] {
        assert_eq!(fault(&M::GET, path, None), (400, FaultKind::NameInvalid), "{path}");
    }
}

#[test]
fn a_route_distinguishes_ns_and_path() {
    for (path, query, namespace, in_path) in [
        ("/v2/ghcr.io/a/b/manifests/1", None, false, true),
        ("/v2/docker.io/a/b/manifests/1", None, false, true),
        ("/v2/a/b/manifests/1", None, false, false),
        ("/v2/", None, false, false),
        ("/v2/a/b/manifests/1", Some("ns=ghcr.io"), true, false),
        ("/v2/google.com/sdk/cli/manifests/1", Some("ns=gcr.io"), true, false),
        ("/v2/", Some("ns=ghcr.io"), true, false),
        ("/v2/ghcr.io/a/b/manifests/1", Some("ns=ghcr.io"), true, true),
        ("/v2/ghcr.io/a/b/manifests/1", Some("ns=docker.io"), true, true),
    ] {
        let Route::Registry(_, _, named_by) = parse(&M::GET, path, query).unwrap() else { panic!() };
        assert_eq!(named_by, NamedBy { namespace, path: in_path }, "{path}");
    }
}

#[test]
fn unknown_routes_are_404_and_unserved_methods_405() {
    for path in [
        "/index.html",
        "/v1/_ping",
        "/v2/_catalog",
        "/extensions/x",
        "/v2/alpine",
        "/v2/a/tags/other",
        "/v3/",
    ] {
        assert_eq!(fault(&M::GET, path, None), (404, FaultKind::RouteUnknown), "{path}");
    }
    for (method, path) in [
        (M::POST, "/v2/"),
        (M::PUT, "/v2/a/b/manifests/1"),
        (M::POST, "/v2/a/b/blobs/uploads/"),
        (M::PATCH, "/v2/a/b/blobs/uploads/some-id"),
        (M::POST, "/v2/a/b/blobs/uploads"),
        (M::GET, "/v2/a/b/blobs/uploads/some-id"),
        (M::HEAD, "/v2/a/b/blobs/uploads/"),
        (M::POST, "/v2/a/b/tags/list"),
        (M::DELETE, "/auth/token"),
    ] {
        assert_eq!(fault(&method, path, None), (405, FaultKind::MethodNotServed), "{method} {path}");
    }
    for (path, methods) in [
        ("/auth/token/ghcr.io", "GET, POST"),
        ("/v2/a/b/blobs/uploads/", ""),
        ("/v2/a/b/blobs/uploads/some-id", ""),
        ("/v2/a/blobs/uploads/manifests/1", "GET, HEAD"),
        ("/v2/a/tags/list", "GET, HEAD"),
        ("/v2/", "GET, HEAD"),
        ("/health", "GET, HEAD"),
    ] {
        assert_eq!(allowed_methods(path), methods, "{path}");
    }
}

#[test]
fn a_head_of_a_listing_is_answered_like_a_get() {
    for path in ["/v2/a/tags/list", &format!("/v2/a/referrers/sha256:{}", "ab".repeat(32))] {
        assert_eq!(parse(&M::HEAD, path, Some("n=1")), parse(&M::GET, path, Some("n=1")), "{path}");
    }
}

#[test]
fn invalid_names_are_400_with_their_error_code() {
    for (path, kind) in [
        ("/v2/UPPER/manifests/1", FaultKind::NameInvalid),
        ("/v2/a/../b/manifests/1", FaultKind::NameInvalid),
        ("/v2/a/%2e%2e/b/manifests/1", FaultKind::NameInvalid),
        ("/v2//a/manifests/1", FaultKind::NameInvalid),
        ("/v2/ghcr.io:0/a/manifests/1", FaultKind::NameInvalid),
        ("/v2/a/manifests/a%20b", FaultKind::ReferenceInvalid),
        ("/v2/a/manifests/", FaultKind::ReferenceInvalid),
        ("/v2/a/blobs/latest", FaultKind::DigestInvalid),
    ] {
        assert_eq!(fault(&M::GET, path, None), (400, kind), "{path}");
    }
    assert_eq!(fault(&M::GET, "/v2/a/manifests/1", Some("ns=user@host")), (400, FaultKind::NameInvalid));
    assert_eq!(fault(&M::GET, "/v2/a/manifests/1", Some("ns=")), (400, FaultKind::NameInvalid));
    let two = Some("ns=ghcr.io&ns=quay.io");
    assert_eq!(fault(&M::GET, "/v2/a/manifests/1", two), (400, FaultKind::RequestInvalid));
}

proptest! {
    #[test]
    fn parsing_never_panics(path in "/(v2/)?\\PC{0,60}", query in proptest::option::of("\\PC{0,30}")) {
        let _ = parse(&M::GET, &path, query.as_deref());
    }

    #[test]
    fn a_path_on_docker_hub_is_forwarded_unchanged(name in "[a-z]{1,8}/[a-z0-9]{1,8}", tag in "[A-Za-z0-9_][A-Za-z0-9._-]{0,20}") {
        let path = format!("/v2/{name}/manifests/{tag}");
        prop_assert_eq!(upstream(&M::GET, &path, None), format!("docker.io{path}"));
    }
}
