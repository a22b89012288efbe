//! The last challenges of each registry, so that the first request of an engine is answered without a round
//! trip.
//!
//! Repeats only what a registry has sent, and forgets it when the registry sends something else. Holds no
//! secrets. A lost or damaged file costs a round trip.

use super::file::{self, ChallengeSet};
use docxy_host::trouble::Troubles;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::challenge::Challenge;
use docxy_protocol::headers::Headers;
use docxy_protocol::name::{Registry, Repository};
use docxy_protocol::request::{Operation, Request};
use docxy_protocol::scope::Scope;
use http::{HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// The most registries. A server serves few.
const REGISTRIES_MAX: usize = 256;

/// The longest challenge in bytes. Real ones have about a hundred.
const CHALLENGE_BYTES_MAX: usize = 2048;

/// How long a challenge is repeated before the client requests it again. An old one does little harm: the
/// client issues public tokens itself, and the server uses the current challenge.
const REFRESH_INTERVAL: Duration = Duration::from_secs(3600);

/// The delay after a failed refresh.
const CHALLENGE_RETRY_DELAY: Duration = Duration::from_secs(60);

/// Replaces the repository in the scope of a stored challenge.
const REPOSITORY_PLACEHOLDER: &str = "{repository}";

/// The challenges of all registries. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct ChallengeStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registries: Mutex<BTreeMap<Registry, RegistryChallenges>>,
    file: Option<PathBuf>,
    /// Held while the file is written, so that the last writer has the newest state.
    writing: Mutex<()>,
    /// Limits the log messages about a file that cannot be written.
    write_trouble: Troubles<()>,
}

#[derive(Debug)]
struct RegistryChallenges {
    set: ChallengeSet,
    refresh_at: Instant,
}

impl ChallengeStore {
    /// The challenges in `file`, if there is one, and those of Docker Hub.
    pub(crate) fn load(file: Option<PathBuf>) -> Self {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let hub = RegistryChallenges { set: docker_hub_challenges(), refresh_at: now + REFRESH_INTERVAL };
        let mut registries = BTreeMap::from([(Registry::docker_hub(), hub)]);
        let stored = file.as_deref().map(file::read).unwrap_or_default();
        for (registry, set) in stored.into_iter().take(REGISTRIES_MAX) {
            let age = set.at.and_then(|at| wall.duration_since(at).ok()).unwrap_or(REFRESH_INTERVAL);
            let refresh_at = now + REFRESH_INTERVAL.saturating_sub(age);
            registries.insert(registry, RegistryChallenges { set, refresh_at });
        }
        Self(Arc::new(Inner {
            registries: Mutex::new(registries),
            file,
            writing: Mutex::default(),
            write_trouble: Troubles::default(),
        }))
    }

    /// The challenges of the registry for this operation without a credential.
    pub(crate) fn for_request(&self, registry: &Registry, operation: &Operation) -> Option<Vec<Challenge>> {
        let registries = self.0.registries.lock();
        let set = &registries.get(registry)?.set;
        let all = match operation {
            Operation::Ping => set.on_ping.clone(),
            operation => {
                let name = operation.repository()?.as_str();
                let fill = |scope: &str| scope.replace(REPOSITORY_PLACEHOLDER, name);
                let all = set.on_pull.iter().cloned();
                all.map(|challenge| challenge.map_parameter("scope", fill)).collect()
            }
        };
        (!all.is_empty()).then_some(all)
    }

    /// Whether the registry requires a token. `None` if that is not known, or was long ago.
    pub(crate) fn requires_token(&self, registry: &Registry, now: Instant) -> Option<bool> {
        let registries = self.0.registries.lock();
        let entry = registries.get(registry)?;
        let requires = !entry.set.is_empty();
        (requires || entry.refresh_at > now).then_some(requires)
    }

    /// The challenges of the registry for this operation after a refusal: as it sent them, or with the scope of
    /// the operation.
    pub(crate) fn after_refusal(&self, registry: &Registry, operation: &Operation) -> Option<Vec<Challenge>> {
        if let Some(known) = self.for_request(registry, operation) {
            return Some(known);
        }
        let on_ping = self.for_request(registry, &Operation::Ping)?;
        let scope = Scope::pull(operation.repository()?.clone()).to_string();
        let scoped = |challenge: Challenge| {
            if challenge.is_bearer() { challenge.without("scope").with("scope", &scope) } else { challenge }
        };
        Some(on_ping.into_iter().map(scoped).collect())
    }

    /// The challenge of the registry with `error="invalid_token"`, for a request whose token the registry did
    /// not issue. If it is not known, a made-up one works: the engine requests the token from this client in
    /// either case, and the server knows the token service.
    pub(crate) fn for_invalid_token(&self, registry: &Registry, operation: &Operation) -> Vec<Challenge> {
        let mut all = self.for_request(registry, operation).unwrap_or_default();
        if !all.iter().any(Challenge::is_bearer) {
            let mut made_up = Challenge::bearer(&format!("https://{registry}/token"), registry.as_str());
            if let Some(repository) = operation.repository() {
                made_up = made_up.with("scope", &Scope::pull(repository.clone()).to_string());
            }
            all.push(made_up);
        }
        let with_error = |challenge: Challenge| {
            if challenge.is_bearer() { challenge.with("error", "invalid_token") } else { challenge }
        };
        all.into_iter().map(with_error).collect()
    }

    /// Whether the challenge should be requested again. True once for each interval; the caller then sends
    /// the request.
    pub(crate) fn refresh_is_due(&self, registry: &Registry, now: Instant) -> bool {
        let mut registries = self.0.registries.lock();
        let due = registries.get_mut(registry).filter(|entry| entry.refresh_at <= now);
        due.map(|entry| entry.refresh_at = now + CHALLENGE_RETRY_DELAY).is_some()
    }

    /// Stores the challenge of a response.
    pub(crate) fn observe_response(&self, request: &Request, status: StatusCode, headers: &Headers) {
        if self.0.observe_response(request, status, headers) && self.0.file.is_some() {
            let inner = Arc::clone(&self.0);
            // A slow disk must not delay the response.
            tokio::task::spawn_blocking(move || inner.save());
        }
    }
}

impl Inner {
    /// Returns whether the file must be written.
    fn observe_response(&self, request: &Request, status: StatusCode, headers: &Headers) -> bool {
        let Request { registry, operation, authorization, .. } = request;
        let is_ping = matches!(operation, Operation::Ping);
        let mut registries = self.registries.lock();
        let challenges = match (is_ping, operation.repository()) {
            // The registry needs no token, so its own responses are used.
            (true, _) if status.is_success() && *authorization == Authorization::None => Some(Vec::new()),
            _ if status != StatusCode::UNAUTHORIZED => None,
            (true, _) => read(headers),
            (false, Some(repository)) => read(headers).and_then(|all| for_any_repository(all, repository)),
            (false, None) => None,
        };
        let Some(all) = challenges else { return false };
        if !registries.contains_key(registry) && registries.len() >= REGISTRIES_MAX {
            let oldest = registries.iter().min_by_key(|(_, entry)| entry.refresh_at);
            let oldest = oldest.map(|(registry, _)| registry.clone());
            oldest.map(|registry| registries.remove(&registry));
        }
        let now = Instant::now();
        let entry = registries
            .entry(registry.clone())
            .or_insert_with(|| RegistryChallenges { set: ChallengeSet::default(), refresh_at: now });
        entry.update(is_ping, all, now)
    }

    fn save(&self) {
        let Some(file) = &self.file else { return };
        let _writing = self.writing.lock();
        let all: Vec<_> =
            self.registries.lock().iter().map(|(name, entry)| (name.clone(), entry.set.clone())).collect();
        match file::write(file, &all) {
            Ok(()) => {
                self.write_trouble
                    .end(&())
                    .inspect(|_| tracing::info!("the challenges can be written again"));
            }
            Err(error) if self.write_trouble.begin(()) => {
                tracing::warn!(file = %file.display(), %error, "cannot write the challenges");
            }
            Err(_) => {}
        }
    }
}

impl RegistryChallenges {
    /// Stores new challenges. Returns whether the file must be written.
    fn update(&mut self, is_ping: bool, all: Vec<Challenge>, now: Instant) -> bool {
        let ChallengeSet { on_ping, on_pull, at } = &mut self.set;
        let (this, other) = if is_ping { (on_ping, on_pull) } else { (on_pull, on_ping) };
        let changed = *this != all;
        *this = all;
        if is_ping {
            self.refresh_at = now + REFRESH_INTERVAL;
            *at = Some(SystemTime::now());
        }
        if this.is_empty() {
            other.clear();
        }
        if changed && !other.is_empty() && services(this) != services(other) {
            // The token service has changed, so the other challenge is outdated too.
            other.clear();
            if !is_ping {
                self.refresh_at = now;
            }
        }
        changed || is_ping
    }
}

/// The challenges of Docker Hub, which did not change in ten years.
fn docker_hub_challenges() -> ChallengeSet {
    let on_ping = Challenge::bearer("https://auth.docker.io/token", "registry.docker.io");
    let scope = format!("repository:{REPOSITORY_PLACEHOLDER}:pull");
    ChallengeSet { on_pull: vec![on_ping.clone().with("scope", &scope)], on_ping: vec![on_ping], at: None }
}

/// The challenges of a response, if one of them accepts a public token.
fn read(headers: &Headers) -> Option<Vec<Challenge>> {
    let lines = headers.get_all(header::WWW_AUTHENTICATE);
    if lines.iter().map(HeaderValue::len).sum::<usize>() > CHALLENGE_BYTES_MAX {
        return None;
    }
    let all = Challenge::of_response(headers);
    let all: Vec<_> = all.map(|c| c.without("error").without("error_description")).collect();
    all.iter().any(Challenge::is_bearer).then_some(all)
}

/// The challenges with a placeholder for the repository. `None` if the scope names another repository than
/// the request, since the scope for others is then unknown.
fn for_any_repository(all: Vec<Challenge>, repository: &Repository) -> Option<Vec<Challenge>> {
    let named = format!(":{repository}:");
    let is_clear = |challenge: &Challenge| {
        let scope = challenge.parameter("scope").unwrap_or_default();
        !scope.contains(REPOSITORY_PLACEHOLDER) && (scope.contains(&named) || !scope.contains("repository:"))
    };
    let forget = |scope: &str| scope.replace(&named, &format!(":{REPOSITORY_PLACEHOLDER}:"));
    all.iter()
        .all(is_clear)
        .then(|| all.into_iter().map(|challenge| challenge.map_parameter("scope", forget)).collect())
}

fn services(all: &[Challenge]) -> Vec<Option<&str>> {
    all.iter().map(|challenge| challenge.parameter("service")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::request::Method;
    use http::HeaderMap;

    fn challenges() -> ChallengeStore {
        ChallengeStore::load(None)
    }

    fn registry(name: &str) -> Registry {
        name.parse().unwrap()
    }

    fn manifest(repository: &str) -> Operation {
        Operation::Manifest {
            repository: repository.parse().unwrap(),
            reference: "latest".parse().unwrap(),
            method: Method::Get,
        }
    }

    fn says(challenges: &ChallengeStore, registry: &Registry, operation: &Operation) -> Option<String> {
        let all = challenges.for_request(registry, operation)?;
        Some(all.iter().map(Challenge::to_string).collect::<Vec<_>>().join(" | "))
    }

    fn answer(
        challenges: &ChallengeStore,
        name: &str,
        operation: &Operation,
        status: u16,
        line: &str,
    ) -> bool {
        let mut map = HeaderMap::new();
        map.insert(header::WWW_AUTHENTICATE, line.parse().unwrap());
        let (status, headers) = (StatusCode::from_u16(status).unwrap(), Headers::filter_response(&map));
        challenges.0.observe_response(&Request::new(registry(name), operation.clone()), status, &headers)
    }

    #[test]
    fn docker_hub_is_known_from_the_start() {
        let (challenges, hub) = (challenges(), Registry::docker_hub());
        let bearer = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io""#;
        assert_eq!(says(&challenges, &hub, &Operation::Ping).as_deref(), Some(bearer));
        let scoped = format!(r#"{bearer},scope="repository:library/alpine:pull""#);
        assert_eq!(says(&challenges, &hub, &manifest("library/alpine")), Some(scoped));
        assert_eq!(says(&challenges, &registry("ghcr.io"), &Operation::Ping), None);
    }

    #[test]
    fn a_challenge_is_repeated_for_all_repositories() {
        let challenges = challenges();
        let gitlab = registry("registry.gitlab.com");
        // On /v2/ some registries name an unrelated repository.
        let ping = r#"Bearer realm="https://gitlab.com/jwt/auth",service="container_registry",scope="repository:user/image:pull""#;
        assert!(answer(&challenges, "registry.gitlab.com", &Operation::Ping, 401, ping));
        assert_eq!(says(&challenges, &gitlab, &Operation::Ping).as_deref(), Some(ping));
        assert_eq!(says(&challenges, &gitlab, &manifest("a/b")), None);
        let pull = r#"Bearer realm="https://gitlab.com/jwt/auth",service="container_registry",scope="repository:a/b:pull",error="invalid_token""#;
        assert!(answer(&challenges, "registry.gitlab.com", &manifest("a/b"), 401, pull));
        let expected = pull.replace("a/b", "c/d/e").replace(r#",error="invalid_token""#, "");
        assert_eq!(says(&challenges, &gitlab, &manifest("c/d/e")), Some(expected));
        // A scope without a repository is for all.
        let aws = r#"Bearer realm="https://public.ecr.aws/token/",service="public.ecr.aws",scope="aws""#;
        assert!(answer(&challenges, "public.ecr.aws", &manifest("a/b"), 401, aws));
        assert_eq!(says(&challenges, &registry("public.ecr.aws"), &manifest("x")).as_deref(), Some(aws));
    }

    #[test]
    fn other_challenges_are_not_repeated() {
        let challenges = challenges();
        let bearer = r#"Bearer realm="r",service="s",scope="repository:other/name:pull""#;
        for (operation, status, line) in [
            (manifest("a/b"), 401, bearer),
            (manifest("a/b"), 403, r#"Bearer realm="r",service="s""#),
            (Operation::Ping, 401, r#"Basic realm="x""#),
            (Operation::Ping, 401, "realm=\"without a scheme\""),
            (Operation::Ping, 401, &format!(r#"Bearer realm="{}""#, "x".repeat(CHALLENGE_BYTES_MAX))),
        ] {
            assert!(!answer(&challenges, "x.example", &operation, status, line), "{line}");
        }
        assert_eq!(says(&challenges, &registry("x.example"), &manifest("a/b")), None);
    }

    #[test]
    fn a_new_challenge_replaces_the_old_one() {
        let challenges = challenges();
        let hub = Registry::docker_hub();
        let now = Instant::now();
        assert!(!challenges.refresh_is_due(&hub, now));
        assert!(challenges.refresh_is_due(&hub, now + REFRESH_INTERVAL * 2));
        assert!(!challenges.refresh_is_due(&hub, now + REFRESH_INTERVAL * 2), "once");
        // Another service in a later challenge: the challenge of the ping is outdated.
        let moved =
            r#"Bearer realm="r",service="new",scope="repository:library/alpine:pull",error="invalid_token""#;
        assert!(answer(&challenges, "docker.io", &manifest("library/alpine"), 401, moved));
        assert_eq!(says(&challenges, &hub, &Operation::Ping), None);
        assert!(says(&challenges, &hub, &manifest("a/b")).unwrap().contains("service=\"new\""));
        assert!(challenges.refresh_is_due(&hub, Instant::now()));
        // It needs no token any more.
        assert!(answer(&challenges, "docker.io", &Operation::Ping, 200, "x"));
        assert_eq!(says(&challenges, &hub, &manifest("a/b")), None);
    }

    #[test]
    fn challenges_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("challenges.json");
        let line = r#"Bearer realm="r",service="s",scope="repository:a/b:pull""#;
        let first = ChallengeStore::load(Some(file.clone()));
        assert!(answer(&first, "ghcr.io", &manifest("a/b"), 401, line));
        assert!(answer(&first, "ghcr.io", &Operation::Ping, 401, r#"Bearer realm="r",service="s""#));
        first.0.save();
        let second = ChallengeStore::load(Some(file.clone()));
        assert_eq!(says(&second, &registry("ghcr.io"), &manifest("a/b")).as_deref(), Some(line));
        assert!(says(&second, &registry("ghcr.io"), &Operation::Ping).is_some());
        assert!(says(&second, &Registry::docker_hub(), &Operation::Ping).is_some());
        std::fs::write(&file, "{").unwrap();
        assert_eq!(says(&ChallengeStore::load(Some(file)), &registry("ghcr.io"), &Operation::Ping), None);
    }

    #[test]
    fn the_challenge_for_an_invalid_token_is_the_registrys_own_if_that_is_known() {
        let challenges = challenges();
        let ghcr = registry("ghcr.io");
        let says = |operation: &Operation| -> Vec<String> {
            challenges.for_invalid_token(&ghcr, operation).iter().map(Challenge::to_string).collect()
        };
        let ours = r#"Bearer realm="https://ghcr.io/token",service="ghcr.io""#;
        let scope = r#",scope="repository:c/d:pull""#;
        let error = r#",error="invalid_token""#;
        assert_eq!(says(&Operation::Ping), [format!("{ours}{error}")]);
        assert_eq!(says(&manifest("c/d")), [format!("{ours}{scope}{error}")]);
        let theirs = r#"Bearer realm="r",service="s",scope="repository:a/b:pull",error="insufficient_scope", Basic realm="x""#;
        assert!(answer(&challenges, "ghcr.io", &manifest("a/b"), 401, theirs));
        let own = format!(r#"Bearer realm="r",service="s"{scope}{error}"#);
        assert_eq!(says(&manifest("c/d")), [own, r#"Basic realm="x""#.to_owned()]);
    }

    #[test]
    fn the_number_of_registries_is_limited() {
        let challenges = challenges();
        for n in 0..REGISTRIES_MAX * 2 {
            let name = format!("r{n}.example");
            assert!(answer(&challenges, &name, &Operation::Ping, 401, r#"Bearer realm="r""#));
        }
        assert_eq!(challenges.0.registries.lock().len(), REGISTRIES_MAX);
    }
}
