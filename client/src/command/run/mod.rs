//! `docxy-client run`: starts the tunnel, the gateway and the frontend.
//!
//! Must serve even if stdout and stderr are closed.

mod reload;
pub(super) mod service;

use super::arguments::RunArguments;
use super::error::CommandError;
use super::status::report_on_signal;
use crate::accounts::logins::Logins;
use crate::frontend::{self, AllowedHosts, AllowedNetworks, FrontendSettings};
use crate::gateway::{BlobCache, Gateway};
use crate::local_api;
use crate::metadata::Metadata;
use crate::settings::{Flags, Settings, Share, warn_of_open_links};
use crate::transfer::neighbours::{self, Neighbours};
use crate::tunnel::Tunnel;
use docxy_host::files::file_fingerprint::FILE_THREAD_KEEP_ALIVE;
use docxy_host::files::ready_file::ReadyFile;
use docxy_host::logging;
use docxy_host::net::private_socket::PrivateSocket;
use docxy_host::process::service::tell_ready;
use docxy_host::process::signals::Signals;
use docxy_host::process::signals::shutdown::Shutdown;
use reload::Reload;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::watch;

/// How long the shutdown waits for file operations: a settings file may be on a disk that does not respond.
const FILE_TASKS_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the start waits for a cache directory that the client before still has.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn run(arguments: RunArguments, flags: Flags) -> Result<(), CommandError> {
    let RunArguments { serving, connection, ready_file, log } = arguments;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().thread_keep_alive(FILE_THREAD_KEEP_ALIVE).build();
    let runtime = runtime.map_err(CommandError::Start)?;
    // Before slow work: until here a SIGHUP would end the client.
    let signals = runtime.block_on(async { Signals::listen() }).map_err(CommandError::Start)?;
    let ready_file = ReadyFile::clear(ready_file);
    let flags = Flags { serving, connection, log, ..flags }.with_config_found();
    let settings = Settings::load(&flags)?;
    let logging = logging::start_as(&settings.log, settings.log_format);
    let log = logging.handle();
    warn_of_open_links(settings.link_file.as_deref());
    let served = runtime.block_on(async {
        let Shutdown { drain, abort } = signals.shutdown;
        let tunnel = Tunnel::start(settings.tunnel.clone());
        tokio::spawn(tunnel.clone().measure());
        let metadata = Metadata::open(settings.cache.as_deref());
        let logins = Logins::open(settings.logins.clone());
        let blob_cache = BlobCache::open(settings.cache.as_deref(), settings.blobs, LOCK_TIMEOUT);
        let named = settings.neighbours.iter().map(|neighbour| neighbour.0).collect();
        let neighbours = Neighbours::named(named);
        let gateway = Gateway::new(tunnel.clone(), settings.stall_timeout, metadata)
            .with_logins(logins)
            .with_neighbours(neighbours.clone())
            .with_blob_cache(blob_cache.clone());
        let _sharing = match settings.share {
            Share(Some(address)) => neighbours::start(address, &neighbours, blob_cache.blobs()).await,
            Share(None) => None,
        };
        let private = blob_cache.clone();
        tokio::spawn(async move { private.forget_private().await });
        let hosts = AllowedHosts::new(settings.hosts.clone().into());
        tokio::spawn(gateway.clone().log_pulls());
        let networks = AllowedNetworks::new(settings.networks.clone().into());
        tokio::spawn(report_on_signal(signals.report, gateway.clone(), log.clone()));
        let frontend = FrontendSettings {
            listen: settings.listen.clone(),
            socket: private_socket(),
            hosts: hosts.clone(),
            networks: networks.clone(),
            log: log.clone(),
        };
        let (warm, warm_settings) = watch::channel(settings.warm.clone());
        tokio::spawn(crate::images::warm::run(gateway.clone(), warm_settings, settings.cache.clone()));
        let reload =
            Reload { settings, log, hosts, networks, gateway: gateway.clone(), tunnel: tunnel.clone(), warm };
        tokio::spawn(reload.run(signals.reload, flags));
        let announce = |addresses: Vec<SocketAddr>| {
            for address in &addresses {
                tracing::info!("listening on http://{address}");
            }
            ready_file.write(addresses);
            tell_ready();
        };
        let serving = frontend::serve(frontend, gateway, drain, announce);
        tokio::select! {
            served = serving => served?,
            () = abort.cancelled() => {}
        }
        tunnel.close().await;
        blob_cache.close().await;
        Ok(())
    });
    runtime.shutdown_timeout(FILE_TASKS_TIMEOUT);
    served
}

/// The socket for the commands of this user. They can do without.
fn private_socket() -> Option<PrivateSocket> {
    let path = local_api::socket_path()?;
    match PrivateSocket::bind(&path) {
        Ok(socket) => {
            tracing::info!(socket = %path.display(), "docxy-client pull uses this tunnel");
            Some(socket)
        }
        Err(error) => {
            tracing::warn!(%error, "docxy-client pull does not use this tunnel");
            None
        }
    }
}
