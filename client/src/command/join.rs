//! `docxy-client join`: stores a link.
//!
//! Prints the server and the name, and never the link.

use super::arguments::JoinArguments;
use super::error::CommandError;
use crate::settings::{Flags, LinkSource, StoredLink, link_file_path, parse_lines, store_links};
use crate::tunnel::Trust;
use docxy_host::terminal::print_note;
use docxy_protocol::secret::Secret;
use std::io::{self, IsTerminal as _, Read as _, Write as _};

pub(super) fn join(arguments: JoinArguments, flags: &Flags) -> Result<(), CommandError> {
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
    print_note(&format!(
        "stored in {}, which only you may read; next: docxy-client run",
        link_file.display()
    ));
    Ok(())
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
