//! Applies settings that were loaded again (`SIGHUP`), as far as they can change while the server runs.

use super::active_settings::ActiveSettings;
use crate::settings::{Flags, Settings, TlsSettings};
use crate::state::ClientWatch;
use crate::upstream::Changes;
use docxy_host::logging::LogHandle;
use docxy_host::process::signals::reload::{reload_on_signal, warn_if_changed};
use docxy_transport::tcp::Certificates;
use std::error::Error;
use std::sync::Arc;
use tokio::signal::unix::Signal;

/// Reloads the settings at each signal.
#[derive(Debug)]
pub struct Reload {
    /// `SIGHUP`.
    pub signal: Signal,
    /// The flags and the environment, which do not change.
    pub flags: Flags,
    /// The log, whose filter is one of the settings.
    pub log: LogHandle,
}

impl Reload {
    /// Applies new settings at each signal, without end. `settings` are those of the start.
    pub(crate) async fn run(
        self,
        mut settings: Settings,
        active: Arc<ActiveSettings>,
        clients: ClientWatch,
        certificates: Certificates,
    ) {
        let Self { signal, flags, log } = self;
        let load = move || -> Result<_, Box<dyn Error + Send + Sync>> {
            clients.poll_now();
            let new = Settings::load(&flags)?;
            let changes = active.apply(&new)?;
            Ok((new, changes))
        };
        let apply = |(new, changes): (Settings, Changes)| {
            log.set_filter(&new.log);
            certificates.set_operators(new.tls.as_ref().map(TlsSettings::in_use));
            let Changes { added, changed, removed } = changes;
            let some = |count: usize| (count > 0).then_some(count);
            tracing::info!(
                registries = new.registries.len(),
                added = some(added),
                changed = some(changed),
                removed = some(removed),
                log = %new.log,
                "settings reloaded"
            );
            warn_if_changed("listen", &settings.listen, &new.listen);
            warn_if_changed("state", &settings.state, &new.state);
            warn_if_changed("clients_file", &settings.clients_file, &new.clients_file);
            warn_if_changed("layer_cache", &settings.layer_cache, &new.layer_cache);
            warn_if_changed("handover", &settings.handover, &new.handover);
            warn_if_changed("admin", &settings.admin, &new.admin);
            warn_if_changed("log_format", &settings.log_format, &new.log_format);
            warn_if_changed("log_images", &settings.log_images, &new.log_images);
            settings = new;
        };
        reload_on_signal(signal, load, apply).await;
    }
}
