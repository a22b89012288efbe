//! `docxy-client join`: stores a link.
//!
//! Prints the server and the name, and never the link.

use super::arguments::JoinArguments;
use super::error::CommandError;
use crate::local_api;
use crate::settings::{Flags, LinkSource, StoredLink, adopt_links, link_file_path, parse_lines, store_links};
use crate::tunnel::Trust;
use docxy_host::private_socket::listening_process;
use docxy_host::terminal::print_note;
use docxy_protocol::secret::Secret;
use futures_util::future::join_all;
use std::io::{self, IsTerminal as _, Read as _, Write as _};

pub(super) fn join(arguments: JoinArguments, flags: &Flags) -> Result<(), CommandError> {
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
    for stored in store_links(&link_file, lines)? {
        print_note(&describe(&stored));
    }
    let file = link_file.display();
    let next = match running_process() {
        Some(process) => format!("a docxy-client runs, and reads its links again at: kill -HUP {process}"),
        None if local_api::system_client_runs() => format!(
            "this system's docxy-client does not read that; for it: sudo docxy-client join --link-file {file}"
        ),
        None => "next: docxy-client run".to_owned(),
    };
    print_note(&format!("stored in {file}, which others may not read; {next}"));
    Ok(())
}

/// The process of this user's running client.
fn running_process() -> Option<i32> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().ok()?;
    let found = runtime
        .block_on(join_all(local_api::socket_candidates().iter().map(|socket| listening_process(socket))));
    found.into_iter().flatten().next()
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

/// All of stdin, or one line of a terminal.
fn read_input() -> Result<Secret, CommandError> {
    let mut text = String::new();
    let stdin = io::stdin();
    let read = if stdin.is_terminal() {
        let mut stderr = io::stderr();
        let _ = write!(stderr, "Paste the link that `docxy-server invite NAME` printed: ");
        let _ = stderr.flush();
        stdin.read_line(&mut text)
    } else {
        stdin.lock().read_to_string(&mut text)
    };
    read.map_err(CommandError::Input)?;
    Ok(Secret::new(text))
}
