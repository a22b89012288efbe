//! What each registry says to those who show nothing: its challenge, so that an engine's first
//! request is answered without a round trip.
//!
//! Only repeats what a registry has said, and stops as soon as it says something else. Nothing here
//! is a secret; a file that is lost or damaged costs a round trip.

use super::challenge_file;
use docxy_protocol::challenge::Challenge;
use docxy_protocol::headers::Headers;
use docxy_protocol::name::{Registry, Repository};
use docxy_protocol::request::Operation;
use docxy_protocol::scope::Scope;
use http::{StatusCode, header};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Registries remembered at most; a server lists few.
const MOST: usize = 256;

/// Longest challenge that is remembered, in bytes. A registry's has about a hundred.
const LONGEST: usize = 2048;

/// How long a registry's word is passed on before it is asked again, behind the answer. A wrong one
/// does little harm: tokens for nobody in particular come from here, and the server asks by its own
/// word.
const LIFETIME: Duration = Duration::from_secs(3600);

/// The pause before it is asked once more, where that failed.
const PAUSE: Duration = Duration::from_secs(60);

/// Stands for the repository in the scope of a remembered challenge.
const NAME: &str = "{repository}";

/// What the registries have said. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Challenges(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    known: Mutex<BTreeMap<Registry, Known>>,
    file: Option<PathBuf>,
    /// Held while the file is written, so that the last one to write knows the most.
    writing: Mutex<()>,
}

#[derive(Debug)]
struct Known {
    said: Said,
    refresh_at: Instant,
}

/// A registry's challenges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// On `/v2/`; empty where that isn't known.
    pub(super) on_ping: Vec<Challenge>,
    /// On a repository's content, with a placeholder for its name; empty where that isn't known.
    pub(super) on_pull: Vec<Challenge>,
    /// When.
    pub(super) at: Option<SystemTime>,
}

impl Challenges {
    /// What was kept in `file`, if there is one, and Docker Hub's.
    pub(crate) fn load(file: Option<PathBuf>) -> Self {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut known = BTreeMap::from([(Registry::docker_hub(), Known::new(docker_hub(), now + LIFETIME))]);
        let kept = file.as_deref().map(challenge_file::read).unwrap_or_default();
        for (registry, said) in kept.into_iter().take(MOST) {
            let age = said.at.and_then(|at| wall.duration_since(at).ok()).unwrap_or(LIFETIME);
            known.insert(registry, Known::new(said, now + LIFETIME.saturating_sub(age)));
        }
        Self(Arc::new(Inner { known: Mutex::new(known), file, writing: Mutex::default() }))
    }

    /// What the registry would say to this operation of somebody who shows nothing.
    pub(crate) fn to(&self, registry: &Registry, operation: &Operation) -> Option<Vec<Challenge>> {
        let known = self.0.known();
        let said = &known.get(registry)?.said;
        let all = match operation {
            Operation::Ping => said.on_ping.clone(),
            operation => {
                let name = operation.repository()?.as_str();
                let fill = |scope: &str| scope.replace(NAME, name);
                let all = said.on_pull.iter().cloned();
                all.map(|challenge| challenge.map_parameter("scope", fill)).collect()
            }
        };
        (!all.is_empty()).then_some(all)
    }

    /// The registry's challenge with `error="invalid_token"`, for a request whose token the registry did
    /// not issue. If the registry's own challenge is not known, a made-up one does: the engine asks this
    /// client for a token in either case, and the server knows the registry's token service.
    pub(super) fn for_invalid_token(&self, registry: &Registry, operation: &Operation) -> Vec<Challenge> {
        let mut all = self.to(registry, operation).unwrap_or_default();
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

    /// Whether the registry should be asked again. True once in a while; the caller then does.
    pub(crate) fn refresh_is_due(&self, registry: &Registry, now: Instant) -> bool {
        let mut known = self.0.known();
        let due = known.get_mut(registry).filter(|known| known.refresh_at <= now);
        due.map(|known| known.refresh_at = now + PAUSE).is_some()
    }

    /// Takes note of a registry's answer.
    pub(crate) fn learn(
        &self,
        registry: &Registry,
        operation: &Operation,
        anonymous: bool,
        (status, headers): (StatusCode, &Headers),
    ) {
        if self.0.learn(registry, operation, anonymous, status, headers) && self.0.file.is_some() {
            let inner = Arc::clone(&self.0);
            // A disk may take its time.
            tokio::task::spawn_blocking(move || inner.save());
        }
    }
}

impl Inner {
    /// Whether there is something new in it.
    fn learn(
        &self,
        registry: &Registry,
        operation: &Operation,
        anonymous: bool,
        status: StatusCode,
        headers: &Headers,
    ) -> bool {
        let is_ping = matches!(operation, Operation::Ping);
        let mut known = self.known();
        if status.is_success() && anonymous && is_ping {
            // Open to everybody: its own answers are the ones that count.
            return known.remove(registry).is_some();
        }
        if status != StatusCode::UNAUTHORIZED {
            return false;
        }
        let said = match (is_ping, operation.repository()) {
            (true, _) => read(headers),
            (false, Some(repository)) => read(headers).and_then(|all| without_name(all, repository)),
            (false, None) => None,
        };
        let Some(all) = said else { return false };
        if !known.contains_key(registry) && known.len() >= MOST {
            let oldest = known.iter().min_by_key(|(_, known)| known.refresh_at);
            let oldest = oldest.map(|(registry, _)| registry.clone());
            oldest.map(|registry| known.remove(&registry));
        }
        let now = Instant::now();
        let entry = known.entry(registry.clone()).or_insert_with(|| Known::new(Said::default(), now));
        entry.take(is_ping, all, now)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Registry, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self) {
        let Some(file) = &self.file else { return };
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<_> =
            self.known().iter().map(|(name, known)| (name.clone(), known.said.clone())).collect();
        if let Err(error) = challenge_file::write(file, &all) {
            tracing::warn!(file = %file.display(), %error, "cannot keep what registries say of their tokens");
        }
    }
}

impl Known {
    const fn new(said: Said, refresh_at: Instant) -> Self {
        Self { said, refresh_at }
    }

    /// Takes what the registry says now. Whether it is worth a line in the file.
    fn take(&mut self, is_ping: bool, all: Vec<Challenge>, now: Instant) -> bool {
        let Said { on_ping, on_pull, at } = &mut self.said;
        let (this, other) = if is_ping { (on_ping, on_pull) } else { (on_pull, on_ping) };
        let changed = *this != all;
        *this = all;
        if is_ping {
            self.refresh_at = now + LIFETIME;
            *at = Some(SystemTime::now());
        }
        if changed && !other.is_empty() && services(this) != services(other) {
            // It has moved its tokens, so what it said before of the other is history, too.
            other.clear();
            if !is_ping {
                self.refresh_at = now;
            }
        }
        changed || is_ping
    }
}

/// Docker Hub's, which hasn't changed in ten years.
fn docker_hub() -> Said {
    let on_ping = Challenge::bearer("https://auth.docker.io/token", "registry.docker.io");
    let scope = format!("repository:{NAME}:pull");
    Said { on_pull: vec![on_ping.clone().with("scope", &scope)], on_ping: vec![on_ping], at: None }
}

/// The challenges of an answer, where a token for nobody in particular would do for one.
fn read(headers: &Headers) -> Option<Vec<Challenge>> {
    let mut all = Vec::new();
    let mut bytes = 0;
    for line in headers.map().get_all(header::WWW_AUTHENTICATE) {
        let line = line.to_str().ok()?;
        bytes += line.len();
        all.extend(Challenge::parse_all(line).ok()?);
    }
    let all: Vec<_> = all.into_iter().map(|c| c.without("error").without("error_description")).collect();
    (bytes <= LONGEST && all.iter().any(Challenge::is_bearer)).then_some(all)
}

/// The same for any repository. `None` where the scope names another one than was asked for, so that
/// nobody can tell what it would be elsewhere.
fn without_name(all: Vec<Challenge>, repository: &Repository) -> Option<Vec<Challenge>> {
    let named = format!(":{repository}:");
    let is_clear = |challenge: &Challenge| {
        let scope = challenge.parameter("scope").unwrap_or_default();
        !scope.contains(NAME) && (scope.contains(&named) || !scope.contains("repository:"))
    };
    let forget = |scope: &str| scope.replace(&named, &format!(":{NAME}:"));
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

    fn challenges() -> Challenges {
        Challenges::load(None)
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

    fn says(challenges: &Challenges, registry: &Registry, operation: &Operation) -> Option<String> {
        let all = challenges.to(registry, operation)?;
        Some(all.iter().map(Challenge::to_string).collect::<Vec<_>>().join(" | "))
    }

    fn answer(challenges: &Challenges, name: &str, operation: &Operation, status: u16, line: &str) -> bool {
        let mut map = HeaderMap::new();
        map.insert(header::WWW_AUTHENTICATE, line.parse().unwrap());
        let (status, headers) = (StatusCode::from_u16(status).unwrap(), Headers::filter_response(&map));
        challenges.0.learn(&registry(name), operation, true, status, &headers)
    }

    #[test]
    fn docker_hubs_is_known_from_the_start() {
        let (challenges, hub) = (challenges(), Registry::docker_hub());
        let bearer = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io""#;
        assert_eq!(says(&challenges, &hub, &Operation::Ping).as_deref(), Some(bearer));
        let scoped = format!(r#"{bearer},scope="repository:library/alpine:pull""#);
        assert_eq!(says(&challenges, &hub, &manifest("library/alpine")), Some(scoped));
        assert_eq!(says(&challenges, &registry("ghcr.io"), &Operation::Ping), None);
    }

    #[test]
    fn a_registrys_own_form_is_kept_for_all_of_its_repositories() {
        let challenges = challenges();
        let gitlab = registry("registry.gitlab.com");
        // On /v2/ some registries name a repository that nobody has asked for.
        let ping = r#"Bearer realm="https://gitlab.com/jwt/auth",service="container_registry",scope="repository:user/image:pull""#;
        assert!(answer(&challenges, "registry.gitlab.com", &Operation::Ping, 401, ping));
        assert_eq!(says(&challenges, &gitlab, &Operation::Ping).as_deref(), Some(ping));
        assert_eq!(says(&challenges, &gitlab, &manifest("a/b")), None);
        let pull = r#"Bearer realm="https://gitlab.com/jwt/auth",service="container_registry",scope="repository:a/b:pull",error="invalid_token""#;
        assert!(answer(&challenges, "registry.gitlab.com", &manifest("a/b"), 401, pull));
        let expected = pull.replace("a/b", "c/d/e").replace(r#",error="invalid_token""#, "");
        assert_eq!(says(&challenges, &gitlab, &manifest("c/d/e")), Some(expected));
        // One that names none is for all.
        let aws = r#"Bearer realm="https://public.ecr.aws/token/",service="public.ecr.aws",scope="aws""#;
        assert!(answer(&challenges, "public.ecr.aws", &manifest("a/b"), 401, aws));
        assert_eq!(says(&challenges, &registry("public.ecr.aws"), &manifest("x")).as_deref(), Some(aws));
    }

    #[test]
    fn what_is_no_answer_to_everybody_is_not_repeated() {
        let challenges = challenges();
        let bearer = r#"Bearer realm="r",service="s",scope="repository:other/name:pull""#;
        for (operation, status, line) in [
            (manifest("a/b"), 401, bearer),
            (manifest("a/b"), 403, r#"Bearer realm="r",service="s""#),
            (Operation::Ping, 401, r#"Basic realm="x""#),
            (Operation::Ping, 401, "Bearer realm=\"never closed"),
            (Operation::Ping, 401, &format!(r#"Bearer realm="{}""#, "x".repeat(LONGEST))),
        ] {
            assert!(!answer(&challenges, "x.example", &operation, status, line), "{line}");
        }
        assert_eq!(says(&challenges, &registry("x.example"), &manifest("a/b")), None);
    }

    #[test]
    fn a_registry_that_changes_its_mind_is_believed() {
        let challenges = challenges();
        let hub = Registry::docker_hub();
        let now = Instant::now();
        assert!(!challenges.refresh_is_due(&hub, now));
        assert!(challenges.refresh_is_due(&hub, now + LIFETIME * 2));
        assert!(!challenges.refresh_is_due(&hub, now + LIFETIME * 2), "once");
        // A refusal in passing names another service: the ping's is history.
        let moved =
            r#"Bearer realm="r",service="new",scope="repository:library/alpine:pull",error="invalid_token""#;
        assert!(answer(&challenges, "docker.io", &manifest("library/alpine"), 401, moved));
        assert_eq!(says(&challenges, &hub, &Operation::Ping), None);
        assert!(says(&challenges, &hub, &manifest("a/b")).unwrap().contains("service=\"new\""));
        assert!(challenges.refresh_is_due(&hub, Instant::now()));
        // It opens its doors.
        assert!(answer(&challenges, "docker.io", &Operation::Ping, 200, "x"));
        assert_eq!(says(&challenges, &hub, &manifest("a/b")), None);
    }

    #[test]
    fn the_file_brings_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("challenges.json");
        let line = r#"Bearer realm="r",service="s",scope="repository:a/b:pull""#;
        let first = Challenges::load(Some(file.clone()));
        assert!(answer(&first, "ghcr.io", &manifest("a/b"), 401, line));
        assert!(answer(&first, "ghcr.io", &Operation::Ping, 401, r#"Bearer realm="r",service="s""#));
        first.0.save();
        let second = Challenges::load(Some(file.clone()));
        assert_eq!(says(&second, &registry("ghcr.io"), &manifest("a/b")).as_deref(), Some(line));
        assert!(says(&second, &registry("ghcr.io"), &Operation::Ping).is_some());
        assert!(says(&second, &Registry::docker_hub(), &Operation::Ping).is_some());
        std::fs::write(&file, "{").unwrap();
        assert_eq!(says(&Challenges::load(Some(file)), &registry("ghcr.io"), &Operation::Ping), None);
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
    fn they_are_few() {
        let challenges = challenges();
        for n in 0..MOST * 2 {
            let name = format!("r{n}.example");
            assert!(answer(&challenges, &name, &Operation::Ping, 401, r#"Bearer realm="r""#));
        }
        assert_eq!(challenges.0.known().len(), MOST);
    }
}
