//! How a pull reaches the registries: by a running client's tunnel and cache, else by a tunnel of its own.
//!
//! If the running client ends, the pull goes on where it was. Must never dial while a running client serves it.

use super::image_source::{BlobEvents, RegistryClient};
use crate::gateway::{Gateway, TransferEvent};
use crate::local_api::{Interruption, RunningClient, manifest_bytes};
use crate::metadata::Metadata;
use crate::settings::{DEFAULT_STALL_TIMEOUT, GivenSettings, SettingsError};
use crate::tunnel::network::NetworkMemory;
use crate::tunnel::{Tunnel, TunnelConfig};
use bytes::Bytes;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::request::Request;
use docxy_protocol::text::CleanText;
use futures_util::stream::{BoxStream, StreamExt as _, TryStreamExt as _, try_unfold};
use http::Response;
use std::convert::Infallible;
use std::future::pending;
use std::path::PathBuf;
use tokio::sync::{Notify, OnceCell};

/// A way to the registries.
#[derive(Debug)]
pub struct Connection {
    running: Option<RunningClient>,
    config: TunnelConfig,
    /// Once it is there, it serves the rest of the pull.
    own: OnceCell<(Tunnel, Gateway)>,
    dialed: Notify,
}

/// A blob, as far as it was read.
struct BlobReading<'a> {
    connection: &'a Connection,
    request: Request,
    position: u64,
    length: u64,
    /// The position at which `events` began.
    began_at: u64,
    events: Option<BoxStream<'a, Result<TransferEvent, Interruption>>>,
}

impl Connection {
    /// By the client that runs at one of these sockets with the settings that the user gives, else by these servers.
    ///
    /// # Errors
    /// If there is no such client, and no server.
    pub async fn find(
        sockets: Vec<PathBuf>,
        given: GivenSettings,
        config: TunnelConfig,
    ) -> Result<Self, SettingsError> {
        let running = RunningClient::find(sockets, given).await;
        if running.is_none() && config.links.is_empty() {
            return Err(SettingsError::NoLink);
        }
        Ok(Self { running, config, own: OnceCell::new(), dialed: Notify::new() })
    }

    /// What the requests go through, for the user.
    #[must_use]
    pub fn description(&self) -> String {
        if self.running.is_some() {
            return "the docxy-client that runs on this machine".to_owned();
        }
        let servers: Vec<_> = self.config.links.iter().map(|joined| joined.link.host.as_str()).collect();
        servers.join(" or ")
    }

    /// Tells why its own tunnel is not connected yet, each time that the reason changes. Never ends.
    pub async fn tell_failures(&self, tell: impl Fn(&CleanText)) -> Infallible {
        self.dialed.notified().await;
        match self.own.get() {
            Some((tunnel, _)) => tunnel.tell_failures(tell).await,
            None => pending().await,
        }
    }

    /// Closes its own tunnel, if there is one.
    pub async fn close(&self) {
        if let Some((tunnel, _)) = self.own.get() {
            tunnel.close().await;
        }
    }

    fn running(&self) -> Option<&RunningClient> {
        self.running.as_ref().filter(|_| !self.own.initialized())
    }

    async fn own(&self) -> &Gateway {
        let start = async || {
            if self.running.is_some() {
                tracing::info!("the running client has ended; connecting to the server");
            }
            let cache = self.config.cache.as_deref();
            let tunnel = Tunnel::start(self.config.clone(), NetworkMemory::open(cache));
            let gateway = Gateway::new(tunnel.clone(), DEFAULT_STALL_TIMEOUT, Metadata::open(cache));
            (tunnel, gateway)
        };
        let (_, gateway) = self.own.get_or_init(start).await;
        self.dialed.notify_one();
        gateway
    }
}

impl RegistryClient for &Connection {
    async fn send(&self, request: Request) -> Result<Response<Bytes>, Fault> {
        if let Some(running) = self.running() {
            match running.send(request.clone()).await {
                Err(Interruption::Lost) => {}
                Err(Interruption::Fault(fault)) => return Err(fault),
                Ok(response) => return Ok(response),
            }
        }
        let (head, body) = self.own().await.send_own(request).await?.into_parts();
        Ok(Response::from_parts(head, manifest_bytes(body.events()).await?))
    }

    fn blob(&self, request: Request, length: u64) -> BlobEvents<'_> {
        let (position, began_at) = (0, 0);
        let blob = BlobReading { connection: self, request, position, length, began_at, events: None };
        try_unfold(blob, async |mut blob| Ok(blob.next().await?.map(|event| (event, blob)))).boxed()
    }
}

impl<'a> BlobReading<'a> {
    async fn next(&mut self) -> Result<Option<TransferEvent>, Fault> {
        let events = match &mut self.events {
            Some(events) => events,
            None => {
                self.began_at = self.position;
                let events = self.begin().await;
                self.events.insert(events)
            }
        };
        let event = match events.try_next().await {
            Ok(event) => event,
            Err(Interruption::Fault(fault)) => return Err(fault),
            Err(Interruption::Lost) => {
                self.events = None;
                // A client that ends again and again must not keep the pull from its end.
                if self.began_at == self.position {
                    self.connection.own().await;
                }
                let reason = "the docxy-client that served it has ended".to_owned();
                return Ok(Some(TransferEvent::Waits(Some(reason))));
            }
        };
        if let Some(TransferEvent::Bytes(bytes)) = &event {
            self.position += bytes.len() as u64;
        }
        // More would be written over other content.
        if self.position > self.length || (event.is_none() && self.position < self.length) {
            let detail = "the blob does not have the length that its image names";
            return Err(Fault::new(Hop::Cdn, FaultKind::Mismatch, detail));
        }
        Ok(event)
    }

    /// Requests the rest: from the running client, or from the one that has replaced it.
    async fn begin(&mut self) -> BoxStream<'a, Result<TransferEvent, Interruption>> {
        let bytes = self.position..self.length;
        if let Some(running) = self.connection.running()
            && let Ok(events) = running.blob(self.request.clone(), bytes.clone()).await
        {
            return events;
        }
        let gateway = self.connection.own().await;
        gateway.blob(self.request.clone(), bytes).await.events().map_err(Interruption::Fault).boxed()
    }
}
