//! `docxy-client service`: the client as a service of systemd, of the system or of this user.

use crate::command::error::CommandError;
use crate::settings::{Flags, adopt_links};
use clap::{Args, Subcommand};
use docxy_host::process::service::{Scope, Service};

const SYSTEM_UNIT: &str = include_str!("../../../../scripts/deploy/systemd/docxy-client.service");
const USER_UNIT: &str = include_str!("../../../../scripts/deploy/systemd/user/docxy-client.service");

/// Start `run` at boot, or no more.
///
/// The system's service runs as the user docxy, for all users of this machine; root joins its links, and its config file
/// is /etc/docxy/client.toml. With --user it is this user's own, with the user's links and config file. Packages bring
/// units of their own, which `install` starts.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-client service install --user\n  \
    sudo docxy-client service install\n  sudo docxy-client service remove")]
pub(in crate::command) struct ServiceArguments {
    #[command(subcommand)]
    command: ServiceCommand,
}

#[derive(Debug, Subcommand)]
enum ServiceCommand {
    /// Write the unit, start the service, and start it at each boot
    Install(ServiceScope),
    /// End the service, and remove its unit. Links, config file and cache are kept
    Remove(ServiceScope),
}

#[derive(Debug, Args)]
struct ServiceScope {
    /// Only for this user
    #[arg(long)]
    user: bool,
}

pub(in crate::command) fn service(arguments: &ServiceArguments, flags: &Flags) -> Result<(), CommandError> {
    match &arguments.command {
        ServiceCommand::Install(scope) => {
            let service = scope.service();
            service.check("install")?;
            if !scope.user {
                adopt_links(flags)?;
            }
            service.install()?;
        }
        ServiceCommand::Remove(scope) => scope.service().remove(if scope.user {
            "the links and the config file in ~/.config/docxy, and ~/.cache/docxy"
        } else {
            "the links in /var/lib/docxy-client, /etc/docxy, /var/cache/docxy, and the user docxy"
        })?,
    }
    Ok(())
}

impl ServiceScope {
    fn service(&self) -> Service {
        let (scope, unit) = if self.user { (Scope::User, USER_UNIT) } else { (Scope::System, SYSTEM_UNIT) };
        Service { name: "docxy-client", scope, unit }
    }
}
