//! `url` and `password_file` of the table `[proxy]` in a config file.
//!
//! Must never accept a password in the config file: the file is copied, and every command reads it.

use super::url::{Proxy, ProxyUrlError};
use crate::files::password_file::{self, PasswordFileError};
use crate::files::toml_file::{self, Spanned, TomlFileError};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The table.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table with url, as in { url = 'http://HOST:PORT' }")]
pub struct ProxyTable {
    /// The proxy, without its password.
    pub url: Option<ReadableUrl>,
    /// A file with the password. A relative path starts at the config file's directory.
    pub password_file: Option<Spanned<PathBuf>>,
}

/// Why the password cannot be used.
#[derive(Debug, thiserror::Error)]
enum PasswordError {
    /// There is a password, and no proxy that it is for.
    #[error("password_file needs a url")]
    NoUrl,
    /// There is a password, and no user that it is for.
    #[error(transparent)]
    Url(#[from] ProxyUrlError),
    /// There is no password in its file.
    #[error(transparent)]
    PasswordFile(#[from] PasswordFileError),
}

impl ProxyTable {
    /// The proxy, with its password. `config` is the config file's path.
    ///
    /// # Errors
    /// If the password cannot be read, or there is nothing that it is for.
    pub fn load(self, config: &Path) -> Result<Option<Proxy>, TomlFileError> {
        let Some(file) = self.password_file else { return Ok(self.url.map(|url| url.0)) };
        let proxy = with_password(self.url, &toml_file::resolve(config, file.as_ref()));
        proxy.map(Some).map_err(|error| toml_file::invalid(config, &file, &error))
    }
}

fn with_password(url: Option<ReadableUrl>, file: &Path) -> Result<Proxy, PasswordError> {
    let proxy = url.ok_or(PasswordError::NoUrl)?.0;
    Ok(proxy.with_password(password_file::read(file)?)?)
}

/// A proxy's URL without a password.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct ReadableUrl(Proxy);

impl TryFrom<String> for ReadableUrl {
    type Error = ProxyUrlError;

    fn try_from(text: String) -> Result<Self, ProxyUrlError> {
        Proxy::without_password(&text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Option<Proxy>, String> {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("x.toml");
        std::fs::write(dir.path().join("secret"), "hunter2\n").unwrap();
        std::fs::write(&config, text).unwrap();
        let table: ProxyTable = toml_file::read(&config).map_err(|error| error.to_string())?;
        table.load(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn a_password_is_read_from_its_file() {
        assert_eq!(load(""), Ok(None));
        assert_eq!(load("url = 'socks5://p:1'"), Ok(Some("socks5://p:1".parse().unwrap())));
        let with_password = load("url = 'http://me@p:1'\npassword_file = 'secret'");
        assert_eq!(with_password, Ok(Some("http://me:hunter2@p:1".parse().unwrap())));
    }

    #[test]
    fn an_error_says_what_is_wrong_and_quotes_no_password() {
        for (text, words) in [
            ("url = 'http://me:hunter2@p:1'", "line 1: a proxy's password must not be written here"),
            ("\nurl = 'https://p:1'", "line 2: https:// proxies are not supported"),
            ("url = 'http://p:1'\npassword_file = 'secret'", "x.toml, line 2: a password needs a user"),
            ("\n\npassword_file = 'secret'", "x.toml, line 3: password_file needs a url"),
            ("url = 'http://me@p:1'\npassword_file = 'gone'", "x.toml, line 2: "),
        ] {
            let error = load(text).unwrap_err();
            assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
        }
    }
}
