//! `docxy-server run`: puts the parts together and lets the listener serve.

use super::CommandError;
use super::first_start::first_start;
use crate::listener::{self, Ready};
use crate::logging;
use crate::settings::{Flags, Settings};
use crate::shutdown::Shutdown;
use crate::state::{State, file};
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

pub(super) fn run(flags: &Flags, ready_file: Option<PathBuf>, log: &str) -> Result<(), CommandError> {
    logging::start(log);
    let settings = Settings::load(flags)?;
    let state = State::open(&settings.state)?;
    let _lock = state.lock_for_run()?;
    if let Some(path) = &ready_file {
        // One of an earlier run would send whoever waits for it to an address of that time.
        let _ = std::fs::remove_file(path);
    }
    let mut stdout = io::stdout();
    let terminal = stdout.is_terminal().then_some(&mut stdout as &mut dyn Write);
    first_start(&settings, &state, terminal)?;
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Start)?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().map_err(CommandError::Start)?;
        let announce = |ready: Ready| announce(&ready, ready_file.as_deref());
        Ok(listener::serve(settings, state, shutdown, announce).await?)
    })
}

/// Tells whoever waits that clients can come.
fn announce(ready: &Ready, ready_file: Option<&Path>) {
    let mut lines = String::new();
    for address in &ready.addresses {
        tracing::info!("listening on {address} (UDP)");
        lines += &format!("{address}\n");
    }
    if let Some(path) = ready_file
        && let Err(error) = file::write(path, lines.as_bytes())
    {
        tracing::error!("{error}");
    }
}
