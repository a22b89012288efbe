//! The registries that this server serves, and how new settings replace them.
//!
//! Must never serve a registry that is not on the operator's list.

use super::error::UpstreamError;
use super::http::address_guard::AddressGuard;
use super::http::retry::RetryDeadline;
use super::http::roots::system_roots;
use super::layer_cache::LayerCache;
use super::manifest::rate_limit::Times;
use super::manifest::{ManifestRequest, PublicManifests};
use super::registry::authorized_registry::AuthorizedRegistry;
use super::registry::dispatch;
use super::registry::public_proof::PublicProof;
use super::registry::response::Response;
use super::request_counts::RequestCounts;
use crate::settings::{RegistrySettings, RepositoryRules, Settings};
use crate::upstream::store::{Store, StoredManifest};
use docxy_protocol::control::ServedRegistries;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::name::{Digest, Reference, Registry as RegistryName};
use docxy_protocol::rate_limit::RateLimit;
use docxy_protocol::request::{Operation, Request};
use docxy_protocol::token_origins::TokenOrigins;
use parking_lot::Mutex;
use rustls::RootCertStore;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;

/// The server cannot set up TLS towards a registry.
#[derive(Debug, thiserror::Error)]
#[error("TLS towards registry {registry}: {source}")]
pub struct SetupError {
    registry: RegistryName,
    source: rustls::Error,
}

/// All registries that this server serves.
#[derive(Debug, Default)]
pub(crate) struct Upstream {
    registries: HashMap<RegistryName, ServedRegistry>,
    rules: RepositoryRules,
    /// All registries share it, because each has to recognise the others' tokens.
    origins: Arc<Mutex<TokenOrigins>>,
    /// The layers on the disk, if some are kept.
    layers: Option<LayerCache>,
}

/// A registry, with the settings that it was made with.
#[derive(Debug, Clone)]
struct ServedRegistry {
    settings: RegistrySettings,
    registry: Arc<AuthorizedRegistry>,
    manifests: Arc<PublicManifests>,
}

/// A registry, for reports.
#[derive(Debug)]
pub(crate) struct RegistryReport<'a> {
    pub(crate) name: &'a RegistryName,
    pub(crate) counts: &'a RequestCounts,
    /// The pull limit for public manifests that it last reported.
    pub(crate) quota: Option<(RateLimit, Times)>,
}

/// How many registries differ between new settings and the old ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) added: usize,
    pub(crate) changed: usize,
    pub(crate) removed: usize,
}

impl Upstream {
    /// Sets up a client for each registry of the settings, without connecting. Reads files.
    ///
    /// # Errors
    /// If a certificate of the settings cannot be used.
    pub(crate) fn new(settings: &Settings, store: &Store) -> Result<Self, SetupError> {
        Self::default().updated(settings, store).map(|(upstream, _)| upstream)
    }

    /// The same for new settings. A registry whose entry is unchanged keeps its connections, tokens and
    /// manifests. Running exchanges go on with `self`.
    ///
    /// # Errors
    /// If a certificate of the settings cannot be used. Then nothing has changed.
    pub(crate) fn updated(&self, settings: &Settings, store: &Store) -> Result<(Self, Changes), SetupError> {
        AddressGuard::warn_of_unusable_entries(settings);
        let mut roots = None;
        let mut changes = Changes::default();
        let mut registries = HashMap::new();
        for entry in &settings.registries {
            let before = self.registries.get(&entry.name);
            let served = match before.filter(|before| before.settings == *entry) {
                Some(served) => served.clone(),
                None => {
                    *(if before.is_some() { &mut changes.changed } else { &mut changes.added }) += 1;
                    let roots = roots.get_or_insert_with(system_roots);
                    ServedRegistry::new(entry, settings, store, roots, self.origins.clone())?
                }
            };
            registries.insert(entry.name.clone(), served);
        }
        changes.removed = self.registries.keys().filter(|name| !registries.contains_key(*name)).count();
        // Nothing fails after this.
        for served in registries.values() {
            served.registry.apply_settings(&served.settings, settings);
            served.manifests.set_stale(settings.stale);
        }
        let (rules, origins, layers) = (settings.rules.clone(), self.origins.clone(), self.layers.clone());
        Ok((Self { registries, rules, origins, layers }, changes))
    }

    /// The same, which keeps layers.
    #[must_use]
    pub(crate) fn with_layers(self, layers: Option<LayerCache>) -> Self {
        Self { layers, ..self }
    }

    /// The layers on the disk.
    pub(crate) const fn layers(&self) -> Option<&LayerCache> {
        self.layers.as_ref()
    }

    /// Sends a request to its registry, and returns the response, also if its status is an error.
    ///
    /// # Errors
    /// If the registry or the repository is not served, or a hop fails before there is a response, or does not respond
    /// before the client's patience ends.
    pub(crate) async fn send(&self, request: &Request) -> Result<Response, UpstreamError> {
        let ServedRegistry { registry, manifests, .. } = self.served(&request.registry)?;
        if let Some(repository) = request.operation.repository()
            && !self.rules.may_read(&request.registry, repository)
        {
            let detail = format!(
                "this server's operator does not allow {}/{repository}: see allow and deny in its config",
                request.registry
            );
            return Err(UpstreamError::new(Hop::Server, FaultKind::RegistryNotServed, detail));
        }
        let deadline = RetryDeadline::starting_at(Instant::now(), request.patience);
        let layers = self.layers.as_ref().filter(|_| LayerCache::serves(request));
        match (ManifestRequest::anonymous(request, deadline), layers) {
            (Some(request), _) => manifests.respond(&request).await,
            // Boxed, since it would be most of an exchange's task.
            (None, Some(layers)) => Box::pin(layers.respond(registry, request, deadline)).await,
            (None, None) => dispatch::respond(registry, request, deadline).await,
        }
    }

    /// A public manifest of this request's repository. `proof` is of a request that has just succeeded.
    pub(crate) async fn public_manifest(
        &self,
        request: &Request,
        digest: &Digest,
        proof: Option<&PublicProof>,
    ) -> Option<Arc<StoredManifest>> {
        self.served(&request.registry).ok()?.manifests.get(request, digest, proof).await
    }

    /// Records that this request's tag, if it has one, refers to this manifest.
    pub(crate) fn record_tag(&self, request: &Request, digest: &Digest) {
        if let (Ok(served), Operation::Manifest { repository, reference: Reference::Tag(tag), .. }) =
            (self.served(&request.registry), &request.operation)
        {
            served.manifests.record_tag(repository, tag, digest);
        }
    }

    /// Refreshes the connections and tokens of the registries in use: see [`AuthorizedRegistry::keep_alive`]. Needs a
    /// running runtime.
    pub(crate) fn keep_alive(&self) {
        for served in self.registries.values() {
            let registry = Arc::clone(&served.registry);
            tokio::spawn(async move { registry.keep_alive().await });
        }
    }

    /// All of them, by name.
    pub(crate) fn reports(&self) -> Vec<RegistryReport<'_>> {
        let mut reports: Vec<_> = self
            .registries
            .iter()
            .map(|(name, served)| RegistryReport {
                name,
                counts: served.registry.counts(),
                quota: served.manifests.quota(),
            })
            .collect();
        reports.sort_by_key(|report| report.name.to_string());
        reports
    }

    /// Their names.
    pub(crate) fn names(&self) -> ServedRegistries {
        self.registries.keys().cloned().collect()
    }

    /// The registry of this name.
    ///
    /// # Errors
    /// If it is not on the list.
    pub(super) fn registry(&self, name: &RegistryName) -> Result<&AuthorizedRegistry, UpstreamError> {
        self.served(name).map(|served| &*served.registry)
    }

    fn served(&self, name: &RegistryName) -> Result<&ServedRegistry, UpstreamError> {
        self.registries.get(name).ok_or_else(|| {
            let served: Vec<String> = self.names().iter().map(ToString::to_string).collect();
            UpstreamError::new(
                Hop::Server,
                FaultKind::RegistryNotServed,
                format!(
                    "this server does not serve {name}, only {}; its operator can add it under [registries]",
                    served.join(", ")
                ),
            )
        })
    }
}

impl ServedRegistry {
    fn new(
        entry: &RegistrySettings,
        settings: &Settings,
        store: &Store,
        roots: &RootCertStore,
        origins: Arc<Mutex<TokenOrigins>>,
    ) -> Result<Self, SetupError> {
        let registry = AuthorizedRegistry::new(entry, settings, roots, origins)
            .map_err(|source| SetupError { registry: entry.name.clone(), source })?;
        let registry = Arc::new(registry);
        let manifests = PublicManifests::new(Arc::clone(&registry), store.clone());
        Ok(Self { settings: entry.clone(), registry, manifests: Arc::new(manifests) })
    }
}
