//! `docxy-client run`: puts the parts together and lets the frontend serve.
//!
//! Must serve whatever became of stdout and stderr.

use super::CommandError;
use crate::frontend::{self, FrontendSettings, Hosts, Ready};
use crate::gateway::Gateway;
use crate::metadata::Metadata;
use crate::private_file;
use crate::reload::Reload;
use crate::report::Report;
use crate::settings::{Flags, Settings};
use crate::shutdown::Shutdown;
use crate::tunnel::Tunnel;
use docxy_host::logging;
use docxy_host::signals::Signals;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the end may wait for work with files that is under way: a settings file may be on a disk
/// that does not answer.
const LAST_TASKS: Duration = Duration::from_secs(1);

pub(super) fn run(flags: &Flags, ready_file: Option<PathBuf>) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Start)?;
    // Before anything that takes time: until then a reload would end the client.
    let (signals, shutdown) = {
        let _runtime = runtime.enter();
        (
            Signals::listen().map_err(CommandError::Start)?,
            Shutdown::on_signals().map_err(CommandError::Start)?,
        )
    };
    if let Some(path) = &ready_file {
        // One of an earlier run would send whoever waits for it to an address of that time.
        let _ = std::fs::remove_file(path);
    }
    let settings = Settings::load(flags)?;
    let logging = logging::start(&settings.log);
    let log = logging.handle();
    let served = runtime.block_on(async {
        let Shutdown { drain, abort } = shutdown;
        let tunnel = Tunnel::start(settings.tunnel.clone());
        let metadata = Metadata::open(settings.cache.as_deref());
        let gateway = Gateway::new(tunnel.clone(), settings.patience, metadata);
        let hosts = Hosts::new(settings.hosts.clone());
        let report = Report { gateway: gateway.clone(), tunnel: tunnel.clone(), log: log.clone() };
        tokio::spawn(report.run(signals.report));
        let frontend =
            FrontendSettings { listen: settings.listen.clone(), hosts: hosts.clone(), log: log.clone() };
        let reload =
            Reload { flags: flags.clone(), log, hosts, gateway: gateway.clone(), tunnel: tunnel.clone() };
        tokio::spawn(reload.run(signals.reload, settings));
        let announce = |ready: Ready| announce(&ready, ready_file.as_deref());
        let serving = frontend::serve(frontend, gateway, tunnel.clone(), drain, announce);
        tokio::select! {
            served = serving => served?,
            () = abort.cancelled() => {}
        }
        tunnel.close().await;
        Ok(())
    });
    runtime.shutdown_timeout(LAST_TASKS);
    served
}

/// Tells whoever waits that engines can come.
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
