//! How a pull reaches the registries: by a running client's tunnel and cache, else by a tunnel of its own.
//!
//! If the running client ends, the pull goes on where it was. Must never dial while a running client serves it.

use super::image_source::{BlobEvents, RegistryClient};
use crate::accounts::logins::Logins;
use crate::exchange::ExchangeError;
use crate::gateway::{BlobCache, Gateway};
use crate::images::warm::{WarmImage, WarmMessage, warm};
use crate::local_api::{RunningClient, is_closed};
use crate::metadata::Metadata;
use crate::settings::{BlobSettings, DEFAULT_STALL_TIMEOUT, GivenSettings, SettingsError};
use crate::transfer::Transfer;
use crate::tunnel::{Tunnel, TunnelConfig};
use bytes::{Bytes, BytesMut};
use docxy_protocol::fault::Fault;
use docxy_protocol::limits::MANIFEST_BYTES_MAX;
use docxy_protocol::request::Request;
use futures_util::FutureExt as _;
use futures_util::stream::{Stream, StreamExt as _, TryStreamExt as _, try_unfold};
use http::Response;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::watch;

/// A way to the registries.
#[derive(Debug)]
pub struct Connection {
    /// Once it is started, it serves the rest of the pull.
    tunnel: Tunnel,
    gateway: Gateway,
    /// Why the running client has no response yet.
    waits: watch::Sender<Option<String>>,
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
        let of_another_user = sockets.iter().any(|socket| is_closed(socket));
        let running = RunningClient::find(sockets, given, !config.links.is_empty()).await;
        if running.is_none() && config.links.is_empty() {
            return Err(if of_another_user { SettingsError::NoOwnLink } else { SettingsError::NoLink });
        }
        let metadata = Metadata::open(config.cache.as_deref());
        let tunnel = Tunnel::on_demand(config);
        let gateway = Gateway::new(tunnel.clone(), DEFAULT_STALL_TIMEOUT, metadata).beside(running);
        Ok(Self { tunnel, gateway, waits: watch::Sender::default() })
    }

    /// The same, which keeps layers on the disk, unless a running client does. Waits so long for a client that still has the
    /// directory, perhaps because it ends.
    #[must_use]
    pub fn keeping(mut self, settings: BlobSettings, patience: Duration) -> Self {
        if self.gateway.running_client().is_none() {
            let cache = self.tunnel.config().cache;
            self.gateway =
                self.gateway.with_blob_cache(BlobCache::open(cache.as_deref(), settings, patience));
        }
        self
    }

    /// The same with these logins, unless a running client uses its own.
    #[must_use]
    pub fn with_logins(mut self, logins: Logins) -> Self {
        self.gateway = self.gateway.with_logins(logins);
        self
    }

    /// Brings an image to the disk: that of the running client, or its own. Calls `tell` with what happens.
    ///
    /// # Errors
    /// [`ExchangeError::RunningClientLost`] if the running client has ended.
    pub(crate) async fn warm(
        &self,
        image: &WarmImage,
        tell: impl FnMut(WarmMessage) + Send,
    ) -> Result<(), ExchangeError> {
        if let Some(running) = self.gateway.running_client() {
            return running.warm(image.clone(), tell).await;
        }
        let tell = Mutex::new(tell);
        warm(&self.gateway, image, |message| tell.lock()(message)).await;
        Ok(())
    }

    /// What the requests go through, for the user.
    #[must_use]
    pub fn description(&self) -> String {
        if self.gateway.running_client().is_some() {
            return "the docxy-client that runs on this machine".to_owned();
        }
        let links = self.tunnel.config().links;
        let servers: Vec<_> = links.iter().map(|joined| joined.link.host.as_str()).collect();
        servers.join(" or ")
    }

    /// Tells why there is no response yet, or why its own tunnel is not connected, each time that the reason changes. Never
    /// ends.
    pub async fn tell_failures(&self, tell: impl Fn(&str)) -> Infallible {
        let mut waits = self.waits.subscribe();
        let of_running_client = async {
            while waits.changed().await.is_ok() {
                if let Some(reason) = &*waits.borrow_and_update() {
                    tell(&format!("waiting: {reason}"));
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            never = of_running_client => never,
            never = self.tunnel.tell_failures(|reason| tell(&format!("not connected yet: {reason}"))) => never,
        }
    }

    /// The response to a request of this program, once it is complete.
    ///
    /// # Errors
    /// A fault that names the hop that failed.
    pub async fn request(&self, request: Request) -> Result<Response<Bytes>, Fault> {
        RegistryClient::send(&self, request).await
    }

    fn has_link(&self) -> bool {
        !self.tunnel.config().links.is_empty()
    }

    /// Closes its own tunnel.
    pub async fn close(&self) {
        self.tunnel.close().await;
        self.gateway.close_blobs().await;
    }
}

impl RegistryClient for &Connection {
    async fn send(&self, request: Request) -> Result<Response<Bytes>, Fault> {
        if let Some(running) = self.gateway.running_client() {
            let waits = |reason| drop(self.waits.send_replace(reason));
            match send_beside(running, request.clone(), waits).await {
                Err(error @ ExchangeError::RunningClientLost) if self.has_link() => {
                    waits(Some(error.to_string()));
                }
                response => return response.map_err(|error| error.to_fault()),
            }
        }
        let (head, body) = self.gateway.send_own(request).await?.into_parts();
        Ok(Response::from_parts(head, manifest_bytes(body.into_data_stream()).await?))
    }

    fn blob(&self, request: Request, length: u64) -> BlobEvents<'_> {
        self.gateway.blob(request, 0..length).map(Transfer::events).flatten_stream().boxed()
    }
}

async fn send_beside(
    running: &RunningClient,
    request: Request,
    waits: impl Fn(Option<String>),
) -> Result<Response<Bytes>, ExchangeError> {
    let (head, body) = running.send(request, waits).await?.into_parts();
    let chunks = try_unfold(body, async |mut body| body.next(drop).await.map(|next| Some((next?, body))));
    Ok(Response::from_parts(head, manifest_bytes(chunks).await?))
}

/// A body, up to the first bytes after [`MANIFEST_BYTES_MAX`]: the caller refuses more.
pub(crate) async fn manifest_bytes<E>(chunks: impl Stream<Item = Result<Bytes, E>>) -> Result<Bytes, E> {
    let (mut bytes, mut chunks) = (BytesMut::new(), pin!(chunks));
    while bytes.len() <= MANIFEST_BYTES_MAX
        && let Some(chunk) = chunks.try_next().await?
    {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}
