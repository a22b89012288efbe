//! `docxy-client run`: starts the tunnel, the gateway and the frontend.
//!
//! Must serve even if stdout and stderr are closed.

use super::error::CommandError;
use super::reload::Reload;
use super::shutdown::Shutdown;
use super::status_report::StatusReport;
use crate::frontend::{self, AllowedHosts, FrontendSettings, Ready};
use crate::gateway::Gateway;
use crate::metadata::Metadata;
use crate::private_file;
use crate::settings::{Flags, Settings};
use crate::tunnel::Tunnel;
use docxy_host::logging;
use docxy_host::signals::Signals;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the shutdown waits for file operations: a settings file may be on a disk that does not respond.
const FILE_TASKS_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn run(flags: &Flags, ready_file: Option<PathBuf>) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Start)?;
    // Before slow work: until here a SIGHUP would end the client.
    let (signals, shutdown) = {
        let _runtime = runtime.enter();
        (
            Signals::listen().map_err(CommandError::Start)?,
            Shutdown::on_signals().map_err(CommandError::Start)?,
        )
    };
    if let Some(path) = &ready_file {
        // A file of an earlier run has an old address.
        let _ = std::fs::remove_file(path);
    }
    let flags = &flags.with_config_found();
    let settings = Settings::load(flags)?;
    let logging = logging::start(&settings.log);
    let log = logging.handle();
    let served = runtime.block_on(async {
        let Shutdown { drain, abort } = shutdown;
        let tunnel = Tunnel::start(settings.tunnel.clone());
        let metadata = Metadata::open(settings.cache.as_deref());
        let gateway = Gateway::new(tunnel.clone(), settings.stall_timeout, metadata);
        let hosts = AllowedHosts::new(settings.hosts.clone());
        let report = StatusReport { gateway: gateway.clone(), log: log.clone() };
        tokio::spawn(report.run(signals.report));
        let frontend =
            FrontendSettings { listen: settings.listen.clone(), hosts: hosts.clone(), log: log.clone() };
        let reload =
            Reload { flags: flags.clone(), log, hosts, gateway: gateway.clone(), tunnel: tunnel.clone() };
        tokio::spawn(reload.run(signals.reload, settings));
        let announce = |ready: Ready| announce(&ready, ready_file.as_deref());
        let serving = frontend::serve(frontend, gateway, drain, announce);
        tokio::select! {
            served = serving => served?,
            () = abort.cancelled() => {}
        }
        tunnel.close().await;
        Ok(())
    });
    runtime.shutdown_timeout(FILE_TASKS_TIMEOUT);
    served
}

/// Writes the listen addresses to the log and the ready file.
fn announce(ready: &Ready, ready_file: Option<&Path>) {
    let mut lines = String::new();
    for address in &ready.addresses {
        tracing::info!("listening on http://{address}");
        lines += &format!("{address}\n");
    }
    if let Some(path) = ready_file
        && let Err(error) = private_file::write(path, lines.as_bytes())
    {
        tracing::error!("cannot write {}: {error}", path.display());
    }
}
