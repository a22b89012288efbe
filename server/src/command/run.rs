//! `docxy-server run`: sets everything up and serves.
//!
//! Must never stop serving because stdout or stderr fails.

use super::arguments::RunArguments;
use super::error::CommandError;
use super::first_start::first_start;
use super::is_same;
use super::next_steps::{next_steps, show};
use crate::address;
use crate::lifecycle::reload::Reload;
use crate::listener::{self, Controls, Ready};
use crate::settings::{Flags, Settings};
use crate::state::State;
use docxy_host::files::file_fingerprint::FILE_THREAD_KEEP_ALIVE;
use docxy_host::files::ready_file::ReadyFile;
use docxy_host::logging;
use docxy_host::platform::descriptors;
use docxy_host::process::service::tell_ready;
use docxy_host::process::signals::Signals;
use docxy_host::process::terminal::Stream;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

/// How long the server waits at its end for running file operations: a settings file may be on a disk that
/// does not respond. The next process starts only after the end.
const BLOCKING_TASKS_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) fn run(arguments: RunArguments, flags: Flags) -> Result<(), CommandError> {
    let RunArguments { addresses, proxy, serving, ready_file, status_file, log } = arguments;
    descriptors::raise_limit();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().thread_keep_alive(FILE_THREAD_KEEP_ALIVE).build();
    let runtime = runtime.map_err(CommandError::Start)?;
    // First of all, because until then SIGHUP would end the process.
    let signals = runtime.block_on(async { Signals::listen() }).map_err(CommandError::Start)?;
    let flags = Flags { addresses, proxy, serving, log, ..flags }.with_config_found();
    let settings = Settings::load(&flags)?;
    let logging = logging::start_as(&settings.log, settings.log_format);
    let state = State::open(&settings.state)?.with_shared_clients(settings.clients_file.clone());
    let _lock = state.lock_for_run()?;
    let own_clients = state.path("clients");
    if let Some(file) = state.shared_clients()
        && !is_same(file, &own_clients)
        && own_clients.exists()
    {
        let (file, ignored) = (file.display(), own_clients.display());
        tracing::warn!(
            "{ignored} is ignored, because the clients are those in {file}: delete it, or run without --clients-file"
        );
    }
    state.warn_of_open_secrets();
    let ready_file = ReadyFile::clear(ready_file);
    let is_terminal = io::stdout().is_terminal();
    let write = |text: &str| Stream::Stdout.write(text);
    first_start(&settings.common, &state, is_terminal.then_some(&write))?;
    let log = logging.handle();
    let reload = Reload { signal: signals.reload, flags, log: log.clone() };
    let controls = Controls { shutdown: signals.shutdown, reload, report: signals.report, log, status_file };
    let announced = state.clone();
    let in_links = settings.public.as_ref().map(|public| address::for_links(Some(public), &settings.listen));
    let proxy = settings.proxy.as_ref().map(|proxy| proxy.rules.proxy().to_string());
    let announce = |Ready { addresses }: Ready| {
        // Last of all, so that it takes no space from what a first start writes.
        if let Some(Ok((host, port))) = in_links {
            announced.remember_public_address(&host, port);
        }
        announced.ensure_reserve();
        for address in &addresses {
            tracing::info!("listening on {address} (UDP and TCP)");
        }
        if let Some(proxy) = &proxy {
            tracing::info!(%proxy, "registries are reached through a proxy");
        }
        let steps = next_steps(&announced, &addresses);
        ready_file.write(addresses);
        tell_ready();
        // What cannot be read now was read a moment ago.
        show(&steps.unwrap_or_default(), is_terminal);
    };
    let served = runtime.block_on(listener::serve(settings, state, controls, announce));
    runtime.shutdown_timeout(BLOCKING_TASKS_TIMEOUT);
    Ok(served?)
}
