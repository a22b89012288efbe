//! `docxy-client pull`: fetches an image through the tunnel of a running client, or one of its own.

use super::arguments::PullArguments;
use super::error::CommandError;
use crate::local_api;
use crate::pull::{self, Connection, Destination, Progress, PullRequest, default_name};
use crate::settings::{ConnectionSettings, Flags, GivenSettings};
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
    let flags = Flags { connection, log, ..flags };
    let ConnectionSettings { tunnel: config, cache: _, log } =
        ConnectionSettings::load(&flags, Level::ERROR)?;
    let logging = logging::start(&log);
    let progress = if quiet { Progress::quiet() } else { Progress::on_stderr(logging.handle()) };
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Start)?;
    let digest = runtime.block_on(async {
        let shutdown = Shutdown::of_command().map_err(CommandError::Start)?;
        let given = GivenSettings::of(&flags, &config);
        let connection = Connection::find(local_api::socket_candidates(), given, config).await?;
        progress.print(&format!("requesting {} through {}", pull_request.image, connection.description()));
        let outcome = tokio::select! {
            pulled = pull::pull(&pull_request, &connection, &progress) => pulled.map_err(Into::into),
            () = shutdown.drain.cancelled() => Err(CommandError::Interrupted),
            never = connection.tell_failures(|text| progress.print(text)) => match never {},
        };
        connection.close().await;
        outcome
    })?;
    drop(progress);
    print(&format!("{result}{digest} -> {path}\n")).map_err(CommandError::Output)
}
