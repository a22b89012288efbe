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
    /// The client's metrics.
    Metrics,
    /// A file of the client's page; the page itself has no name.
    Page(String),
    /// What the page shows, once.
    Status,
    /// The same as it changes.
    Events,
    /// What a button of the page does.
    Action(Action),
}

/// What a button of the page does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Use one server for all requests.
    Prefer,
    /// Forget pulls that have ended.
    Forget,
    /// Remove blobs from the disk.
    Prune,
}

/// How a request names its registry. One that does not name it means Docker Hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NamedBy {
    /// By containerd's `ns`.
    pub namespace: bool,
    /// By the first part of the path. Without `ns`, the engine treats that as part of the repository's name.
    pub path: bool,
}

/// Parses `method path?query`.
///
/// The registry is containerd's `ns`, else the path's first part if that is a host, else Docker Hub. If the path
/// begins with the registry that `ns` names, that part is dropped, once: mirrors with a path send both. Another
/// host there belongs to the repository's name (`gcr.io/google.com/…`), except on Docker Hub, where no repository
/// has such a name: there the path decides.
///
/// # Errors
/// A fault of the engine's hop: unknown route, method not served, or invalid name.
pub fn parse(method: &http::Method, path: &str, query: Option<&str>) -> Result<Route, Fault> {
    let get_or_head = get_or_head(method);
    match path {
        "/health" => return get_or_head.map(|_| Route::Health),
        "/metrics" => return get_or_head.map(|_| Route::Metrics),
        "/" => return get_or_head.map(|_| Route::Page(String::new())),
        "/api/status" => return get_or_head.map(|_| Route::Status),
        "/api/events" => return get_or_head.map(|_| Route::Events),
        "/api/prefer" => return action(method, Action::Prefer),
        "/api/forget" => return action(method, Action::Forget),
        "/api/prune" => return action(method, Action::Prune),
        "/auth/token" => return token(method, Registry::docker_hub()),
        "/v2" | "/v2/" => {
            let ping = get_or_head.map(|_| Operation::Ping)?;
            let namespace = namespace(query)?;
            let named_by = NamedBy { namespace: namespace.is_some(), path: false };
            return Ok(Route::Registry(namespace.unwrap_or_else(Registry::docker_hub), ping, named_by));
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
    if let Some(name) = path.strip_prefix("/page/") {
        return get_or_head.map(|_| Route::Page(name.to_owned()));
    }
    let path = percent_decode_str(path).decode_utf8().map_err(|_| unknown_route())?;
    let rest = path.strip_prefix("/v2/").ok_or_else(unknown_route)?;
    let (name, kind, last) = split(rest).ok_or_else(unknown_route)?;
    let namespace = namespace(query)?;
    let (registry, name, named_by) = split_name(name, namespace)?;
    let repository = name.parse::<Repository>().map_err(invalid_name)?.in_registry(&registry);
    // A listing has no method of its own: the response to a `HEAD` is that to a `GET` without its body.
    let page = || {
        get_or_head.clone()?;
        ListingQuery::from_query(query).map_err(|e| engine_fault(FaultKind::RequestInvalid, e))
    };
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
        EndpointKind::Tags => Operation::Tags { repository, page: page()? },
        EndpointKind::Referrers => {
            let subject = last.parse().map_err(|e| engine_fault(FaultKind::DigestInvalid, e))?;
            Operation::Referrers { repository, subject, page: page()? }
        }
        EndpointKind::Upload => return Err(not_served(method)),
    };
    Ok(Route::Registry(registry, operation, named_by))
}

fn token(method: &http::Method, registry: Registry) -> Result<Route, Fault> {
    let served = [http::Method::GET, http::Method::POST].contains(method);
    if served { Ok(Route::Token(registry)) } else { Err(not_served(method)) }
}

fn action(method: &http::Method, action: Action) -> Result<Route, Fault> {
    if *method == http::Method::POST { Ok(Route::Action(action)) } else { Err(not_served(method)) }
}

/// The endpoints below `/v2/<name>/`.
enum EndpointKind {
    Manifest,
    Blob,
    Tags,
    Referrers,
    Upload,
}

/// The methods of the endpoint with this path, for `Allow` (RFC 9110, section 10.2.1).
#[must_use]
pub fn allowed_methods(path: &str) -> &'static str {
    if path == "/auth/token" || path.starts_with("/auth/token/") {
        return "GET, POST";
    }
    if ["/api/prefer", "/api/forget", "/api/prune"].contains(&path) {
        return "POST";
    }
    match path.strip_prefix("/v2/").and_then(split) {
        Some((_, EndpointKind::Upload, _)) => "",
        _ => "GET, HEAD",
    }
}

/// Splits `<name>/<kind>/<last>` from the right, because a name may contain the same words, even
/// `blobs/uploads`.
fn split(rest: &str) -> Option<(&str, EndpointKind, &str)> {
    let (head, last) = rest.rsplit_once('/')?;
    let endpoint = head.rsplit_once('/').and_then(|(name, word)| match (word, last) {
        ("manifests", _) => Some((name, EndpointKind::Manifest, last)),
        ("blobs", _) => Some((name, EndpointKind::Blob, last)),
        ("referrers", _) => Some((name, EndpointKind::Referrers, last)),
        ("tags", "list") => Some((name, EndpointKind::Tags, last)),
        _ => None,
    });
    match rest.strip_suffix("/blobs/uploads").or_else(|| Some(rest.rsplit_once("/blobs/uploads/")?.0)) {
        Some(name) if last == "uploads" || endpoint.is_none() => Some((name, EndpointKind::Upload, "")),
        _ => endpoint,
    }
}

/// The registry and the repository's name, from the name in the path and `ns`.
fn split_name(name: &str, namespace: Option<Registry>) -> Result<(Registry, &str, NamedBy), Fault> {
    let is_named = namespace.is_some();
    let registry = namespace.unwrap_or_else(Registry::docker_hub);
    if let (Some(host), rest) = split_registry(name) {
        let in_path = host.parse::<Registry>();
        if registry.is_docker_hub() || in_path.as_ref() == Ok(&registry) {
            let named_by = NamedBy { namespace: is_named, path: true };
            return Ok((in_path.map_err(invalid_name)?, rest, named_by));
        }
    }
    Ok((registry, name, NamedBy { namespace: is_named, path: false }))
}

/// The registry in containerd's `ns` parameter: the one for which Docxy is a mirror.
fn namespace(query: Option<&str>) -> Result<Option<Registry>, Fault> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut named = None;
    for (_, host) in pairs.filter(|(name, _)| name == "ns") {
        let registry: Registry = host.parse().map_err(invalid_name)?;
        if named.as_ref().is_some_and(|named| *named != registry) {
            return Err(engine_fault(FaultKind::RequestInvalid, "the query names two registries with ns"));
        }
        named = Some(registry);
    }
    Ok(named)
}

fn get_or_head(method: &http::Method) -> Result<Method, Fault> {
    match *method {
        http::Method::GET => Ok(Method::Get),
        http::Method::HEAD => Ok(Method::Head),
        _ => Err(not_served(method)),
    }
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
            ("/v2/quay.io/a/b/manifests/1", Some("ns=quay.io"), "quay.io/v2/a/b/manifests/1".to_owned()),
            ("/v2/QUAY.io/a/b/manifests/1", Some("ns=Quay.IO"), "quay.io/v2/a/b/manifests/1".to_owned()),
            ("/v2/quay.io:443/a/b/manifests/1", Some("ns=quay.io"), "quay.io/v2/a/b/manifests/1".to_owned()),
            (
                "/v2/quay.io/quay.io/b/manifests/1",
                Some("ns=quay.io"),
                "quay.io/v2/quay.io/b/manifests/1".into(),
            ),
            (
                "/v2/quay.io/b/manifests/1",
                Some("ns=quay.io:5000"),
                "quay.io:5000/v2/quay.io/b/manifests/1".into(),
            ),
            ("/v2/host:5000/b/manifests/1", Some("ns=host%3A5000"), "host:5000/v2/b/manifests/1".to_owned()),
            (
                "/v2/host%3A5000/b/manifests/1",
                Some("%6es=host:5000"),
                "host:5000/v2/b/manifests/1".to_owned(),
            ),
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
}
