//! The only code that talks to registries, their token services and their CDNs.
//!
//! It can reach what the operator listed, and where that sends it by redirect, and nothing else:
//! every URL is built here, from typed values.
//!
//! ```text
//! Request ─▶ Upstream ─▶ Registry ─▶ follow ─▶ registry ─307─▶ CDN
//!                           └─▶ TokenService ─▶ token service (for those who come without a token)
//! ```

mod answer;
mod connector;
mod follow;
mod guard;
mod one_flight;
mod origin;
mod registry;
mod roots;
mod token_cache;
mod token_service;

pub(crate) use answer::{Answer, AnswerBody, Download};

use crate::settings::Settings;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::limits::UPSTREAM_REQUESTS;
use docxy_protocol::name::Registry as RegistryName;
use docxy_protocol::request::Request;
use registry::Registry;
use std::collections::HashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
    registries: HashMap<RegistryName, Registry>,
    permits: std::sync::Arc<Semaphore>,
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
            let registry = Registry::new(entry, settings, &roots)
                .map_err(|source| UpstreamError::Tls { registry: entry.name.clone(), source })?;
            registries.insert(entry.name.clone(), registry);
        }
        Ok(Self { registries, permits: std::sync::Arc::new(Semaphore::new(UPSTREAM_REQUESTS)) })
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
        let permit = self.permit().await?;
        Ok(registry.ask(request).await?.holding(permit))
    }

    /// A place among the requests that may be under way; held until the answer's body is done.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, Fault> {
        let permit = std::sync::Arc::clone(&self.permits).acquire_owned();
        // Waiting is fairer than failing: transfers end all the time.
        let permit = tokio::time::timeout(docxy_protocol::limits::UPSTREAM_HEAD_TIMEOUT, permit).await;
        permit.ok().and_then(Result::ok).ok_or_else(|| {
            Fault::new(Hop::Server, FaultKind::Overloaded, "too many transfers at once; try again in a while")
        })
    }
}
