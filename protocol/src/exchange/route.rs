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
mod tests;
