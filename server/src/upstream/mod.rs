//! The only code that talks to registries, their token services and their CDNs.
//!
//! It can reach what the operator listed, and where that sends it by redirect, and nothing else:
//! every URL is built here, from typed values.
//!
//! ```text
//! Request ─▶ Upstream ─▶ Registry ─▶ follow ─▶ registry ─307─▶ CDN
//!               ▲           └─▶ TokenService ─▶ token service (for those who come without a token)
//!               └── BlobSource ◀─ Download: a body that broke, and wants its rest
//! ```

mod answer;
mod blob_source;
mod connector;
mod download;
mod follow;
mod guard;
mod one_flight;
mod origin;
mod promise;
mod registry;
mod retry;
mod roots;
mod token_cache;
mod token_service;

pub(crate) use answer::{Answer, AnswerBody};

/// The body of an answer, on its way.
pub(crate) type Download = download::Download<blob_source::BlobSource>;

use crate::settings::Settings;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::name::Registry as RegistryName;
use docxy_protocol::request::Request;
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
    registries: HashMap<RegistryName, Arc<Registry>>,
}

impl Upstream {
    /// Prepares the way to every registry of the settings; connects to none.
    ///
    /// # Errors
    /// Where a certificate of the settings cannot be used.
    pub(crate) fn new(settings: &Settings) -> Result<Self, UpstreamError> {
        let roots = roots::system();
        let mut registries = HashMap::new();
        for entry in &settings.registries {
            let registry = Registry::new(entry, settings, &roots, chance)
                .map_err(|source| UpstreamError::Tls { registry: entry.name.clone(), source })?;
            registries.insert(entry.name.clone(), Arc::new(registry));
        }
        Ok(Self { registries })
    }

    /// Asks the registry. What it answers, errors included, is an answer; a fault means that there
    /// is none to show.
    ///
    /// # Errors
    /// Where the registry isn't on the list, or some hop behind the server failed.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Answer, Fault> {
        let registry = self.registries.get(&request.registry).ok_or_else(|| {
            let served: Vec<String> = self.registries.keys().map(ToString::to_string).collect();
            Fault::new(
                Hop::Server,
                FaultKind::RegistryNotServed,
                format!(
                    "this server does not serve {}, only {}; its operator can add it under [registries]",
                    request.registry,
                    served.join(", ")
                ),
            )
        })?;
        registry.ask(request).await
    }
}

/// From 0 to 1. Without a source of randomness waits are only in step, which does no harm.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
}
