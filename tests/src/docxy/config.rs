//! The server's config file.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Result;

/// The file with a proxy's password, beside a config file.
const PROXY_PASSWORD_FILE: &str = "proxy.password";

/// The server's config file.
#[derive(Clone, Debug, Default)]
pub struct ServerConfig {
    /// The listed registries, by name (`docker.io`).
    pub registries: BTreeMap<String, Upstream>,
    /// The addresses of host names for all registries, instead of DNS.
    pub resolve: BTreeMap<String, SocketAddr>,
    /// The highest rate that a client may state; `None` is the default.
    pub fixed_rate_limit: Option<String>,
    /// The `client_max_rate`, if it is set.
    pub client_max_rate: Option<String>,
    /// Whether a tag's previous manifest may be served when the registry fails.
    pub stale: bool,
    /// Whether running transfers are handed back at the first signal.
    pub handover: bool,
    /// The log filter; `None` is the default.
    pub log: Option<String>,
    /// The proxy towards registries.
    pub proxy: Option<ProxyConfig>,
    /// The operator's own certificate and its key.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// The proxy in a config file.
#[derive(Clone, Debug, Default)]
pub struct ProxyConfig {
    /// Its URL, without a password.
    pub url: String,
    /// The password, which goes to a file of its own.
    pub password: Option<String>,
    /// The hosts that it may resolve. Only a server's config has them.
    pub allow_hosts: Vec<String>,
}

/// A registry on the server's list.
#[derive(Clone, Debug, Default)]
pub struct Upstream {
    /// The URL of its API.
    pub api: String,
    /// The certificate authority that the server trusts for it.
    pub ca: PathBuf,
    /// The addresses of its hosts, instead of DNS.
    pub resolve: BTreeMap<String, SocketAddr>,
    /// The operator's account there: user and password.
    pub account: Option<(String, String)>,
}

impl ServerConfig {
    /// Writes the file, and the passwords of accounts beside it.
    pub(super) fn write(&self, file: &Path) -> Result<()> {
        for (name, upstream) in &self.registries {
            if let Some((_, password)) = &upstream.account {
                fs::write(file.with_file_name(password_file(name)), format!("{password}\n"))?;
            }
        }
        if let Some(password) = self.proxy.as_ref().and_then(|proxy| proxy.password.as_ref()) {
            fs::write(file.with_file_name(PROXY_PASSWORD_FILE), format!("{password}\n"))?;
        }
        Ok(fs::write(file, self.to_toml()?)?)
    }

    /// The file's text.
    pub fn to_toml(&self) -> Result<String> {
        let mut toml = String::new();
        if let Some(limit) = &self.client_max_rate {
            writeln!(toml, "client_max_rate = {limit:?}")?;
        }
        if let Some(limit) = &self.fixed_rate_limit {
            writeln!(toml, "fixed_rate_limit = {limit:?}")?;
        }
        if let Some(log) = &self.log {
            writeln!(toml, "log = {log:?}")?;
        }
        if self.stale {
            writeln!(toml, "stale = true")?;
        }
        if let Some((certificate, key)) = &self.tls {
            writeln!(toml, "tls_certificate = {certificate:?}\ntls_key = {key:?}")?;
        }
        if self.handover {
            writeln!(toml, "handover = true")?;
        }
        if let Some(proxy) = &self.proxy {
            writeln!(toml, "[proxy]\nurl = {:?}\nallow_hosts = {:?}", proxy.url, proxy.allow_hosts)?;
            if proxy.password.is_some() {
                writeln!(toml, "password_file = {PROXY_PASSWORD_FILE:?}")?;
            }
        }
        for (name, upstream) in &self.registries {
            writeln!(toml, "[registries.{name:?}]")?;
            writeln!(toml, "api = {:?}", upstream.api)?;
            writeln!(toml, "ca = {:?}", upstream.ca)?;
            if let Some((user, _)) = &upstream.account {
                let password = password_file(name);
                writeln!(toml, "account = {{ user = {user:?}, password_file = {password:?} }}")?;
            }
            writeln!(toml, "[registries.{name:?}.resolve]")?;
            toml += &resolve_table(&upstream.resolve);
        }
        writeln!(toml, "[resolve]")?;
        toml += &resolve_table(&self.resolve);
        Ok(toml)
    }
}

fn password_file(registry: &str) -> String {
    format!("{registry}.password")
}

/// Host names and their addresses, as lines of a table in the config file.
fn resolve_table(hosts: &BTreeMap<String, SocketAddr>) -> String {
    hosts.iter().map(|(host, address)| format!("{host:?} = \"{address}\"\n")).collect()
}
