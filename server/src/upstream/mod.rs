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
mod blob_source;
mod body;
mod check;
mod connector;
mod download;
mod fetches;
mod flights;
mod follow;
#[cfg(fuzzing)]
pub mod fuzz;
mod guard;
mod manifests;
mod one_flight;
mod origin;
mod origins;
mod promise;
mod quota;
mod registry;
mod retry;
mod roots;
mod token_cache;
mod token_service;
mod tokens;
mod warm;

pub(crate) use answer::{Answer, AnswerBody};
pub(crate) use check::Finding;

/// The body of an answer, on its way.
pub(crate) type Download = download::Download<blob_source::BlobSource>;

use crate::settings::Settings;
use crate::store::{Manifest, Store};
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::name::{Digest, Reference, Registry as RegistryName};
use docxy_protocol::request::{Operation, Request};
use manifests::Manifests;
use registry::Registry;
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
}

/// A registry, and what is kept of it.
#[derive(Debug)]
struct Served {
    registry: Arc<Registry>,
    manifests: Manifests,
}

impl Upstream {
    /// Prepares the way to every registry of the settings; connects to none.
    ///
    /// # Errors
    /// Where a certificate of the settings cannot be used.
    pub(crate) fn new(settings: &Settings, store: &Store) -> Result<Self, UpstreamError> {
        let roots = roots::system();
        let origins = origins::Origins::default();
        let mut registries = HashMap::new();
        for entry in &settings.registries {
            let registry = Registry::new(entry, settings, &roots, chance, origins.clone())
                .map_err(|source| UpstreamError::Tls { registry: entry.name.clone(), source })?;
            let registry = Arc::new(registry);
            let manifests =
                Manifests::new(entry.name.clone(), Arc::clone(&registry), store.clone(), settings.stale);
            registries.insert(entry.name.clone(), Served { registry, manifests });
        }
        Ok(Self { registries })
    }

    /// Asks the registry. What it answers, errors included, is an answer; a fault means that there
    /// is none to show.
    ///
    /// # Errors
    /// Where the registry isn't on the list, or some hop behind the server failed.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Answer, Fault> {
        let Served { registry, manifests } = self.served(&request.registry)?;
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

/// From 0 to 1. Without a source of randomness waits are only in step, which does no harm.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
}
