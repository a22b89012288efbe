//! `docxy-server service`: the server as a service of systemd.

use super::error::CommandError;
use clap::{Args, Subcommand};
use docxy_host::process::service::{Scope, Service};

const SERVICE: Service = Service {
    name: "docxy-server",
    scope: Scope::System,
    unit: include_str!("../../../scripts/deploy/systemd/docxy-server.service"),
};

/// Start `run` at boot, or no more.
///
/// The service runs as the user docxy. Its config file is /etc/docxy/server.toml, its state /var/lib/docxy-server. Packages
/// bring a unit of their own, which `install` starts.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sudo docxy-server service install\n  sudo docxy-server service remove")]
pub(super) struct ServiceArguments {
    #[command(subcommand)]
    command: ServiceCommand,
}

#[derive(Debug, Subcommand)]
enum ServiceCommand {
    /// Write the unit, start the service, and start it at each boot
    Install,
    /// End the service, and remove its unit. The state and the config file are kept
    Remove,
}

pub(super) fn service(arguments: &ServiceArguments) -> Result<(), CommandError> {
    match arguments.command {
        ServiceCommand::Install => SERVICE.install()?,
        ServiceCommand::Remove => {
            SERVICE
                .remove("the key and the clients in /var/lib/docxy-server, /etc/docxy, and the user docxy")?;
        }
    }
    Ok(())
}
