//! Which registry a token service belongs to, learned from the challenges that pass by.
//!
//! An engine that was challenged comes back with the challenge's `service` and nothing else that
//! would name the registry, where it reached it by `?ns=`.

use docxy_protocol::name::Registry;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Services remembered at most; the server lists few registries.
const MOST: usize = 256;

/// Longest name of a service that is remembered, in bytes. Registries' have about twenty.
const LONGEST: usize = 256;

/// The service of Docker Hub's tokens.
const DOCKER_HUB: &str = "registry.docker.io";

/// What has been learned.
#[derive(Debug, Default)]
pub(super) struct Services(Mutex<HashMap<String, Registry>>);

impl Services {
    /// Notes that a challenge of this registry named this service. Who names one first has it, and
    /// nobody takes over Docker Hub's, whose passwords go to no other registry.
    pub(super) fn learn(&self, service: &str, registry: &Registry) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if service != DOCKER_HUB && known.len() < MOST && service.len() <= LONGEST {
            known.entry(service.to_owned()).or_insert_with(|| registry.clone());
        }
    }

    /// The registry of a service: as learned; else by its name, since most services are called
    /// after their registry; else Docker Hub.
    pub(super) fn registry(&self, service: Option<&str>) -> Registry {
        let Some(service) = service else {
            return Registry::docker_hub();
        };
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(registry) = known.get(service) {
            return registry.clone();
        }
        match service.parse::<Registry>() {
            Ok(registry) if service.contains('.') && service != DOCKER_HUB => registry,
            _ => Registry::docker_hub(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_leads_to_the_registry_that_named_it() {
        let services = Services::default();
        let registry = |service| services.registry(service).to_string();
        assert_eq!(registry(None), "docker.io");
        assert_eq!(registry(Some("registry.docker.io")), "docker.io");
        assert_eq!(registry(Some("ghcr.io")), "ghcr.io");
        assert_eq!(registry(Some("container_registry")), "docker.io");
        services.learn("container_registry", &"registry.gitlab.com".parse().unwrap());
        services.learn("container_registry", &"evil.example".parse().unwrap());
        services.learn("registry.docker.io", &"evil.example".parse().unwrap());
        assert_eq!(registry(Some("registry.docker.io")), "docker.io");
        assert_eq!(registry(Some("container_registry")), "registry.gitlab.com");
    }
}
