//! `docxy-client` without a command: where things stand, and the next command.

use crate::command::doctor::engines::{self, Installed};
use crate::command::doctor::local_client::{LocalClient, start_command};
use crate::command::error::CommandError;
use crate::local_api::system_client_runs;
use crate::settings::{ConnectionSettings, Flags, listen};
use docxy_host::process::terminal::print;
use std::net::SocketAddr;
use tracing::Level;

pub(in crate::command) fn standing(flags: &Flags) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Start)?;
    let look = |listen: &[SocketAddr]| runtime.block_on(LocalClient::look(listen));
    let mut lines = Vec::new();
    let next = next(flags, look, &mut lines);
    print(&format!("{}\nnext: {next}\n", lines.join("\n"))).map_err(CommandError::Output)
}

/// Says how far everything is, and returns the command that comes next.
fn next(flags: &Flags, look: impl Fn(&[SocketAddr]) -> LocalClient, lines: &mut Vec<String>) -> String {
    const DOCTOR: &str = "docxy-client doctor";
    let settings =
        ConnectionSettings::load(flags, Level::ERROR).and_then(|found| Ok((found, listen(flags)?)));
    let (links, listen) = match settings {
        Ok((settings, listen)) => (settings.tunnel.links, listen),
        Err(error) => {
            lines.push(error.to_string());
            return DOCTOR.to_owned();
        }
    };
    let is_of_system = links.is_empty() && system_client_runs();
    let servers: Vec<_> = links.iter().map(|joined| joined.link.address()).collect();
    lines.push(match servers.as_slice() {
        [] if is_of_system => {
            "this user has joined no link; the docxy-client of this system has its own".to_owned()
        }
        [] => "no link is joined".to_owned(),
        servers => format!("joined: {}", servers.join(", ")),
    });
    if links.is_empty() && !is_of_system {
        return "docxy-client join".to_owned();
    }
    let client = look(&listen);
    lines.push(match &client {
        LocalClient::Runs { address, .. } if client.is_up() => {
            format!("docxy-client runs at {address}, and is connected")
        }
        LocalClient::Runs { address, .. } => format!("docxy-client runs at {address}, and is not connected"),
        LocalClient::Other(address) => format!("another program than docxy-client has {address}"),
        // One with another `--listen` may run.
        LocalClient::Absent(address) => format!("docxy-client does not run at {address}"),
        LocalClient::NotLooked => "the settings do not say where docxy-client listens".to_owned(),
    });
    match client {
        _ if is_of_system && !client.is_up() => return "sudo docxy-client".to_owned(),
        LocalClient::Absent(_) | LocalClient::NotLooked => return start_command().to_owned(),
        _ if !client.is_up() => return DOCTOR.to_owned(),
        _ => {}
    }
    let installed = engines::look(listen[0].port());
    let set_up: Vec<&Installed> = installed.iter().filter(|engine| engine.is_set_up()).collect();
    let names: Vec<_> = set_up.iter().map(|engine| engine.name).collect();
    lines.push(match names.as_slice() {
        [] => "no engine is set up".to_owned(),
        names => format!("set up: {}", names.join(", ")),
    });
    match (set_up.first(), installed.first()) {
        (Some(engine), _) => engine.test.clone(),
        (None, Some(engine)) => engine.setup.clone(),
        (None, None) => "docxy-client pull hello-world".to_owned(),
    }
}
