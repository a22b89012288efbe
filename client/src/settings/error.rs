//! Why the settings are not usable.

use super::host_name::HostNameError;
use super::links::store::LinksError;
use docxy_host::files::toml_file::TomlFileError;
use docxy_host::net::proxy::EnvironmentError;
use std::net::SocketAddr;

/// Why the settings are not usable.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The config file cannot be read, or is not valid.
    #[error(transparent)]
    File(#[from] TomlFileError),
    /// The links are not valid.
    #[error(transparent)]
    Links(#[from] LinksError),
    /// No link was joined.
    #[error(
        "no link is known, so there is no server to connect to: run `docxy-client join` and paste the one \
             that `docxy-server invite NAME` printed"
    )]
    NoLink,
    /// No link was joined, and another user's client may run.
    #[error(
        "no link is known to this user. Only root's commands can use the docxy-client of the system: pull as \
             root (sudo docxy-client pull), pull with an engine at 127.0.0.1:5080, or run `docxy-client join` as this user"
    )]
    NoOwnLink,
    /// The user is not root and has no home.
    #[error(
        "there is no directory for the links: HOME is not set, so name one as link_file in a config \
             file and pass that with --config FILE"
    )]
    NoDirectory,
    /// Not a host name.
    #[error(transparent)]
    Host(#[from] HostNameError),
    /// A variable that names a proxy cannot be used.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// QUIC was asked for, and a proxy.
    #[error("QUIC cannot go through a proxy: set the leg to tcp, or name no proxy")]
    ProxyWithQuic,
    /// A listen address that other machines can reach.
    #[error(
        "{0} can be reached from other machines, and anyone who can reach it pulls through your link and \
             your address: listen on 127.0.0.1, or name who may, as in --allow-remote 192.168.1.0/24"
    )]
    Remote(SocketAddr),
}
