//! A registry's API as requests go out to it: one at a time, and again while a failure may pass.

use super::follow::{Followed, follow};
use super::guard::Guard;
use super::origin::Origin;
use super::retry::{Budget, Chance, Patience, asked_to_wait, is_passing};
use super::token_service::sensitive;
use crate::settings::{RegistrySettings, Settings};
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::limits::MANIFEST_MAX;
use docxy_protocol::request::{Method, Operation, Request};
use docxy_protocol::secret::Secret;
use http::header;
use hyper::body::Body as _;
use rustls::RootCertStore;
use std::future::Future;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;

/// KiB of manifests that may be read at a time: they are read whole before a byte is passed on.
const READ_AT_A_TIME: usize = 32 * 1024;

/// Where a registry's API is, and the connections to it.
#[derive(Debug)]
pub(super) struct Api {
    url: Url,
    origin: Origin,
    reading: Semaphore,
    chance: Chance,
}

impl Api {
    /// # Errors
    /// Where a CA certificate of the settings cannot be used.
    pub(super) fn new(
        entry: &RegistrySettings,
        settings: &Settings,
        roots: &RootCertStore,
        chance: Chance,
    ) -> Result<Self, rustls::Error> {
        let mut roots = roots.clone();
        for certificate in &entry.ca {
            roots.add(certificate.clone())?;
        }
        let origin = Origin::new(Guard::new(entry, settings), roots)?;
        Ok(Self { url: entry.api.clone(), origin, reading: Semaphore::new(READ_AT_A_TIME), chance })
    }

    /// Sends a request, with this credential.
    ///
    /// # Errors
    /// Where a hop fails; what the registry refuses is an answer.
    pub(super) async fn send(
        &self,
        request: &Request,
        authorization: Option<Secret>,
        patience: Patience,
    ) -> Result<Followed, Fault> {
        let path = request.operation.path().ok_or_else(|| {
            Fault::new(Hop::Server, FaultKind::Internal, "a token request has no path on the registry")
        })?;
        let mut headers = request.headers.map().clone();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, sensitive(&value)?);
        }
        let method = match request.operation.method() {
            Method::Get => http::Method::GET,
            Method::Head => http::Method::HEAD,
        };
        let url = self.url(&path)?;
        let blob = matches!(request.operation, Operation::Blob { .. });
        let manifest = matches!(request.operation, Operation::Manifest { method: Method::Get, .. });
        let ask = || async {
            let answer = follow(&self.origin, &method, url.clone(), headers.clone()).await?;
            if manifest { self.read(answer).await } else { Ok(answer) }
        };
        self.patiently(patience, blob, ask).await
    }

    /// Asks, and asks again while the failure is one that may pass. What is asked for only reads,
    /// or is a token, so twice does no harm; but a manifest is paid for each time.
    ///
    /// # Errors
    /// What the last attempt fails with.
    pub(super) async fn patiently<F>(
        &self,
        mut patience: Patience,
        blob: bool,
        ask: impl Fn() -> F,
    ) -> Result<Followed, Fault>
    where
        F: Future<Output = Result<Followed, Fault>>,
    {
        let mut budget = Budget::default();
        loop {
            let began = Instant::now();
            let answer = ask().await;
            let (why, asked) = match &answer {
                Ok(Followed { hop, response }) if is_passing(*hop, response.status(), blob) => {
                    (format!("{hop} answers {}", response.status()), asked_to_wait(response.headers()))
                }
                Err(fault) if fault.kind == FaultKind::Unreachable => (fault.to_string(), None),
                Err(fault) if fault.kind == FaultKind::Truncated => {
                    patience = patience.but_for(began.elapsed());
                    (fault.to_string(), None)
                }
                _ => return answer,
            };
            let now = Instant::now();
            let Some(wait) = patience.wait(&mut budget, now, self.chance(), asked) else { return answer };
            // Closes its connection, if it is one.
            drop(answer);
            tracing::info!(%why, wait_ms = wait.as_millis(), "asking again");
            tokio::time::sleep(wait).await;
        }
    }

    /// The URL of a path.
    ///
    /// # Errors
    /// By a bug only: typed names are safe in a path.
    pub(super) fn url(&self, path: &str) -> Result<Url, Fault> {
        self.url.join(path).map_err(|error| Fault::new(Hop::Server, FaultKind::Internal, error))
    }

    /// The way to its hosts.
    pub(super) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Where it is, for people.
    pub(super) fn name(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// A random number from 0 to 1.
    pub(super) fn chance(&self) -> f64 {
        (self.chance)()
    }

    /// The same answer with all of its manifest.
    async fn read(&self, answer: Followed) -> Result<Followed, Fault> {
        let length = answer.response.body().size_hint().exact().unwrap_or(MANIFEST_MAX as u64);
        let kib = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX).min(READ_AT_A_TIME as u32);
        // Nobody closes it, so this waits and no more.
        let _place = self.reading.acquire_many(kib).await;
        answer.whole(MANIFEST_MAX).await
    }
}
