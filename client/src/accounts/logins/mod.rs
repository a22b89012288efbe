//! The accounts that the user has logged in with: in a file that only the user may read, or in credential helpers.
//!
//! The file is looked at before each use, so a running client takes a login or a logout at once. Must never print a
//! password, or give an account to another registry than its own.

mod credential_helper;
pub(crate) mod docker_config;
mod outcomes;

pub use credential_helper::{CredentialHelper, HelperError};
pub(crate) use outcomes::LoginOutcome;

use docxy_host::files::file_fingerprint::Fingerprint;
use docxy_host::files::private_file::{self, FileError};
use docxy_host::net::private_socket::own_user;
use docxy_host::trouble::Troubles;
use docxy_protocol::authorization::Login;
use docxy_protocol::name::{Registry, Repository};
use docxy_protocol::secret::Secret;
use docxy_protocol::text::clean;
use outcomes::{Admission, Outcomes};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a password of a credential helper is used before the helper is asked again. The shortest-lived ones, of
/// Google's registries, are valid for an hour.
const HELPER_LIFETIME: Duration = Duration::from_secs(600);

/// A helper is asked again after a refusal, or when it has failed, but not for each request of a pull.
const HELPER_INTERVAL: Duration = Duration::from_secs(5);

/// How long a request waits for a helper. Engines wait little longer, and the image may be public.
const HELPER_PATIENCE: Duration = Duration::from_secs(8);

/// How long a request waits for the one that tries the same login.
const TRIAL_PATIENCE: Duration = Duration::from_secs(5);

/// Why logins cannot be read or stored.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are where it is and what is wrong there")]
pub enum LoginsError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Somebody has changed the file.
    #[error("{} is not as `docxy-client login` writes it ({source}): remove it, and log in again", path.display())]
    Parse { path: PathBuf, source: serde_json::Error },
}

/// How an account is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum StoredLogin {
    /// Here.
    Password { user: String, password: Secret },
    /// In a credential helper.
    Helper {
        helper: CredentialHelper,
        /// The name that it has there.
        key: String,
        /// Whether `docxy-client login` has put it there, so that `logout` takes it away.
        own: bool,
    },
}

/// The names of accounts in credential helpers.
pub(crate) mod helper_keys {
    use docxy_protocol::name::Registry;

    /// The name under which engines keep the account of this registry.
    pub(crate) fn of_engines(registry: &Registry) -> String {
        if registry.is_docker_hub() { "https://index.docker.io/v1/".to_owned() } else { registry.to_string() }
    }

    /// The name under which `docxy-client login` keeps it, beside that of engines.
    pub(crate) fn own(registry: &Registry) -> String {
        format!("https://{registry}/docxy")
    }
}

/// All logins, by registry.
pub(crate) type StoredLogins = BTreeMap<Registry, StoredLogin>;

/// The logins of this user. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Logins(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    file: Option<PathBuf>,
    read: Mutex<ReadFile>,
    /// What the helpers have said. That of a registry is locked while its helper is asked, so that it is asked once.
    asked: Mutex<HashMap<Registry, Arc<tokio::sync::Mutex<Option<Asked>>>>>,
    outcomes: Mutex<Outcomes>,
    troubles: Troubles<Option<Registry>>,
}

/// A request may use a login. While nothing is known of its password, others wait until this is dropped.
#[derive(Debug)]
pub(crate) struct Trial {
    _turn: Option<tokio::sync::OwnedMutexGuard<()>>,
}

/// The file as it was when it was last read.
#[derive(Debug, Default)]
struct ReadFile {
    version: Option<Fingerprint>,
    logins: StoredLogins,
}

/// A helper's answer.
#[derive(Debug)]
struct Asked {
    of: StoredLogin,
    login: Option<Login>,
    at: Instant,
}

impl StoredLogin {
    /// The account, and its password.
    pub(crate) async fn account(&self, registry: &Registry) -> Result<Login, HelperError> {
        let (user, password) = match self {
            Self::Password { user, password } => (user.clone(), password.clone()),
            Self::Helper { helper, key, .. } => helper.get(key).await?,
        };
        Ok(Login { registry: registry.clone(), user, password })
    }
}

impl Logins {
    /// The logins in this file, which may come and go.
    #[must_use]
    pub fn open(file: Option<PathBuf>) -> Self {
        Self(Arc::new(Inner { file, ..Inner::default() }))
    }

    /// The login of this registry, if there is one that can be used.
    pub(crate) async fn get(&self, registry: &Registry) -> Option<Login> {
        let is_good = |asked: &Asked| {
            asked.at.elapsed() < if asked.login.is_some() { HELPER_LIFETIME } else { HELPER_INTERVAL }
        };
        self.find(registry, is_good).await
    }

    /// Another login in place of this one, which its registry has refused: a helper may have a new password.
    pub(crate) async fn in_place_of(&self, refused: &Login) -> Option<Login> {
        let is_recent = |asked: &Asked| asked.at.elapsed() < HELPER_INTERVAL;
        self.find(&refused.registry, is_recent).await.filter(|login| login != refused)
    }

    /// Lets a request for this repository use the login. `None` while it must not: see [`LoginOutcome`].
    pub(crate) async fn admit(&self, login: &Login, repository: Option<&Repository>) -> Option<Trial> {
        let admission = || self.0.outcomes.lock().admission(login, repository, Instant::now());
        let turn = match admission() {
            Admission::Free => return Some(Trial { _turn: None }),
            Admission::Paused => return None,
            Admission::OneByOne(turn) => turn,
        };
        let _turn = tokio::time::timeout(TRIAL_PATIENCE, turn.lock_owned()).await.ok();
        // The request before this one may have been refused.
        (!matches!(admission(), Admission::Paused)).then_some(Trial { _turn })
    }

    /// Records what a registry has made of a login, in a request for this repository.
    pub(crate) fn record(&self, login: &Login, repository: Option<&Repository>, outcome: LoginOutcome) {
        let pause = self.0.outcomes.lock().record(login, repository, outcome, Instant::now());
        if let Some(pause) = pause {
            let (registry, user) = (&login.registry, clean(&login.user));
            tracing::warn!(
                %registry,
                %user,
                pause_s = pause.as_secs(),
                "a login is not used for now: its password is refused; log in again"
            );
        }
    }

    /// How long the password of this login is not tried, if it was refused.
    pub(crate) fn pause(&self, login: &Login) -> Option<Duration> {
        self.0.outcomes.lock().pause(login, Instant::now())
    }

    /// The login of this registry. What its helper has said before counts if `is_good`. A helper that is slow is asked
    /// to its end, for the requests after this one.
    async fn find(&self, registry: &Registry, is_good: fn(&Asked) -> bool) -> Option<Login> {
        let stored = self.stored(registry).await?;
        if let StoredLogin::Password { user, password } = stored {
            return Some(Login { registry: registry.clone(), user, password });
        }
        let asking = tokio::spawn(self.clone().ask(registry.clone(), stored, is_good));
        let Ok(asked) = tokio::time::timeout(HELPER_PATIENCE, asking).await else {
            let seconds = HELPER_PATIENCE.as_secs();
            let reason = format_args!("its credential helper has not answered within {seconds} s");
            self.warn(Some(registry), &reason);
            return None;
        };
        asked.ok().flatten()
    }

    async fn ask(
        self,
        registry: Registry,
        stored: StoredLogin,
        is_good: fn(&Asked) -> bool,
    ) -> Option<Login> {
        let asked = Arc::clone(self.0.asked.lock().entry(registry.clone()).or_default());
        let mut asked = asked.lock().await;
        let known = asked.as_ref().filter(|known| known.of == stored);
        if let Some(known) = known.filter(|known| is_good(known)) {
            return known.login.clone();
        }
        let answer = stored.account(&registry).await.inspect_err(|error| self.warn(Some(&registry), error));
        if answer.is_ok() {
            self.works(Some(&registry));
        }
        // The last password may be valid for a while.
        let login = answer.ok().or_else(|| known?.login.clone());
        *asked = Some(Asked { of: stored, login: login.clone(), at: Instant::now() });
        login
    }

    /// How the login of this registry is kept.
    async fn stored(&self, registry: &Registry) -> Option<StoredLogin> {
        let file = self.0.file.as_ref()?;
        let version = Fingerprint::of(tokio::fs::metadata(file).await);
        if self.0.read.lock().version != version {
            let path = file.clone();
            let read = tokio::task::spawn_blocking(move || read(&path)).await.ok()?;
            // A file that cannot be read now is read again.
            let logins = read.inspect_err(|error| self.warn(None, error)).ok()?;
            self.works(None);
            let mut known = self.0.read.lock();
            if known.version != version {
                // Somebody has logged in.
                *self.0.outcomes.lock() = Outcomes::default();
            }
            *known = ReadFile { version, logins };
        }
        self.0.read.lock().logins.get(registry).cloned()
    }

    /// Logs why the login of this registry, or each, cannot be used.
    pub(crate) fn warn(&self, registry: Option<&Registry>, reason: &dyn Display) {
        if self.0.troubles.begin(registry.cloned()) {
            let registry = registry.map(tracing::field::display);
            tracing::warn!(registry, %reason, "a login cannot be used");
        }
    }

    /// The login of this registry, or each, can be used.
    fn works(&self, registry: Option<&Registry>) {
        if self.0.troubles.end(&registry.cloned()).is_some() {
            tracing::info!(registry = registry.map(tracing::field::display), "a login can be used again");
        }
    }
}

/// The logins in this file. There may be none. Those in credential helpers count only if no other user can have written
/// them: the service's user must not choose what a command of root runs.
pub(crate) fn read(path: &Path) -> Result<StoredLogins, LoginsError> {
    let Some(content) = private_file::read(path)? else { return Ok(StoredLogins::default()) };
    let parsed: Result<StoredLogins, _> = serde_json::from_slice(&content);
    let mut logins = parsed.map_err(|source| LoginsError::Parse { path: path.to_owned(), source })?;
    // Who owns the directory can replace the file.
    if ![Some(path), path.parent()].into_iter().flatten().all(is_own) {
        logins.retain(|_, stored| matches!(stored, StoredLogin::Password { .. }));
    }
    Ok(logins)
}

fn is_own(path: &Path) -> bool {
    path.metadata().is_ok_and(|about| about.uid() == own_user())
}

/// Changes the logins in this file, which is made if needed. Returns what `change` returns.
pub(crate) fn change<T>(path: &Path, change: impl FnOnce(&mut StoredLogins) -> T) -> Result<T, LoginsError> {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    if let Some(directory) = path.parent() {
        let failed = |source| FileError::Write { path: directory.to_owned(), source };
        private_file::create_directory(directory).map_err(failed)?;
    }
    let _lock = private_file::lock(Path::new(&lock))?;
    let mut logins = read(path)?;
    let changed = change(&mut logins);
    let mut text = serde_json::to_vec_pretty(&logins).expect("names and texts are JSON");
    text.push(b'\n');
    private_file::write_with_directory(path, &text)?;
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn registry(name: &str) -> Registry {
        name.parse().unwrap()
    }

    fn password(user: &str) -> StoredLogin {
        StoredLogin::Password { user: user.into(), password: Secret::new("hunter2") }
    }

    #[tokio::test]
    async fn a_login_and_a_logout_count_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/logins");
        let (logins, ghcr) = (Logins::open(Some(path.clone())), registry("ghcr.io"));
        assert_eq!(logins.get(&ghcr).await, None);
        for user in ["me", "you"] {
            change(&path, |all| all.insert(ghcr.clone(), password(user))).unwrap();
            let login = logins.get(&ghcr).await.unwrap();
            assert_eq!((login.user.as_str(), &login.registry), (user, &ghcr));
            assert_eq!(logins.in_place_of(&login).await, None, "there is no other");
        }
        assert_eq!(logins.get(&registry("quay.io")).await, None);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        change(&path, |all| all.remove(&ghcr)).unwrap();
        assert_eq!(logins.get(&ghcr).await, None);
        change(&path, |all| all.insert(ghcr.clone(), password("me"))).unwrap();
        let content = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(logins.get(&ghcr).await, None);
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, content).unwrap();
        assert!(logins.get(&ghcr).await.is_some());
        std::fs::write(&path, "{").unwrap();
        assert_eq!(logins.get(&ghcr).await, None);
        assert!(matches!(change(&path, |_| ()), Err(LoginsError::Parse { .. })), "nothing is overwritten");
    }

    #[tokio::test]
    async fn another_user_names_no_helper() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logins");
        let helper = StoredLogin::Helper { helper: "x".parse().unwrap(), key: "k".into(), own: true };
        let (ghcr, quay) = (registry("ghcr.io"), registry("quay.io"));
        change(&path, |all| all.extend([(ghcr.clone(), password("me")), (quay.clone(), helper.clone())]))
            .unwrap();
        assert_eq!(read(&path).unwrap()[&quay], helper);
        for path_of_other in [path.as_path(), dir.path()] {
            if std::os::unix::fs::chown(path_of_other, Some(65534), None).is_err() {
                return; // Only root can give files away.
            }
            let left = read(&path).unwrap();
            assert!(left.contains_key(&ghcr) && !left.contains_key(&quay), "{left:?}");
            std::os::unix::fs::chown(path_of_other, Some(0), None).unwrap();
        }
        assert_eq!(read(&path).unwrap()[&quay], helper);
    }
}
