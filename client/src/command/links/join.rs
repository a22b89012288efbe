//! `docxy-client join`: tries a link with its server, and stores it.
//!
//! Prints the server and the name, and never the link. Must never store a link that the server refuses.

use crate::command::arguments::JoinArguments;
use crate::command::error::CommandError;
use crate::local_api;
use crate::settings::{
    ConnectionSettings, Flags, LinkLine, LinkSource, StoredLink, adopt_links, link_file_path, parse_lines,
    store_links,
};
use crate::tunnel::{Contact, JoinedLink, Trust, contact};
use docxy_host::net::private_socket::listening_process;
use docxy_host::process::terminal::print_note;
use docxy_protocol::secret::Secret;
use docxy_protocol::text::CleanText;
use futures_util::future::join_all;
use std::io::{self, IsTerminal as _, Read as _};
use std::time::Duration;

/// How long a server may take to answer. The third attempt of each leg has its time within it.
const CONTACT_TIMEOUT: Duration = Duration::from_secs(10);

pub(in crate::command) fn join(arguments: JoinArguments, flags: &Flags) -> Result<(), CommandError> {
    adopt_links(flags)?;
    let link_file = link_file_path(flags)?;
    let mut lines = match (arguments.link, LinkSource::named(arguments.link_file)) {
        (Some(text), _) => parse_lines(text.expose(), "the argument")?,
        (None, Some(source)) => source.read()?,
        (None, None) => parse_lines(read_input()?.expose(), "the input")?,
    };
    if arguments.trusted {
        lines.iter_mut().for_each(|line| line.trust = Some(Trust::Trusted));
    }
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Start)?;
    let contacted = if arguments.offline { Ok(()) } else { runtime.block_on(contact_all(&lines, flags)) };
    let running = runtime.block_on(running_process());
    // A name that is still being resolved must not keep the command from ending.
    runtime.shutdown_background();
    contacted?;
    for stored in store_links(&link_file, lines)? {
        print_note(&describe(&stored));
    }
    let file = link_file.display();
    let next = match running {
        Some(process) => {
            format!(
                "the docxy-client that runs here (process {process}) takes it now, unless it has --link-file"
            )
        }
        None if local_api::system_client_runs() => format!(
            "this system's docxy-client does not read that; for it: sudo docxy-client join --link-file {file}"
        ),
        None => "next: docxy-client run".to_owned(),
    };
    print_note(&format!("stored in {file}, which others may not read; {next}"));
    Ok(())
}

/// Tries each link with its server. One that cannot be reached may be good.
async fn contact_all(lines: &[LinkLine], flags: &Flags) -> Result<(), CommandError> {
    let options = ConnectionSettings::without_links(flags)?.tunnel;
    let contacts = lines.iter().map(async |LinkLine { link, .. }| {
        let server = link.address();
        print_note(&format!("connecting to {server}"));
        let tell = |reason: &CleanText| print_note(&format!("not connected yet: {reason}"));
        // Nothing is requested, so it does not matter what the server may see.
        let joined = JoinedLink { link: link.clone(), trust: Trust::Untrusted };
        (server, contact(joined, options.clone(), CONTACT_TIMEOUT, tell).await)
    });
    for (server, contact) in join_all(contacts).await {
        match contact {
            Contact::Accepted => print_note(&format!("{server} accepts this client")),
            Contact::Refused(reason) => return Err(CommandError::LinkRefused { server, reason }),
            Contact::RefusedByProxy(reason) => print_note(&format!(
                "warning: {server} was not asked, since on the way to it {reason}; the link is stored, and docxy-client run \
                 goes on trying"
            )),
            Contact::Unreachable => print_note(&format!(
                "warning: {server} has not answered within {} s; the link is stored, and docxy-client run goes on trying",
                CONTACT_TIMEOUT.as_secs()
            )),
        }
    }
    Ok(())
}

/// The process of this user's running client.
pub(in crate::command) async fn running_process() -> Option<i32> {
    let sockets = local_api::socket_candidates();
    join_all(sockets.iter().map(|socket| listening_process(socket))).await.into_iter().flatten().next()
}

fn describe(StoredLink { joined, replaced }: &StoredLink) -> String {
    let (address, name) = (joined.link.address(), &joined.link.name);
    let instead = if replaced.is_some() { ", instead of the link that was there before" } else { "" };
    let trust = match joined.trust {
        Trust::Trusted => String::new(),
        Trust::Untrusted => {
            let lost = match replaced {
                Some(known) if known.trust == Trust::Trusted && known.link.pin != joined.link.pin => {
                    "; its key is another one than before, so it is no longer trusted"
                }
                _ => "",
            };
            format!(
                "{lost}; logins and private images do not go there (allow that with: docxy-client links trust {address})"
            )
        }
    };
    format!("joined {address} as {name}{instead}{trust}")
}

/// All of stdin, or one line of a terminal, which does not show it.
fn read_input() -> Result<Secret, CommandError> {
    if io::stdin().is_terminal() {
        let prompt = "Paste the link that `docxy-server invite NAME` printed (it is not shown): ";
        return rpassword::prompt_password(prompt).map(Secret::new).map_err(CommandError::Input);
    }
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text).map_err(CommandError::Input)?;
    Ok(Secret::new(text))
}
