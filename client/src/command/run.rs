//! `docxy-client run`: puts the parts together and lets the frontend serve.

use super::CommandError;
use crate::frontend::{self, FrontendSettings, Ready};
use crate::gateway::Gateway;
use crate::metadata::Metadata;
use crate::settings::{Flags, Settings};
use crate::shutdown::Shutdown;
use crate::tunnel::Tunnel;
use crate::{logging, private_file};
use std::path::{Path, PathBuf};

pub(super) fn run(flags: &Flags, ready_file: Option<PathBuf>, log: &str) -> Result<(), CommandError> {
    logging::start(log);
    if let Some(path) = &ready_file {
        // One of an earlier run would send whoever waits for it to an address of that time.
        let _ = std::fs::remove_file(path);
    }
    let Settings { listen, hosts, patience, cache, tunnel } = Settings::load(flags)?;
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Start)?;
    runtime.block_on(async {
        let Shutdown { drain, abort } = Shutdown::on_signals().map_err(CommandError::Start)?;
        let tunnel = Tunnel::start(tunnel);
        let gateway = Gateway::new(tunnel.clone(), patience, Metadata::open(cache.as_deref()));
        let announce = |ready: Ready| announce(&ready, ready_file.as_deref());
        let serving =
            frontend::serve(FrontendSettings { listen, hosts }, gateway, tunnel.clone(), drain, announce);
        tokio::select! {
            served = serving => served?,
            () = abort.cancelled() => {}
        }
        tunnel.close().await;
        Ok(())
    })
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
