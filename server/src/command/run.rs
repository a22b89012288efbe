//! `docxy-server run`: sets everything up and serves.
//!
//! Must never stop serving because stdout or stderr fails.

use super::CommandError;
use super::first_start::first_start;
use crate::lifecycle::reload::Reload;
use crate::lifecycle::shutdown::Shutdown;
use crate::listener::{self, Controls, Ready};
use crate::settings::{Flags, Settings};
use crate::state::{State, file};
use docxy_host::logging;
use docxy_host::signals::Signals;
use docxy_host::terminal::Stream;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the server waits at its end for running file operations: a settings file may be on a disk that
/// doesn't respond.
const BLOCKING_TASKS_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn run(
    flags: &Flags,
    ready_file: Option<PathBuf>,
    status_file: Option<PathBuf>,
) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Start)?;
    // First of all, because until then SIGHUP would end the process.
    let (signals, shutdown) = {
        let _runtime = runtime.enter();
        (
            Signals::listen().map_err(CommandError::Start)?,
            Shutdown::on_signals().map_err(CommandError::Start)?,
        )
    };
    let flags = &flags.with_config_found();
    let settings = Settings::load(flags)?;
    let logging = logging::start(&settings.log);
    let state = State::open(&settings.state)?;
    let _lock = state.lock_for_run()?;
    if let Some(path) = &ready_file {
        // An earlier run's file would name old addresses.
        let _ = std::fs::remove_file(path);
    }
    let show = |text: &str| Stream::Stdout.write(text);
    first_start(&settings, &state, io::stdout().is_terminal().then_some(&show))?;
    let log = logging.handle();
    let reload = Reload { signal: signals.reload, flags: flags.clone(), log: log.clone() };
    let controls = Controls { shutdown, reload, report: signals.report, log, status_file };
    let announce = |ready: Ready| announce(&ready, ready_file.as_deref());
    let served = runtime.block_on(listener::serve(settings, state, controls, announce));
    runtime.shutdown_timeout(BLOCKING_TASKS_TIMEOUT);
    Ok(served?)
}

/// Logs the addresses and writes the ready file.
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
