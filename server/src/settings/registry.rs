//! `[registries]`: the registries that the server serves, and no others.
//!
//! Must never accept a password in the config file: the file is copied, and every command reads it.

use super::error::SettingsError;
use super::resolve::{ResolveTable, StaticAddress};
use docxy_host::files::input_file;
use docxy_host::files::password_file;
use docxy_host::files::toml_file;
use docxy_protocol::limits::SERVED_REGISTRIES_MAX;
use docxy_protocol::name::{NameError, Registry};
use docxy_protocol::secret::Secret;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use url::Url;

/// One registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrySettings {
    /// The name in image references.
    pub name: Registry,
    /// The API's URL: `https`, a host and perhaps a port, nothing else.
    pub api: Url,
    /// CA certificates that are trusted for this registry, in addition to the system's roots.
    pub ca: Vec<CertificateDer<'static>>,
    /// The operator's own account there.
    pub account: Option<Account>,
    /// The addresses of hosts (in lower case) that are not resolved by DNS, for this registry's requests.
    /// They may be outside the public internet.
    pub resolve: BTreeMap<String, StaticAddress>,
}

/// An account at a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user's name.
    pub user: String,
    /// The password, or an access token that is used as one.
    pub password: Secret,
}

impl RegistrySettings {
    /// Docker Hub, anonymously.
    #[must_use]
    pub fn docker_hub() -> Self {
        Self::anonymous(Registry::docker_hub())
    }

    /// The registries that are served without a list, anonymously.
    pub fn builtin() -> impl Iterator<Item = Self> {
        Registry::well_known().map(Self::anonymous)
    }

    fn anonymous(name: Registry) -> Self {
        Self {
            api: default_api(&name).expect("the address of a well-known registry is a URL"),
            name,
            ca: Vec::new(),
            account: None,
            resolve: BTreeMap::new(),
        }
    }
}

/// One registry's table in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, as in [registries.\"ghcr.io\"]")]
pub(super) struct RegistryTable {
    api: Option<ApiUrl>,
    ca: Option<PathBuf>,
    account: Option<AccountTable>,
    #[serde(default)]
    resolve: ResolveTable,
}

impl RegistryTable {
    /// Reads the files and variables that the table names. `config` is the config file's path.
    pub(super) fn load(self, name: Registry, config: &Path) -> Result<RegistrySettings, SettingsError> {
        let failed =
            |detail| SettingsError::Registry { path: config.to_owned(), registry: name.to_string(), detail };
        let api = self.api.map_or_else(|| default_api(&name), |api| Ok(api.0)).map_err(failed)?;
        let ca = self.ca.map(|path| certificates(&toml_file::resolve(config, &path)));
        let ca = ca.transpose().map_err(failed)?.unwrap_or_default();
        let account = self.account.map(|table| table.load(config)).transpose().map_err(failed)?;
        let resolve = self.resolve.into_entries();
        Ok(RegistrySettings { api, name, ca, account, resolve })
    }
}

/// All registries' tables, in the file's order.
#[derive(Debug)]
pub(super) struct RegistryTables {
    tables: Vec<(Registry, RegistryTable)>,
    /// Whether the built-in ones are served as well.
    builtin: bool,
}

impl RegistryTables {
    /// Reads the files and variables that they name: see [`RegistryTable::load`].
    pub(super) fn load(self, config: &Path) -> Result<Vec<RegistrySettings>, SettingsError> {
        let listed = self.tables.into_iter().map(|(name, table)| table.load(name, config));
        let mut all: Vec<_> = listed.collect::<Result<_, _>>()?;
        if self.builtin {
            let is_listed = |entry: &RegistrySettings| all.iter().any(|listed| listed.name == entry.name);
            let others: Vec<_> = RegistrySettings::builtin().filter(|entry| !is_listed(entry)).collect();
            all.extend(others);
        }
        Ok(all)
    }
}

/// A key of the table.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
enum RegistryKey {
    Builtin,
    Registry(Registry),
}

impl TryFrom<String> for RegistryKey {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        if text == "builtin" { Ok(Self::Builtin) } else { text.parse().map(Self::Registry) }
    }
}

/// Written by hand, because two keys may name one registry: a map would silently drop one of them.
impl<'de> Deserialize<'de> for RegistryTables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tables;

        impl<'de> Visitor<'de> for Tables {
            type Value = RegistryTables;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of registries")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RegistryTables, A::Error> {
                let (mut tables, mut builtin) = (Vec::<(Registry, RegistryTable)>::new(), false);
                while let Some(key) = map.next_key()? {
                    let RegistryKey::Registry(name) = key else {
                        builtin = map.next_value()?;
                        continue;
                    };
                    if tables.iter().any(|(other, _)| *other == name) {
                        return Err(A::Error::custom(format!("{name} is listed twice")));
                    }
                    let table = map.next_value().map_err(|error: A::Error| {
                        // TOML takes the rest of the name for a key of the table.
                        let is_cut = !name.as_str().contains(['.', ':'])
                            && error.to_string().contains("unknown field");
                        let text = "the name of a registry is in quotes, as in [registries.\"docker.io\"]";
                        if is_cut { A::Error::custom(text) } else { error }
                    })?;
                    tables.push((name, table));
                }
                if tables.is_empty() && !builtin {
                    let advice = "leave [registries] out, or say builtin = true, to serve the built-in ones";
                    return Err(A::Error::custom(format!("no registry is listed; {advice}")));
                }
                if tables.len() > SERVED_REGISTRIES_MAX - Registry::well_known().count() {
                    return Err(A::Error::custom(
                        "too many registries are listed: a server serves about a hundred",
                    ));
                }
                Ok(RegistryTables { tables, builtin })
            }
        }

        deserializer.deserialize_map(Tables)
    }
}

/// The URL of a registry's API.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct ApiUrl(Url);

impl TryFrom<String> for ApiUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let url = Url::parse(&text).map_err(|e| format!("the api is not a URL: {e}"))?;
        // Each operation has its own path, and a credential belongs in `account`.
        let is_bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if url.scheme() != "https" {
            Err("an api must begin with https://".into())
        } else if !is_bare {
            Err("an api is https://HOST or https://HOST:PORT and nothing else".into())
        } else {
            Ok(Self(url))
        }
    }
}

/// The API's default URL. Docker Hub's API is on another host than its name, others' are not.
fn default_api(name: &Registry) -> Result<Url, String> {
    let host = if name.is_docker_hub() { "registry-1.docker.io" } else { name.as_str() };
    ApiUrl::try_from(format!("https://{host}")).map(|api| api.0)
}

/// An account's table in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with user and password_file or password_env")]
struct AccountTable {
    user: String,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
}

impl AccountTable {
    fn load(self, config: &Path) -> Result<Account, String> {
        let password = match (self.password_file, self.password_env) {
            (Some(path), None) => {
                password_file::read(&toml_file::resolve(config, &path)).map_err(|error| error.to_string())?
            }
            (None, Some(variable)) => password_file::parse(&environment(&variable)?)
                .ok_or_else(|| format!("the password in {variable} is empty"))?,
            _ => return Err("an account needs either password_file or password_env".into()),
        };
        Ok(Account { user: self.user, password })
    }
}

/// Reads a variable. The standard library's error would quote a value that is not text.
fn environment(variable: &str) -> Result<String, String> {
    let value = std::env::var_os(variable).ok_or_else(|| format!("password_env {variable} is not set"))?;
    value.into_string().map_err(|_| format!("password_env {variable} is not text"))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let pem = input_file::read(path).map_err(|e| format!("cannot read ca {shown}: {e}"))?;
    let all: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|e| format!("ca {shown} is not PEM: {e}"))?;
    if all.is_empty() {
        return Err(format!("ca {shown} holds no certificate"));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::super::{Flags, Settings};
    use super::*;

    /// Loads a config file from a directory that has the other files too.
    fn load(text: &str, files: &[(&str, &str)]) -> Result<Vec<RegistrySettings>, String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files.iter().chain([&("server.toml", text)]) {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        let flags = Flags::of_config(dir.path().join("server.toml"));
        match Settings::load(&flags) {
            Ok(settings) => Ok(settings.registries),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_registry_comes_with_its_ca_and_account() {
        let key = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap();
        let registries = load(
            "[registries.'docker.io']\n\
             api = 'https://hub.example:5000'\n\
             ca = 'ca.pem'\n\
             account = { user = 'me', password_file = 'password' }\n\
             [registries.'ghcr.io']\n",
            &[("ca.pem", &key.cert.pem()), ("password", "hunter2\n\n")],
        )
        .unwrap();
        let [hub, ghcr] = &registries[..] else {
            panic!("{registries:?}");
        };
        assert_eq!(hub.api.as_str(), "https://hub.example:5000/");
        assert_eq!(hub.ca, [key.cert.der().clone()]);
        let account = hub.account.as_ref().unwrap();
        assert_eq!(account.user, "me");
        assert_eq!(account.password, Secret::new("hunter2\n"));
        assert_eq!(ghcr.api.as_str(), "https://ghcr.io/");
        assert!(ghcr.account.is_none());
    }

    #[test]
    fn an_api_is_https_and_a_host_and_nothing_else() {
        for api in [
            "http://ghcr.io",
            "ghcr.io",
            "https://",
            "https://ghcr.io/v2",
            "https://ghcr.io?x",
            "https://ghcr.io/#x",
            "https://u@ghcr.io",
            "https://u:p@ghcr.io",
        ] {
            let error = load(&format!("[registries.'ghcr.io']\napi = '{api}'"), &[]).unwrap_err();
            assert!(error.contains("server.toml, line 2: "), "{error}");
        }
    }

    #[test]
    fn an_account_with_an_unreadable_password_is_an_error() {
        for (account, words) in [
            ("password_file = 'gone'", "gone: No such file"),
            ("password_file = 'empty'", "empty is empty"),
            ("password_env = 'DOCXY_TEST_UNSET'", "DOCXY_TEST_UNSET is not set"),
            ("password = 'hunter2'", "unknown field `password`"),
            ("password_file = 'a', password_env = 'B'", "either"),
        ] {
            let text = format!("[registries.'ghcr.io']\naccount = {{ user = 'me', {account} }}");
            let error = load(&text, &[("empty", "\n")]).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(error.contains("server.toml, "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_ca_file_without_a_certificate_is_an_error() {
        for (files, words) in [(vec![], "No such file"), (vec![("ca.pem", "hello")], "holds no certificate")]
        {
            let error = load("[registries.'ghcr.io']\nca = 'ca.pem'", &files).unwrap_err();
            assert!(error.contains("registry ghcr.io: "), "{error}");
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_name_without_quotes_is_told_from_a_misspelt_key() {
        for (text, words) in [
            ("[registries.docker.io]", "is in quotes"),
            ("[registries]\nghcr.io = {}", "is in quotes"),
            ("[registries.'ghcr.io']\napj = 'x'", "unknown field `apj`"),
        ] {
            let error = load(text, &[]).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn the_built_in_registries_are_added_on_request_only() {
        let listed = "[registries.'ghcr.io']\napi = 'https://mirror.example'\n[registries.'corp.example']\n";
        assert_eq!(load(listed, &[]).unwrap().len(), 2);
        let all = load(&format!("[registries]\nbuiltin = true\n{listed}"), &[]).unwrap();
        assert_eq!(all.len(), RegistrySettings::builtin().count() + 1);
        let ghcr = all.iter().find(|entry| entry.name.as_str() == "ghcr.io").unwrap();
        assert_eq!(ghcr.api.as_str(), "https://mirror.example/");
        assert_eq!(load("[registries]\nbuiltin = true", &[]), load("", &[]));
    }

    #[test]
    fn an_empty_list_of_registries_is_an_error() {
        for text in ["[registries]", "[registries]\nbuiltin = false"] {
            assert!(load(text, &[]).unwrap_err().contains("line 1"));
        }
    }
}
