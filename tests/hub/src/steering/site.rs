//! The three hosts of a registry service, and their names. Clients dial the names, and the certificates contain
//! them.
//! Must never hold addresses.

use serde::{Deserialize, Serialize};

/// One of the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Site {
    /// The registry API.
    Registry,
    /// The token service.
    Auth,
    /// The CDN, to which blobs are redirected.
    Cdn,
}

impl Site {
    /// All hosts.
    pub const ALL: [Self; 3] = [Self::Registry, Self::Auth, Self::Cdn];
}

/// How a registry service differs from Docker Hub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Not at all.
    #[default]
    Hub,
    /// Its token service is at the registry's own host, as ghcr.io's.
    OneHost,
    /// It has no tokens, as registry.k8s.io and mcr.microsoft.com.
    NoAuth,
    /// Its token service names a token `access_token` only, as Azure's.
    AccessTokenOnly,
    /// It has no tokens, and redirects manifests to another host too, as registry.k8s.io.
    Redirecting,
}

/// Host names, and the service name of the registry at its token service.
#[derive(Clone, Debug)]
pub struct Names {
    /// Host of the registry API.
    pub registry: String,
    /// Host of the token service.
    pub auth: String,
    /// Host of the CDN.
    pub cdn: String,
    /// `service` in challenges, `aud` in tokens.
    pub service: String,
}

impl Default for Names {
    /// Docker Hub's names.
    fn default() -> Self {
        Self {
            registry: "registry-1.docker.io".into(),
            auth: "auth.docker.io".into(),
            cdn: "production.cloudflare.docker.com".into(),
            service: "registry.docker.io".into(),
        }
    }
}

impl Names {
    /// The names of another registry than Docker Hub, whose API is at `host`.
    pub fn of(host: &str) -> Self {
        Self {
            registry: host.to_owned(),
            auth: format!("auth.{host}"),
            cdn: format!("cdn.{host}"),
            service: "container_registry".into(),
        }
    }

    /// The name of a host.
    pub fn host(&self, site: Site) -> &str {
        match site {
            Site::Registry => &self.registry,
            Site::Auth => &self.auth,
            Site::Cdn => &self.cdn,
        }
    }

    /// The URL of the token service.
    pub(crate) fn realm(&self, kind: Kind) -> String {
        let host = if kind == Kind::OneHost { &self.registry } else { &self.auth };
        format!("https://{host}/token")
    }
}
