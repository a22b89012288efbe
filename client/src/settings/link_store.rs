//! The file with the joined links, one on each line, and whether its server is trusted. Only the user may read it.
//!
//! A line is `LINK trusted`, `LINK untrusted`, or, as older versions wrote it and `docxy-server invite` prints it,
//! `LINK`: then the first line's server is trusted, and no other. Reads and writes only. Never prints a link, and no
//! error quotes one.

use crate::tunnel::{JoinedLink, Trust};
use docxy_host::private_file::{self, FileError};
use docxy_protocol::link::{Link, LinkError};
use std::io;
use std::path::{Path, PathBuf};

/// Why links cannot be read or stored.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are where it is and what is wrong there")]
pub enum LinksError {
    /// The file cannot be read.
    #[error("cannot read the links in {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The file cannot be written.
    #[error("cannot store the link: {0}")]
    Write(#[source] FileError),
    /// A line is not a link.
    #[error("{origin}, line {line}: {source}; copy the whole line that `docxy-server invite` printed")]
    Parse { origin: String, line: usize, source: LinkError },
    /// The path is a link, which must not be quoted.
    #[error("a link was given where the name of a file of links belongs; `docxy-client join` takes the link")]
    NotAFile,
    /// What follows a link is no trust.
    #[error("{origin}, line {line}: what follows a link is `trusted` or `untrusted`")]
    Trust { origin: String, line: usize },
    /// There is no link in it.
    #[error("there is no link in {0}; `docxy-server invite NAME` prints one on the server")]
    Empty(String),
}

/// A link as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLink {
    /// The link.
    pub joined: JoinedLink,
    /// Whether it replaced an earlier link of its server.
    pub replaced: bool,
}

/// Reads a file of links. It must hold at least one.
///
/// # Errors
/// If the file cannot be read, or a line is not a link.
pub fn read_links(path: &Path) -> Result<Vec<JoinedLink>, LinksError> {
    if path.to_string_lossy().contains("docxy://") {
        return Err(LinksError::NotAFile);
    }
    let text =
        std::fs::read_to_string(path).map_err(|source| LinksError::Read { path: path.to_owned(), source })?;
    parse_links(&text, &path.display().to_string())
}

/// Parses links, one on each line. There must be at least one. `origin` names the source in errors.
///
/// # Errors
/// If a line is not a link.
pub fn parse_links(text: &str, origin: &str) -> Result<Vec<JoinedLink>, LinksError> {
    let mut links: Vec<JoinedLink> = Vec::new();
    for (n, line) in text.lines().enumerate() {
        // Editors of other systems put a byte order mark before the text.
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let failed = |source| LinksError::Parse { origin: origin.to_owned(), line: n + 1, source };
        let (link, word) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let link = link.parse().map_err(failed)?;
        let trust = match word.trim() {
            "" if links.is_empty() => Trust::Trusted,
            "" | "untrusted" => Trust::Untrusted,
            "trusted" => Trust::Trusted,
            _ => return Err(LinksError::Trust { origin: origin.to_owned(), line: n + 1 }),
        };
        links.push(JoinedLink { link, trust });
    }
    if links.is_empty() { Err(LinksError::Empty(origin.to_owned())) } else { Ok(links) }
}

/// Adds links to the file, and creates it if needed. Each server has one link. With `trust`, their servers are trusted.
/// So is the first of all, and one that was, if it still has the same key.
///
/// # Errors
/// If the file cannot be read or written. It is then unchanged.
pub fn store_links(path: &Path, new: &[Link], trust: bool) -> Result<Vec<StoredLink>, LinksError> {
    let mut all = read_stored(path)?;
    let stored = new.iter().map(|link| insert(&mut all, link, trust)).collect();
    write(path, &all)?;
    Ok(stored)
}

/// Removes the links of these servers from the file. Returns the removed ones.
///
/// # Errors
/// If the file cannot be read or written. It is then unchanged.
pub fn remove_links(path: &Path, is_meant: impl Fn(&Link) -> bool) -> Result<Vec<JoinedLink>, LinksError> {
    let (removed, kept): (Vec<_>, Vec<_>) =
        read_stored(path)?.into_iter().partition(|joined| is_meant(&joined.link));
    if !removed.is_empty() {
        write(path, &kept)?;
    }
    Ok(removed)
}

/// The links in the file, in the order in which they were joined. There may be none.
///
/// # Errors
/// If the file cannot be read, or a line is not a link.
pub fn read_stored(path: &Path) -> Result<Vec<JoinedLink>, LinksError> {
    match read_links(path) {
        Err(LinksError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(LinksError::Empty(_)) => Ok(Vec::new()),
        links => links,
    }
}

fn write(path: &Path, all: &[JoinedLink]) -> Result<(), LinksError> {
    let lines: Vec<String> =
        all.iter().map(|JoinedLink { link, trust }| format!("{} {trust}\n", link.expose())).collect();
    let text = format!("# Written by `docxy-client join`; each line is a secret.\n{}", lines.concat());
    private_file::write_with_directory(path, text.as_bytes()).map_err(LinksError::Write)
}

fn insert(all: &mut Vec<JoinedLink>, link: &Link, trust: bool) -> StoredLink {
    let position = all.iter().position(|known| known.link.is_for_same_server(link));
    let was_trusted =
        position.is_some_and(|at| all[at].trust == Trust::Trusted && all[at].link.pin == link.pin);
    let is_first = position.unwrap_or(all.len()) == 0;
    let trust = if trust || was_trusted || is_first { Trust::Trusted } else { Trust::Untrusted };
    let joined = JoinedLink { link: link.clone(), trust };
    match position {
        Some(at) => all[at] = joined.clone(),
        None => all.push(joined.clone()),
    }
    StoredLink { joined, replaced: position.is_some() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    const PIN: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8";

    fn link(name: &str, pin: &str) -> Link {
        link_to("example.org:61443", name, pin)
    }

    fn link_to(address: &str, name: &str, pin: &str) -> Link {
        format!("docxy://{name}:{SECRET}@{address}?pin={pin}").parse().unwrap()
    }

    /// The names and the trust of the links in a file.
    fn stored(path: &Path) -> Vec<(String, Trust)> {
        read_links(path).unwrap().iter().map(|joined| (joined.link.name.to_string(), joined.trust)).collect()
    }

    #[test]
    fn a_second_link_of_a_server_replaces_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("links");
        let store = |link| store_links(&path, &[link], false).unwrap()[0].replaced;
        assert!(!store(link_to("example.org:1,2", "a", PIN)));
        assert!(!store(link_to("example.org:1", "b", PIN)), "another port, the same key");
        assert!(!store(link_to("[::1]:1", "c", PIN)), "another host, the same key");
        assert!(store(link_to("EXAMPLE.org:2,1", "d", &PIN.replace('I', "J"))));
        assert_eq!(stored(&path).iter().map(|(name, _)| name.as_str()).collect::<String>(), "dbc");
    }

    #[test]
    fn the_first_server_is_trusted_and_others_are_on_request() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("links");
        let link = |n: u8, pin: &str| link_to(&format!("{n}.example:1"), &format!("{n}"), pin);
        let trust =
            |n, pin: &str, trusted| store_links(&path, &[link(n, pin)], trusted).unwrap()[0].joined.trust;
        let other = PIN.replace('I', "J");
        assert_eq!(trust(1, PIN, false), Trust::Trusted);
        assert_eq!(trust(2, PIN, false), Trust::Untrusted);
        assert_eq!(trust(2, PIN, true), Trust::Trusted);
        assert_eq!(trust(2, PIN, false), Trust::Trusted, "it stays so");
        assert_eq!(trust(2, &other, false), Trust::Untrusted, "but not with another key");
        assert_eq!(trust(1, &other, false), Trust::Trusted);
        assert_eq!(trust(3, PIN, false), Trust::Untrusted);
        let removed = remove_links(&path, |link| link.host.as_str() == "1.example").unwrap();
        assert_eq!(removed.len(), 1);
        let untrusted = |n: u8| (n.to_string(), Trust::Untrusted);
        assert_eq!(stored(&path), [untrusted(2), untrusted(3)], "none becomes trusted by a removal");
        assert!(remove_links(&path, |_| false).unwrap().is_empty());
    }

    #[test]
    fn in_a_file_of_an_older_version_the_first_server_is_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("links");
        let lines = [link("a", PIN).expose(), link_to("[::1]:1", "b", PIN).expose()].join("\n");
        std::fs::write(&path, format!("# Written by `docxy-client join`; each line is a secret.\n{lines}\n"))
            .unwrap();
        assert_eq!(stored(&path), [("a".into(), Trust::Trusted), ("b".into(), Trust::Untrusted)]);
        let error =
            parse_links(&format!("{} mine", link("a", PIN).expose()), "here").unwrap_err().to_string();
        assert!(error.starts_with("here, line 1: ") && !error.contains("docxy:"), "{error}");
    }

    #[test]
    fn an_error_names_the_line_and_quotes_nothing_of_it() {
        let good = link("laptop", PIN).expose();
        let text = format!("# mine\n\n{good}\n{}\n", good.replace("?pin", "&pin"));
        let error = parse_links(&text, "here").unwrap_err().to_string();
        assert!(error.starts_with("here, line 4: "), "{error}");
        assert!(!error.contains(&SECRET[..8]), "{error}");
        assert!(matches!(parse_links("# nothing\n", "here"), Err(LinksError::Empty(_))));
        for text in [format!("\u{feff}{good}\r\n"), format!("\u{feff}# mine\r\n\u{feff}{good}\r\n")] {
            assert_eq!(parse_links(&text, "here").unwrap().len(), 1);
        }
    }

    #[test]
    fn a_damaged_file_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("links");
        std::fs::write(&path, "precious").unwrap();
        assert!(store_links(&path, &[link("laptop", PIN)], false).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
