//! `docxy-client login` and `logout`: the accounts with which private images are pulled.
//!
//! An account is verified by its registry, through the tunnel, before it is kept. Must never print a password, or take
//! one as an argument.

use super::arguments::{LoginArguments, LogoutArguments};
use super::cache;
use super::error::CommandError;
use super::links::join::running_process;
use crate::accounts::logins::{
    self, CredentialHelper, HelperError, LoginsError, StoredLogin, docker_config, helper_keys,
};
use crate::images::pull::Connection;
use crate::local_api;
use crate::settings::{ConnectionSettings, Flags, GivenSettings};
use docxy_host::files::directories::{CLIENT_CONFIG, CLIENT_STATE, is_root};
use docxy_host::files::input_file;
use docxy_host::files::password_file;
use docxy_host::logging;
use docxy_host::process::signals::shutdown::Shutdown;
use docxy_host::process::terminal::print_note;
use docxy_protocol::authorization::{Authorization, Login};
use docxy_protocol::error_body;
use docxy_protocol::fault::Fault;
use docxy_protocol::name::Registry;
use docxy_protocol::request::{Operation, Request};
use docxy_protocol::secret::Secret;
use http::StatusCode;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use tracing::Level;

/// Why there is no login.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("name the user with -u: the password is read from stdin")]
    NoUser,
    #[error("the password is empty")]
    NoPassword,
    #[error("{registry} refuses the account {user}{said}. Nothing was stored")]
    Refused { registry: Registry, user: String, said: String },
    #[error("cannot verify the account at {registry}: {fault}. Nothing was stored")]
    Unverified { registry: Registry, fault: Fault },
    #[error("cannot read {}: {source}", path.display())]
    Import { path: PathBuf, source: io::Error },
    #[error("{} is no config.json of Docker: {source}", path.display())]
    ImportFormat { path: PathBuf, source: serde_json::Error },
    #[error("no login of {} could be used", .0.display())]
    NothingImported(PathBuf),
    #[error("not logged in to {registry}{others}")]
    NotLoggedIn { registry: Registry, others: String },
    #[error(
        "credential helpers work with a user's own docxy-client only, and {} is for the system's: log in as the user \
         whose docxy-client runs, or without a helper. Nothing was stored", .0.display()
    )]
    HelperOfSystem(PathBuf),
    #[error("there is no directory for logins: set XDG_CONFIG_HOME or HOME")]
    NoDirectory,
    #[error(transparent)]
    Helper(#[from] HelperError),
    #[error(transparent)]
    Store(#[from] LoginsError),
}

pub(super) fn login(arguments: LoginArguments, flags: Flags) -> Result<(), CommandError> {
    let LoginArguments { registry, user, helper, import, connection } = arguments;
    let flags = Flags { connection, ..flags };
    let settings = ConnectionSettings::load(&flags, Level::ERROR)?;
    let file = settings.logins.ok_or(LoginError::NoDirectory)?;
    let logging = logging::start(&settings.log);
    let has_account = helper.is_some() && user.is_none();
    let helper = helper.or(settings.credential_helper);
    if helper.is_some() && import.is_none() {
        refuse_helper_of_system(&file)?;
    }
    let imported = match &import {
        Some(path) => Some(read_docker_config(path.clone().unwrap_or_else(docker_config_path))?),
        None => None,
    };
    let given = match imported {
        None if !has_account => Some(read_account(&registry, user)?),
        _ => None,
    };
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Start)?;
    let work = async {
        let given_settings = GivenSettings::of(&flags, &settings.tunnel);
        let sockets = local_api::socket_candidates();
        let connection = Connection::find(sockets, given_settings, settings.tunnel).await?;
        let outcome = match (imported, given) {
            (Some((path, all)), _) => import_all(&connection, &file, &path, all).await,
            (None, Some(login)) => add(&connection, &file, login, helper).await,
            (None, None) => {
                let key = helper_keys::of_engines(&registry);
                let stored =
                    StoredLogin::Helper { helper: helper.ok_or(LoginError::NoUser)?, key, own: false };
                import_one(&connection, &file, &registry, stored).await
            }
        };
        connection.close().await;
        outcome
    };
    let outcome = runtime.block_on(async {
        let shutdown = Shutdown::of_command().map_err(CommandError::Start)?;
        tokio::select! {
            done = work => done,
            () = shutdown.drain.cancelled() => Err(CommandError::Interrupted),
        }
    });
    drop(logging);
    outcome?;
    print_note(if runtime.block_on(only_system_client_runs()) {
        "this system's docxy-client does not read that; for it, log in with sudo"
    } else {
        "engines on this machine now pull what the account can, also those of its other users; other machines do not"
    });
    Ok(())
}

pub(super) fn logout(arguments: &LogoutArguments, flags: &Flags) -> Result<(), CommandError> {
    let registry = &arguments.registry;
    let file = ConnectionSettings::load(flags, Level::ERROR)?.logins.ok_or(LoginError::NoDirectory)?;
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Start)?;
    let of_system = if runtime.block_on(only_system_client_runs()) {
        "; this system's docxy-client has its own logins: for those, log out with sudo"
    } else {
        ""
    };
    let all = logins::read(&file).map_err(LoginError::from)?;
    if !all.contains_key(registry) {
        let names: Vec<_> = all.keys().map(ToString::to_string).collect();
        let others = if names.is_empty() { String::new() } else { format!(", only to {}", names.join(", ")) };
        let others = others + of_system;
        return Err(LoginError::NotLoggedIn { registry: registry.clone(), others }.into());
    }
    // First the file: a helper that fails must not keep the login in use.
    let removed = logins::change(&file, |all| all.remove(registry)).map_err(LoginError::from)?;
    print_note(&format!("logged out of {registry}{of_system}"));
    let kept = cache::remove_private(registry, flags);
    if let Some(StoredLogin::Helper { helper, key, own: true }) = removed {
        runtime.block_on(helper.erase(&key)).map_err(LoginError::from)?;
    }
    kept
}

/// Whether a client runs here that does not read this user's logins.
async fn only_system_client_runs() -> bool {
    local_api::system_client_runs() && running_process().await.is_none()
}

/// Root's logins are for the service, which runs as another user and has no helper of root.
fn refuse_helper_of_system(file: &Path) -> Result<(), LoginError> {
    let is_of_system =
        [&CLIENT_STATE, &CLIENT_CONFIG].iter().any(|place| file.parent() == Some(Path::new(place.system)));
    if is_root() && is_of_system { Err(LoginError::HelperOfSystem(file.to_owned())) } else { Ok(()) }
}

/// The account that the user types, or that a program writes.
pub(super) fn read_account(registry: &Registry, user: Option<String>) -> Result<Login, CommandError> {
    let is_terminal = io::stdin().is_terminal();
    let user = match user {
        Some(user) => user,
        None if is_terminal => read_line(&format!("User at {registry}: "))?,
        None => return Err(LoginError::NoUser.into()),
    };
    let password = if is_terminal {
        let prompt = format!("Password or access token of {user} at {registry}: ");
        rpassword::prompt_password(prompt).map(Secret::new).map_err(CommandError::Input)?
    } else {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text).map_err(CommandError::Input)?;
        Secret::new(text)
    };
    let password = password_file::parse(password.expose()).ok_or(LoginError::NoPassword)?;
    Ok(Login { registry: registry.clone(), user, password })
}

fn read_line(prompt: &str) -> Result<String, CommandError> {
    // Without stderr, the user knows what to type.
    let _ = write!(io::stderr(), "{prompt}");
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(CommandError::Input)?;
    let user = line.trim();
    if user.is_empty() { Err(LoginError::NoUser.into()) } else { Ok(user.to_owned()) }
}

/// Verifies an account, and keeps it in the file or in the helper.
async fn add(
    connection: &Connection,
    file: &Path,
    login: Login,
    helper: Option<CredentialHelper>,
) -> Result<(), CommandError> {
    verify(connection, &login).await?;
    let Login { registry, user, password } = login;
    let stored = match helper {
        Some(helper) => {
            let key = helper_keys::own(&registry);
            helper.store(&key, &user, &password).await.map_err(LoginError::from)?;
            StoredLogin::Helper { helper, key, own: true }
        }
        None => StoredLogin::Password { user: user.clone(), password },
    };
    keep(file, &registry, &user, stored).await
}

/// Verifies the account that is kept like this, and keeps it so.
async fn import_one(
    connection: &Connection,
    file: &Path,
    registry: &Registry,
    stored: StoredLogin,
) -> Result<(), CommandError> {
    if matches!(stored, StoredLogin::Helper { .. }) {
        refuse_helper_of_system(file)?;
    }
    let login = stored.account(registry).await.map_err(LoginError::from)?;
    verify(connection, &login).await?;
    keep(file, registry, &login.user, stored).await
}

/// Says what is wrong with each that cannot be used. At least one must be.
async fn import_all(
    connection: &Connection,
    file: &Path,
    path: &Path,
    all: BTreeMap<Registry, StoredLogin>,
) -> Result<(), CommandError> {
    let mut imported = 0;
    for (registry, stored) in all {
        match import_one(connection, file, &registry, stored).await {
            Ok(()) => imported += 1,
            Err(why @ CommandError::Login(LoginError::Store(_))) => return Err(why),
            Err(why) => print_note(&format!("{registry}: {why}")),
        }
    }
    if imported == 0 { Err(LoginError::NothingImported(path.to_owned()).into()) } else { Ok(()) }
}

/// What `login` has put into another place before is taken away there.
async fn keep(file: &Path, registry: &Registry, user: &str, stored: StoredLogin) -> Result<(), CommandError> {
    let place = match &stored {
        StoredLogin::Password { .. } => format!("in {}, which others may not read", file.display()),
        StoredLogin::Helper { helper, .. } => {
            format!(
                "by docker-credential-{helper}, which the running client asks: run it as you, not as a system service"
            )
        }
    };
    let before = logins::change(file, |all| all.insert(registry.clone(), stored.clone()));
    let before = before.map_err(LoginError::from)?;
    print_note(&format!("logged in to {registry} as {user}; the password is kept {place}"));
    if let Some(StoredLogin::Helper { helper, key, own: true }) = before
        && !matches!(&stored, StoredLogin::Helper { helper: h, key: k, .. } if (h, k) == (&helper, &key))
        && let Err(why) = helper.erase(&key).await
    {
        print_note(&format!("warning: the password from before is still kept: {why}"));
    }
    Ok(())
}

/// Asks the registry whether it accepts the account.
async fn verify(connection: &Connection, login: &Login) -> Result<(), LoginError> {
    let registry = &login.registry;
    let ping = |authorization: Authorization| {
        let request = Request::new(registry.clone(), Operation::Ping).with_authorization(authorization);
        let unverified = |fault| LoginError::Unverified { registry: registry.clone(), fault };
        async move { connection.request(request).await.map_err(unverified) }
    };
    print_note(&format!("asking {registry} through {}", connection.description()));
    if ping(Authorization::None).await?.status().is_success() {
        print_note(&format!(
            "note: {registry} asks nobody for an account here, so this one cannot be verified"
        ));
    }
    let response = ping(Authorization::Login(login.clone())).await?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let said = error_body::message(response.body()).map(|said| said.to_string());
    let said = said.unwrap_or_else(|| status.to_string());
    let advice = if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        ". Check user and password; many registries want an access token in place of the password"
    } else {
        ""
    };
    let (registry, user) = (registry.clone(), login.user.clone());
    Err(LoginError::Refused { registry, user, said: format!(" ({said}){advice}") })
}

fn docker_config_path() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let directory = set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker")));
    directory.unwrap_or_default().join("config.json")
}

fn read_docker_config(path: PathBuf) -> Result<(PathBuf, BTreeMap<Registry, StoredLogin>), LoginError> {
    let text = input_file::read(&path).map_err(|source| LoginError::Import { path: path.clone(), source })?;
    let found = docker_config::parse(&text);
    found.map_err(|source| LoginError::ImportFormat { path: path.clone(), source }).map(|all| (path, all))
}
