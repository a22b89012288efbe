//! The only code that talks to registries, their token services and their CDNs.
//!
//! It can reach what the operator listed, and where that sends it by redirect, and nothing else:
//! every URL is built here, from typed values.
//!
//! ```text
//! Request ─▶ Upstream ─▶ Registry ─▶ Api ─▶ follow ─▶ registry ─307─▶ CDN
//!               ▲           └─▶ Tokens ─▶ token service (for those who come without a token)
//!               └── BlobSource ◀─ Download: a body that broke, and wants its rest
//! ```

mod answer;
mod api;
mod asked_hosts;
mod blob_source;
mod body;
mod check;
mod connector;
mod download;
mod failure;
mod fetches;
mod flights;
mod follow;
#[cfg(fuzzing)]
pub mod fuzz;
mod guard;
mod manifests;
mod one_flight;
mod operator_account;
mod origin;
mod origins;
mod promise;
mod quota;
mod registry;
mod retry;
mod roots;
mod shared_request;
mod small_answer;
mod token_cache;
mod token_service;
mod tokens;
mod warm;

pub(crate) use answer::{Answer, AnswerBody};
pub(crate) use check::Finding;

/// The body of an answer, on its way.
pub(crate) type Download = download::Download<blob_source::BlobSource>;

use crate::settings::{RegistrySettings, Settings};
use crate::store::{Manifest, Store};
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::name::{Digest, Reference, Registry as RegistryName};
use docxy_protocol::request::{Operation, Request};
use manifests::Manifests;
use origins::Origins;
use registry::Registry;
use rustls::RootCertStore;
use std::collections::HashMap;
use std::sync::Arc;

/// Why the server cannot set up its way to the registries.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No TLS configuration could be made.
    #[error("TLS towards registry {registry}: {source}")]
    Tls {
        /// The registry concerned.
        registry: RegistryName,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// All registries that this server serves.
#[derive(Debug)]
pub(crate) struct Upstream {
    registries: HashMap<RegistryName, Served>,
    origins: Origins,
}

/// A registry, and what is kept of it.
#[derive(Debug, Clone)]
struct Served {
    settings: RegistrySettings,
    registry: Arc<Registry>,
    manifests: Arc<Manifests>,
}

/// How the registries of new settings differ from those before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) added: usize,
    pub(crate) changed: usize,
    pub(crate) removed: usize,
}

impl Upstream {
    /// Prepares the way to every registry of the settings; connects to none.
    ///
    /// # Errors
    /// Where a certificate of the settings cannot be used.
    pub(crate) fn new(settings: &Settings, store: &Store) -> Result<Self, UpstreamError> {
        guard::Guard::warn_of_useless_pins(settings);
        let roots = roots::system();
        let origins = Origins::default();
        let served = |entry: &RegistrySettings| {
            Ok((entry.name.clone(), Served::new(entry, settings, store, &roots, origins.clone())?))
        };
        let registries = settings.registries.iter().map(served).collect::<Result<_, _>>()?;
        Ok(Self { registries, origins })
    }

    /// The same for other settings. A registry whose own entry is as it was keeps its connections,
    /// tokens and all that is remembered of it; `self` goes on for those who have it. Needs a running
    /// runtime, and reads files.
    ///
    /// # Errors
    /// Where a certificate of the settings cannot be used. Nothing has changed then.
    pub(crate) fn updated(
        &self,
        settings: &Settings,
        store: &Store,
    ) -> Result<(Self, Changes), UpstreamError> {
        guard::Guard::warn_of_useless_pins(settings);
        let mut roots = None;
        let mut changes = Changes::default();
        let (mut registries, mut fresh) = (HashMap::new(), Vec::new());
        for entry in &settings.registries {
            let before = self.registries.get(&entry.name);
            let served = match before.filter(|before| before.settings == *entry) {
                Some(served) => served.clone(),
                None => {
                    let roots = roots.get_or_insert_with(roots::system);
                    let served = Served::new(entry, settings, store, roots, self.origins.clone())?;
                    fresh.push(Arc::downgrade(&served.registry));
                    *(if before.is_some() { &mut changes.changed } else { &mut changes.added }) += 1;
                    served
                }
            };
            registries.insert(entry.name.clone(), served);
        }
        changes.removed = self.registries.keys().filter(|name| !registries.contains_key(*name)).count();
        // From here on nothing fails.
        for served in registries.values() {
            served.registry.dial_by(&served.settings, settings);
            served.manifests.set_stale(settings.stale);
        }
        for registry in fresh {
            tokio::spawn(warm::keep(registry));
        }
        Ok((Self { registries, origins: self.origins.clone() }, changes))
    }

    /// Asks the registry. What it answers, errors included, is an answer; a fault means that there
    /// is none to show.
    ///
    /// # Errors
    /// Where the registry isn't on the list, or some hop behind the server failed.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Answer, Fault> {
        let Served { registry, manifests, .. } = self.served(&request.registry)?;
        if request.authorization == Authorization::Public
            && let Some(answer) = manifests.ask(request).await
        {
            return answer;
        }
        registry.ask(request).await
    }

    /// A manifest of the repository that this request is about, as everybody may see it; `shown` if the
    /// registry has just shown it.
    pub(crate) async fn manifest(
        &self,
        request: &Request,
        digest: &Digest,
        shown: bool,
    ) -> Option<Arc<Manifest>> {
        self.served(&request.registry).ok()?.manifests.get(request, digest, shown).await
    }

    /// Remembers that the tag of this request, if it has one, stands for this.
    pub(crate) fn remember(&self, request: &Request, digest: &Digest) {
        if let (Ok(served), Operation::Manifest { repository, reference: Reference::Tag(tag), .. }) =
            (self.served(&request.registry), &request.operation)
        {
            served.manifests.remember(repository, tag, digest);
        }
    }

    /// Keeps the way to the registries in use warm, for as long as they are served.
    pub(crate) fn keep_warm(&self) {
        for Served { registry, .. } in self.registries.values() {
            tokio::spawn(warm::keep(Arc::downgrade(registry)));
        }
    }

    fn served(&self, name: &RegistryName) -> Result<&Served, Fault> {
        self.registries.get(name).ok_or_else(|| {
            let served: Vec<String> = self.registries.keys().map(ToString::to_string).collect();
            Fault::new(
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

impl Served {
    fn new(
        entry: &RegistrySettings,
        settings: &Settings,
        store: &Store,
        roots: &RootCertStore,
        origins: Origins,
    ) -> Result<Self, UpstreamError> {
        let registry = Registry::new(entry, settings, roots, chance, origins)
            .map_err(|source| UpstreamError::Tls { registry: entry.name.clone(), source })?;
        let registry = Arc::new(registry);
        let manifests =
            Manifests::new(entry.name.clone(), Arc::clone(&registry), store.clone(), settings.stale);
        Ok(Self { settings: entry.clone(), registry, manifests: Arc::new(manifests) })
    }
}

/// From 0 to 1. Without a source of randomness waits are only in step, which does no harm.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
}
