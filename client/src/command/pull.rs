//! `docxy-client pull`: fetches an image through a tunnel of its own.

use super::{CommandError, PullArguments, print};
use crate::gateway::Gateway;
use crate::metadata::Metadata;
use crate::pull::{self, Destination, Order, Progress, default_name};
use crate::settings::{DEFAULT_PATIENCE, Flags, TunnelSettings, cache_store, pull_log};
use crate::shutdown::Shutdown;
use crate::tunnel::Tunnel;
use docxy_host::logging;

pub(super) fn pull(arguments: PullArguments, flags: &Flags) -> Result<(), CommandError> {
    let PullArguments { image, output, platform, force, quiet, log: _, reach: _ } = arguments;
    let logging = logging::start(&pull_log(flags)?);
    let output = output.unwrap_or_else(|| default_name(&image, platform.as_ref()).into());
    let result = format!("{}/{}@", image.registry, image.repository);
    let path = output.display().to_string();
    let order = Order { image, platform, destination: Destination::new(output, force)? };
    let settings = TunnelSettings::load(flags)?;
    let metadata = Metadata::open(cache_store(flags)?.as_deref());
    if let Some(platform) = &order.platform {
        metadata.expect_platform(platform);
    }
    let progress = if quiet { Progress::quiet() } else { Progress::on_stderr(logging.handle()) };
    let servers: Vec<&str> = settings.links.iter().map(|link| link.host.as_str()).collect();
    progress.say(&format!("asking for {} through {}", order.image, servers.join(" or ")));

    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Start)?;
    let digest = runtime.block_on(async {
        let shutdown = Shutdown::on_signals().map_err(CommandError::Start)?;
        let tunnel = Tunnel::start(settings);
        let gateway = Gateway::new(tunnel.clone(), DEFAULT_PATIENCE, metadata);
        let outcome = tokio::select! {
            pulled = pull::pull(&order, gateway, &progress) => pulled.map_err(Into::into),
            () = shutdown.drain.cancelled() => Err(CommandError::Interrupted),
        };
        tunnel.close().await;
        outcome
    })?;
    drop(progress);
    print(&format!("{result}{digest} -> {path}\n"))
}
