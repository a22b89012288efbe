//! The walk over all hops between an engine and the registries, and what is found at each.

use super::local_client::LocalClient;
use super::{engines, links, server};
use crate::local_api::system_client_runs;
use crate::settings::{DEFAULT_PORT, SettingsError};
use crate::tunnel::TunnelConfig;
use docxy_protocol::image_name::ImageName;
use serde::Serialize;
use std::net::SocketAddr;
use tokio::task::spawn_blocking;

/// A hop of the walk, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The links, and the settings that name them.
    Links,
    /// The checksums of the links.
    Checksum,
    /// The resolution of the server's name.
    Name,
    /// The server answers over UDP.
    Udp,
    /// The server answers over TCP, in HTTP/2.
    Tcp,
    /// The handshake, and the pin.
    Pin,
    /// The server accepts this client, and both speak one version of the wire.
    Hello,
    /// Both clocks agree.
    Clock,
    /// 64 KiB arrive at the server.
    Up,
    /// 64 KiB arrive here.
    Down,
    /// The server reaches the registry.
    Registry,
    /// The server gets a token without an account.
    TokenService,
    /// The registry grants more pulls.
    Quota,
    /// The server gets bytes of a blob.
    Cdn,
    /// A client runs on this machine, and is connected.
    LocalClient,
    /// An engine is set up, and asks that client.
    Engine,
}

/// The result of one hop. The texts are for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Ok(String),
    /// It does not.
    Fault {
        /// What is wrong.
        what: String,
        /// The command that mends it, or where there is none, what does.
        remedy: String,
    },
    /// It may work: nothing here tells.
    Unknown(String),
    /// It was not tried, for this reason.
    NotTried(String),
}

/// What a hop belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// This machine.
    Machine,
    /// A server, by host and ports.
    Server(String),
    /// An engine.
    Engine(&'static str),
}

/// The result of one hop, and what that belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The hop.
    pub check: Check,
    /// What it belongs to.
    pub subject: Subject,
    /// Its result.
    pub verdict: Verdict,
}

/// What is walked.
#[derive(Debug)]
pub struct Walk {
    /// The servers, and how to reach them.
    pub tunnel: Result<TunnelConfig, SettingsError>,
    /// Where the client of this machine listens.
    pub listen: Result<Vec<SocketAddr>, SettingsError>,
    /// The image for which the registry is asked.
    pub image: ImageName,
}

/// Tells what was found, as soon as it is known.
pub(super) type Tell<'a> = &'a mut dyn FnMut(Finding);

impl Verdict {
    pub(super) fn fault(what: impl ToString, remedy: impl ToString) -> Self {
        Self::Fault { what: what.to_string(), remedy: remedy.to_string() }
    }

    pub(super) fn not_tried(why: impl ToString) -> Self {
        Self::NotTried(why.to_string())
    }

    /// Whether something is wrong.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        matches!(self, Self::Fault { .. })
    }
}

impl Walk {
    /// Walks all hops, and tells what each is like.
    pub async fn run(self, tell: Tell<'_>) {
        links::check(&self.tunnel, tell);
        let config = self.tunnel.unwrap_or_default();
        let has_links = !config.links.is_empty();
        // The system's client may have a link that only root can try.
        let mut is_connected = !has_links && system_client_runs();
        for joined in &config.links {
            is_connected |= server::walk(&config, joined, &self.image, tell).await;
        }
        let listen = self.listen.unwrap_or_default();
        let port = listen.first().map_or(DEFAULT_PORT, SocketAddr::port);
        let engines = spawn_blocking(move || engines::look(port));
        let local = LocalClient::look(&listen).await;
        tell(local.finding(has_links, is_connected));
        let engines = engines.await.unwrap_or_default();
        engines::findings(&engines, &local).into_iter().for_each(tell);
    }
}
