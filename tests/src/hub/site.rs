//! The three hosts that make up a registry service, and their names.
//! Names are what clients dial and what certificates say; addresses live elsewhere.

use serde::{Deserialize, Serialize};

/// One of the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Site {
    /// The registry API.
    Registry,
    /// The token service.
    Auth,
    /// Where blobs are redirected to.
    Cdn,
}

impl Site {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Registry, Self::Auth, Self::Cdn];
}

/// Host names, and the name that the registry goes by at its token service.
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
    /// Docker Hub's.
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

    /// The host name of a site.
    pub fn host(&self, site: Site) -> &str {
        match site {
            Site::Registry => &self.registry,
            Site::Auth => &self.auth,
            Site::Cdn => &self.cdn,
        }
    }

    pub(super) fn realm(&self) -> String {
        format!("https://{}/token", self.auth)
    }
}
