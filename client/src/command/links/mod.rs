//! `docxy-client links`: lists, removes and trusts the joined links.
//!
//! Prints servers and names, and never a link.

pub(super) mod join;

use super::error::CommandError;
use crate::settings::{Flags, link_file_path, read_stored, remove_link, trust_link};
use crate::tunnel::JoinedLink;
use docxy_host::process::terminal::{print, print_note};
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
    /// Which of these links is meant: the one with this host and exactly these ports, else the only one that has them.
    fn find(&self, links: &[JoinedLink], file: &Path) -> Result<usize, CommandError> {
        let ports = |link: &Link| link.ports.iter().copied().collect::<BTreeSet<_>>();
        let is_meant = |link: &Link| {
            let named = self.ports.as_ref();
            self.host.is_same(&link.host) && named.is_none_or(|named| named.is_subset(&ports(link)))
        };
        let is_exact = |link: &Link| self.ports.as_ref().is_some_and(|named| *named == ports(link));
        let meant: Vec<_> = (0..links.len()).filter(|n| is_meant(&links[*n].link)).collect();
        let exact = meant.iter().find(|n| is_exact(&links[**n].link));
        match (&meant[..], exact) {
            (_, Some(one)) | ([one], _) => Ok(*one),
            ([], _) => Err(CommandError::UnknownServer { server: self.to_string(), file: file.to_owned() }),
            (several, _) => {
                let candidates = several.iter().map(|n| links[*n].link.address()).collect();
                Err(CommandError::AmbiguousServer { server: self.to_string(), candidates })
            }
        }
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

/// Removes the link to a server.
pub(super) fn remove(server: &NamedServer, flags: &Flags) -> Result<(), CommandError> {
    let file = link_file_path(flags)?;
    let removed = remove_link(&file, |links| server.find(links, &file))?;
    let address = removed.link.address();
    print_note(&format!("removed the link to {address}; a running client drops it at once"));
    Ok(())
}

/// Trusts a server.
pub(super) fn trust(server: &NamedServer, flags: &Flags) -> Result<(), CommandError> {
    let file = link_file_path(flags)?;
    let trusted = trust_link(&file, |links| server.find(links, &file))?;
    let address = trusted.link.address();
    print_note(&format!(
        "{address} is trusted: logins and private images may go there; a running client knows at once"
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: &str = "?pin=ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8";

    fn joined(address: &str) -> JoinedLink {
        let client = "docxy://laptop:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8@";
        JoinedLink {
            link: format!("{client}{address}{PARAMETERS}").parse().unwrap(),
            trust: crate::tunnel::Trust::Untrusted,
        }
    }

    #[test]
    fn a_server_is_named_by_its_host_or_also_its_ports() {
        for (address, text, is_meant) in [
            ("example.org:1", "EXAMPLE.org.", true),
            ("example.org:1", "example.org:1", true),
            ("example.org:1", "example.org:2", false),
            ("example.org:1", "other.org", false),
            ("127.0.0.1:443,28001", "127.0.0.1:28001,443", true),
            ("127.0.0.1:443,28001", "127.0.0.1", true),
            ("127.0.0.1:443,28001", "127.0.0.1:443", true),
            ("127.0.0.1:443,28001", "127.0.0.1:443,1", false),
            ("[::1]:1", "[::1]", true),
            ("[::1]:1", "::1", true),
            ("[::1]:1", "[0:0::1]:1", true),
            ("[::1]:1", "[::1]:2", false),
        ] {
            let found = text.parse::<NamedServer>().unwrap().find(&[joined(address)], Path::new("links"));
            assert_eq!(found.is_ok(), is_meant, "{address} {text}");
        }
        for text in ["", " ", "example.org:", "example.org:x", "[::1]:", "a b"] {
            assert!(text.parse::<NamedServer>().is_err(), "{text}");
        }
    }

    #[test]
    fn one_of_several_servers_of_a_host_is_named_by_its_ports() {
        let links = ["a.example:1", "a.example:1,2", "a.example:2,3", "b.example:1"].map(joined);
        let find = |text: &str| text.parse::<NamedServer>().unwrap().find(&links, Path::new("links"));
        for (text, n) in [("a.example:1", 0), ("a.example:2,1", 1), ("a.example:3", 2), ("b.example", 3)] {
            assert_eq!(find(text).unwrap(), n, "{text}");
        }
        for (text, listed) in [
            ("a.example", "a.example:1 a.example:1,2 a.example:2,3"),
            ("a.example:2", "a.example:1,2 a.example:2,3"),
        ] {
            assert!(find(text).unwrap_err().to_string().ends_with(listed), "{text}");
        }
    }
}
