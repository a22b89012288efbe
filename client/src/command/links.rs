//! `docxy-client links`: lists, removes and trusts the joined links.
//!
//! Prints servers and names, and never a link.

use super::error::CommandError;
use crate::settings::{Flags, LinksError, link_file_path, read_stored, remove_links, trust_links};
use crate::tunnel::JoinedLink;
use docxy_host::terminal::{print, print_note};
use docxy_protocol::link::{Host, Link};
use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;

/// A joined server as the user names it: by its host, with or without its ports, or by its link, which is not kept.
#[derive(Debug, Clone, derive_more::Display)]
#[display("{text}")]
pub(super) struct NamedServer {
    text: String,
    host: Host,
    /// `None` means all servers of the host.
    ports: Option<BTreeSet<u16>>,
}

/// The text names no server.
#[derive(Debug, thiserror::Error)]
#[error("name the server by its host, or by its host and ports, as `docxy-client links` shows them")]
pub(super) struct NamedServerError;

impl FromStr for NamedServer {
    type Err = NamedServerError;

    fn from_str(text: &str) -> Result<Self, NamedServerError> {
        let text = text.trim();
        if let Ok(link) = text.parse::<Link>() {
            let (text, ports) = (link.address(), Some(link.ports.iter().copied().collect()));
            return Ok(Self { text, host: link.host, ports });
        }
        let is_whole = text.ends_with(']') || text.parse::<Host>().is_ok();
        let (host, ports) = match text.rsplit_once(':') {
            Some((host, ports)) if !is_whole => {
                (host, Some(ports.split(',').map(str::parse).collect::<Result<_, _>>()))
            }
            _ => (text, None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Ok(Self {
            text: text.to_owned(),
            host: host.parse().map_err(|_| NamedServerError)?,
            ports: ports.transpose().map_err(|_| NamedServerError)?,
        })
    }
}

impl NamedServer {
    fn is(&self, link: &Link) -> bool {
        let has_ports = |ports: &BTreeSet<u16>| *ports == link.ports.iter().copied().collect();
        self.host.is_same(&link.host) && self.ports.as_ref().is_none_or(has_ports)
    }
}

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

/// Removes the links to a server.
pub(super) fn remove(server: &NamedServer, flags: &Flags) -> Result<(), CommandError> {
    change(
        server,
        flags,
        |file| remove_links(file, |link| server.is(link)),
        |address| format!("removed the link to {address}; a running client drops it at SIGHUP"),
    )
}

/// Trusts a server.
pub(super) fn trust(server: &NamedServer, flags: &Flags) -> Result<(), CommandError> {
    change(
        server,
        flags,
        |file| trust_links(file, |link| server.is(link)),
        |address| {
            format!(
                "{address} is trusted: logins and private images may go there; a running client knows at SIGHUP"
            )
        },
    )
}

fn change(
    server: &NamedServer,
    flags: &Flags,
    change: impl FnOnce(&Path) -> Result<Vec<JoinedLink>, LinksError>,
    describe: impl Fn(String) -> String,
) -> Result<(), CommandError> {
    let file = link_file_path(flags)?;
    let changed = change(&file)?;
    if changed.is_empty() {
        return Err(CommandError::UnknownServer { server: server.to_string(), file });
    }
    for JoinedLink { link, .. } in changed {
        print_note(&describe(link.address()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: &str = "?pin=ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8";

    #[test]
    fn a_server_is_named_by_its_host_or_also_its_ports() {
        let client = "docxy://laptop:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8@";
        for (address, text, is_meant) in [
            ("example.org:1", "EXAMPLE.org.", true),
            ("example.org:1", "example.org:1", true),
            ("example.org:1", "example.org:2", false),
            ("example.org:1", "other.org", false),
            ("127.0.0.1:443,28001", "127.0.0.1:28001,443", true),
            ("127.0.0.1:443,28001", "127.0.0.1", true),
            ("127.0.0.1:443,28001", "127.0.0.1:443", false),
            ("[::1]:1", "[::1]", true),
            ("[::1]:1", "::1", true),
            ("[::1]:1", "[0:0::1]:1", true),
            ("[::1]:1", "[::1]:2", false),
        ] {
            let link: Link = format!("{client}{address}{PARAMETERS}").parse().unwrap();
            assert_eq!(text.parse::<NamedServer>().unwrap().is(&link), is_meant, "{address} {text}");
        }
        for text in ["", " ", "example.org:", "example.org:x", "[::1]:", "a b"] {
            assert!(text.parse::<NamedServer>().is_err(), "{text}");
        }
    }
}
