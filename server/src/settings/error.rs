//! Errors of the settings, with the file that they are in.

use super::tls::TlsFileError;
use docxy_host::files::toml_file::TomlFileError;
use docxy_host::net::proxy::EnvironmentError;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are where it is and what is wrong there")]
pub enum SettingsError {
    /// The config file cannot be read, or is wrong.
    #[error(transparent)]
    File(#[from] TomlFileError),
    /// A registry's account or CA file cannot be used.
    #[error("{}, registry {registry}: {detail}", path.display())]
    Registry { path: PathBuf, registry: String, detail: String },
    /// A variable that names a proxy cannot be used.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The operator's certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsFileError),
    /// The admin page would be open to a network without TLS.
    #[error(
        "admin address {0} is reached from other machines: set tls_certificate and tls_key as well, or use 127.0.0.1"
    )]
    OpenAdmin(SocketAddr),
    /// The user is not root, and has no home directory.
    #[error("there is no default state directory, because HOME is not set: pass --state DIR")]
    NoStateDirectory,
    /// The same for the layers.
    #[error("there is no default directory for the layers, because HOME is not set: pass --cache DIR")]
    NoCacheDirectory,
}
