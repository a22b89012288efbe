//! Parses an engine's request line into a typed operation.
//!
//! No other module may parse request paths. An unknown path is a 404 (engines probe `/v1/` and
//! `/extensions/`), and a method that is not served is a 405.

use crate::fault::{Fault, FaultKind, Hop};
use crate::listing_query::ListingQuery;
use crate::name::{NameError, Registry, Repository, split_registry};
use crate::request::{Method, Operation};
use percent_encoding::percent_decode_str;

/// The target of a request line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// An operation of a registry.
    Registry(Registry, Operation, NamedBy),
    /// A token of this registry. Only the path names the registry. The token request is in the query or in
    /// the form.
    Token(Registry),
    /// The client's health.
    Health,
}

/// How a request names its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    /// By containerd's `ns`. A request that names no registry also counts: it means Docker Hub.
    Namespace,
    /// By the first part of the path, which the engine treats as part of the repository's name.
    Path,
}

/// Parses `method path?query`.
///
/// The registry is containerd's `ns`, else the path's first part if that is a host, else Docker Hub. An `ns`
/// of Docker Hub counts as absent, because no repository there has a name that starts with a host.
///
/// # Errors
/// A fault of the engine's hop: unknown route, method not served, or invalid name.
pub fn parse(method: &http::Method, path: &str, query: Option<&str>) -> Result<Route, Fault> {
    let get_or_head = get_or_head(method);
    match path {
        "/health" => return get_or_head.map(|_| Route::Health),
        "/auth/token" => return token(method, Registry::docker_hub()),
        "/v2" | "/v2/" => {
            let ping = get_or_head.map(|_| Operation::Ping)?;
            return Ok(Route::Registry(namespace(query)?, ping, NamedBy::Namespace));
        }
        _ => {}
    }
    if let Some(name) = path.strip_prefix("/auth/token/") {
        if name.is_empty() || name.contains('/') {
            return Err(unknown_route());
        }
        let name = percent_decode_str(name).decode_utf8().map_err(|_| unknown_route())?;
        return token(method, name.parse().map_err(invalid_name)?);
    }
    let path = percent_decode_str(path).decode_utf8().map_err(|_| unknown_route())?;
    let rest = path.strip_prefix("/v2/").ok_or_else(unknown_route)?;
    let (name, kind, last) = split(rest).ok_or_else(unknown_route)?;
    let namespace = namespace(query)?;
    let (registry, name, named_by) = match split_registry(name) {
        // If containerd named another registry, a first part with a dot belongs to the repository's
        // name (gcr.io/google.com/…).
        (Some(host), name) if namespace.is_docker_hub() => {
            (host.parse::<Registry>().map_err(invalid_name)?, name, NamedBy::Path)
        }
        _ => (namespace, name, NamedBy::Namespace),
    };
    let repository = name.parse::<Repository>().map_err(invalid_name)?.in_registry(&registry);
    let page = || ListingQuery::from_query(query).map_err(|e| engine_fault(FaultKind::RequestInvalid, e));
    // The method is checked last, so that an invalid name is reported for any method.
    let operation = match kind {
        EndpointKind::Manifest => {
            let reference = last.parse().map_err(|e| engine_fault(FaultKind::ReferenceInvalid, e))?;
            Operation::Manifest { repository, reference, method: get_or_head? }
        }
        EndpointKind::Blob => {
            let digest = last.parse().map_err(|e| engine_fault(FaultKind::DigestInvalid, e))?;
            Operation::Blob { repository, digest, method: get_or_head? }
        }
        EndpointKind::Tags => Operation::Tags { repository, page: get_only(method, page()?)? },
        EndpointKind::Referrers => {
            let subject = last.parse().map_err(|e| engine_fault(FaultKind::DigestInvalid, e))?;
            Operation::Referrers { repository, subject, page: get_only(method, page()?)? }
        }
        EndpointKind::Upload => return Err(not_served(method)),
    };
    Ok(Route::Registry(registry, operation, named_by))
}

fn token(method: &http::Method, registry: Registry) -> Result<Route, Fault> {
    let served = [http::Method::GET, http::Method::POST].contains(method);
    if served { Ok(Route::Token(registry)) } else { Err(not_served(method)) }
}

/// The endpoints below `/v2/<name>/`.
enum EndpointKind {
    Manifest,
    Blob,
    Tags,
    Referrers,
    Upload,
}

/// Splits `<name>/<kind>/<last>` from the right, because a name may contain the same words.
fn split(rest: &str) -> Option<(&str, EndpointKind, &str)> {
    if let Some((name, _)) = rest.rsplit_once("/blobs/uploads/") {
        return Some((name, EndpointKind::Upload, ""));
    }
    let (head, last) = rest.rsplit_once('/')?;
    let (name, word) = head.rsplit_once('/')?;
    match (word, last) {
        ("manifests", _) => Some((name, EndpointKind::Manifest, last)),
        ("blobs", _) => Some((name, EndpointKind::Blob, last)),
        ("referrers", _) => Some((name, EndpointKind::Referrers, last)),
        ("tags", "list") => Some((name, EndpointKind::Tags, last)),
        _ => None,
    }
}

/// The registry in containerd's `ns` parameter: the one for which Docxy is a mirror.
fn namespace(query: Option<&str>) -> Result<Registry, Fault> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    match pairs.find(|(name, _)| name == "ns") {
        Some((_, host)) => host.parse().map_err(invalid_name),
        None => Ok(Registry::docker_hub()),
    }
}

fn get_or_head(method: &http::Method) -> Result<Method, Fault> {
    match *method {
        http::Method::GET => Ok(Method::Get),
        http::Method::HEAD => Ok(Method::Head),
        _ => Err(not_served(method)),
    }
}

fn get_only<T>(method: &http::Method, value: T) -> Result<T, Fault> {
    if method == http::Method::GET { Ok(value) } else { Err(not_served(method)) }
}

fn not_served(method: &http::Method) -> Fault {
    engine_fault(
        FaultKind::MethodNotServed,
        format!("{method} is not supported here: docxy serves pulls only"),
    )
}

fn unknown_route() -> Fault {
    engine_fault(FaultKind::RouteUnknown, "no such path; docxy serves /v2/, /auth/token and /health")
}

fn invalid_name(error: NameError) -> Fault {
    engine_fault(FaultKind::NameInvalid, error)
}

fn engine_fault(kind: FaultKind, detail: impl std::fmt::Display) -> Fault {
    Fault::new(Hop::Engine, kind, detail)
}

#[cfg(test)]
mod tests {
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
            (
                "/v2/manifests/tags/blobs/manifests/list",
                None,
                "docker.io/v2/manifests/tags/blobs/manifests/list".to_owned(),
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
        let named_by = |path, query| match parse(&M::GET, path, query).unwrap() {
            Route::Registry(_, _, named_by) => named_by,
            other => panic!("{other:?}"),
        };
        assert_eq!(named_by("/v2/ghcr.io/a/b/manifests/1", None), NamedBy::Path);
        for (path, query) in [
            ("/v2/a/b/manifests/1", None),
            ("/v2/a/b/manifests/1", Some("ns=ghcr.io")),
            ("/v2/google.com/sdk/cli/manifests/1", Some("ns=gcr.io")),
            ("/v2/", Some("ns=ghcr.io")),
        ] {
            assert_eq!(named_by(path, query), NamedBy::Namespace, "{path}");
        }
    }

    #[test]
    fn unknown_routes_are_404_and_unserved_methods_405() {
        for path in
            ["/", "/v1/_ping", "/v2/_catalog", "/extensions/x", "/v2/alpine", "/v2/a/tags/other", "/v3/"]
        {
            assert_eq!(fault(&M::GET, path, None), (404, FaultKind::RouteUnknown), "{path}");
        }
        for (method, path) in [
            (M::POST, "/v2/"),
            (M::PUT, "/v2/a/b/manifests/1"),
            (M::POST, "/v2/a/b/blobs/uploads/"),
            (M::PATCH, "/v2/a/b/blobs/uploads/some-id"),
            (M::HEAD, "/v2/a/b/tags/list"),
            (M::DELETE, "/auth/token"),
        ] {
            assert_eq!(fault(&method, path, None), (405, FaultKind::MethodNotServed), "{method} {path}");
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
}
