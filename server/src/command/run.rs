//! `docxy-server run`: puts the parts together and lets the listener serve.
//!
//! Must serve whatever became of stdout and stderr.

use super::CommandError;
use super::first_start::first_start;
use crate::listener::{self, Controls, Ready};
use crate::reload::Reload;
use crate::settings::{Flags, Settings};
use crate::shutdown::Shutdown;
use crate::state::{State, file};
use docxy_host::logging;
use docxy_host::signals::Signals;
use docxy_host::terminal::Stream;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the end may wait for work with files that is under way: a settings file may be on a disk
/// that does not answer.
const LAST_TASKS: Duration = Duration::from_secs(1);

pub(super) fn run(
    flags: &Flags,
    ready_file: Option<PathBuf>,
    status_file: Option<PathBuf>,
) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Start)?;
    // Before anything that takes time: until then a reload would end the server.
    let (signals, shutdown) = {
        let _runtime = runtime.enter();
        (
            Signals::listen().map_err(CommandError::Start)?,
            Shutdown::on_signals().map_err(CommandError::Start)?,
        )
    };
    let settings = Settings::load(flags)?;
    let logging = logging::start(&settings.log);
    let state = State::open(&settings.state)?;
    let _lock = state.lock_for_run()?;
    if let Some(path) = &ready_file {
        // One of an earlier run would send whoever waits for it to an address of that time.
        let _ = std::fs::remove_file(path);
    }
    let show = |text: &str| Stream::Stdout.write(text);
    first_start(&settings, &state, io::stdout().is_terminal().then_some(&show))?;
    let log = logging.handle();
    let reload = Reload { signal: signals.reload, flags: flags.clone(), log: log.clone() };
    let controls = Controls { shutdown, reload, report: signals.report, log, status_file };
    let announce = |ready: Ready| announce(&ready, ready_file.as_deref());
    let served = runtime.block_on(listener::serve(settings, state, controls, announce));
    runtime.shutdown_timeout(LAST_TASKS);
    Ok(served?)
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
