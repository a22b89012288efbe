//! `docxy-client pull`: fetches an image through a tunnel of its own.

use super::arguments::PullArguments;
use super::error::CommandError;
use crate::gateway::Gateway;
use crate::metadata::Metadata;
use crate::pull::{self, Destination, Progress, PullRequest, default_name};
use crate::settings::{ConnectionSettings, DEFAULT_STALL_TIMEOUT, Flags};
use crate::tunnel::Tunnel;
use crate::tunnel::network::NetworkMemory;
use docxy_host::logging;
use docxy_host::signals::shutdown::Shutdown;
use docxy_host::terminal::print;
use tracing::Level;

pub(super) fn pull(arguments: PullArguments, flags: Flags) -> Result<(), CommandError> {
    let PullArguments { image, output, platform, force, quiet, connection, log } = arguments;
    let output = output.unwrap_or_else(|| default_name(&image, platform.as_ref()).into());
    let result = format!("{}/{}@", image.registry, image.repository);
    let path = output.display().to_string();
    let pull_request = PullRequest { image, platform, destination: Destination::new(output, force)? };
    // Users read the progress.
    let ConnectionSettings { tunnel: config, cache, log } =
        ConnectionSettings::load(&Flags { connection, log, ..flags }, Level::ERROR)?;
    let logging = logging::start(&log);
    let metadata = Metadata::open(cache.as_deref());
    if let Some(platform) = &pull_request.platform {
        metadata.policy.expect(platform.clone());
    }
    let progress = if quiet { Progress::quiet() } else { Progress::on_stderr(logging.handle()) };
    let servers: Vec<&str> = config.links.iter().map(|joined| joined.link.host.as_str()).collect();
    progress.print(&format!("requesting {} through {}", pull_request.image, servers.join(" or ")));

    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Start)?;
    let digest = runtime.block_on(async {
        let shutdown = Shutdown::on_signals().map_err(CommandError::Start)?;
        let tunnel = Tunnel::start(config, NetworkMemory::open(cache.as_deref()));
        let gateway = Gateway::new(tunnel.clone(), DEFAULT_STALL_TIMEOUT, metadata);
        let outcome = tokio::select! {
            pulled = pull::pull(&pull_request, gateway, &progress) => pulled.map_err(Into::into),
            () = shutdown.drain.cancelled() => Err(CommandError::Interrupted),
            never = tunnel.tell_failures(|reason| progress.print(&format!("not connected yet: {reason}"))) => match never {},
        };
        tunnel.close().await;
        outcome
    })?;
    drop(progress);
    print(&format!("{result}{digest} -> {path}\n")).map_err(CommandError::Output)
}
