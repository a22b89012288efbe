//! `docxy-client links`: lists and removes the joined links.
//!
//! Prints servers and names, and never a link.

use super::error::CommandError;
use crate::settings::{Flags, link_file_path, read_stored, remove_links};
use crate::tunnel::JoinedLink;
use docxy_host::terminal::{print, print_note};
use docxy_protocol::link::Link;

/// Lists the links: server, name and trust, one on each line.
pub(super) fn list(flags: &Flags) -> Result<(), CommandError> {
    let file = link_file_path(flags)?;
    let links = read_stored(&file)?;
    if links.is_empty() {
        print_note(&format!("no link is stored in {}; next: docxy-client join", file.display()));
    }
    let line =
        |JoinedLink { link, trust }: &JoinedLink| format!("{} {} {trust}\n", link.address(), link.name);
    print(&links.iter().map(line).collect::<String>()).map_err(CommandError::Output)
}

/// Removes the links of a host, or of a host with ports.
pub(super) fn remove(host: &str, flags: &Flags) -> Result<(), CommandError> {
    let file = link_file_path(flags)?;
    let is_meant = |link: &Link| {
        link.address().eq_ignore_ascii_case(host) || link.host.as_str().eq_ignore_ascii_case(host)
    };
    let removed = remove_links(&file, is_meant)?;
    if removed.is_empty() {
        return Err(CommandError::UnknownHost { host: host.to_owned(), file });
    }
    for JoinedLink { link, .. } in removed {
        print_note(&format!("removed the link to {}; a running client drops it at SIGHUP", link.address()));
    }
    Ok(())
}
