//! The file with the joined links, one on each line. Only the user may read it.
//!
//! Reads and writes only. Never prints a link, and no error quotes one.

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
    /// There is no link in it.
    #[error("there is no link in {0}; `docxy-server invite NAME` prints one on the server")]
    Empty(String),
}

/// How a link was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredLink {
    /// It is the first of this server.
    Added,
    /// It replaced an earlier link of this server.
    Replaced,
}

/// Reads a file of links. It must hold at least one.
///
/// # Errors
/// If the file cannot be read, or a line is not a link.
pub fn read_links(path: &Path) -> Result<Vec<Link>, LinksError> {
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
pub fn parse_links(text: &str, origin: &str) -> Result<Vec<Link>, LinksError> {
    let mut links = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let failed = |source| LinksError::Parse { origin: origin.to_owned(), line: n + 1, source };
        links.push(line.parse().map_err(failed)?);
    }
    if links.is_empty() { Err(LinksError::Empty(origin.to_owned())) } else { Ok(links) }
}

/// Adds links to the file, and creates it if needed. Each server has one link.
///
/// # Errors
/// If the file cannot be read or written. It is then unchanged.
pub fn store_links(path: &Path, new: &[Link]) -> Result<Vec<StoredLink>, LinksError> {
    let mut all = match read_links(path) {
        Ok(links) => links,
        Err(LinksError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(LinksError::Empty(_)) => Vec::new(),
        Err(error) => return Err(error),
    };
    let stored = new.iter().map(|link| insert(&mut all, link)).collect();
    let lines: Vec<String> = all.iter().map(|link| format!("{}\n", link.expose())).collect();
    let text = format!("# Written by `docxy-client join`; each line is a secret.\n{}", lines.concat());
    private_file::write_with_directory(path, text.as_bytes()).map_err(LinksError::Write)?;
    Ok(stored)
}

fn insert(all: &mut Vec<Link>, link: &Link) -> StoredLink {
    match all.iter_mut().find(|known| known.pin == link.pin) {
        Some(known) => {
            *known = link.clone();
            StoredLink::Replaced
        }
        None => {
            all.push(link.clone());
            StoredLink::Added
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    const PIN: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8";

    fn link(name: &str, pin: &str) -> Link {
        format!("docxy://{name}:{SECRET}@example.org:61443?pin={pin}").parse().unwrap()
    }

    #[test]
    fn a_second_link_of_a_server_replaces_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("links");
        let other = PIN.replace('I', "J");
        let store = |link| store_links(&path, &[link]).unwrap();
        assert_eq!(store(link("laptop", PIN)), [StoredLink::Added]);
        assert_eq!(store(link("laptop", &other)), [StoredLink::Added]);
        assert_eq!(store(link("phone", PIN)), [StoredLink::Replaced]);
        assert_eq!(read_links(&path).unwrap(), [link("phone", PIN), link("laptop", &other)]);
    }

    #[test]
    fn an_error_names_the_line_and_quotes_nothing_of_it() {
        let good = link("laptop", PIN).expose();
        let text = format!("# mine\n\n{good}\n{}\n", good.replace("?pin", "&pin"));
        let error = parse_links(&text, "here").unwrap_err().to_string();
        assert!(error.starts_with("here, line 4: "), "{error}");
        assert!(!error.contains(&SECRET[..8]), "{error}");
        assert!(matches!(parse_links("# nothing\n", "here"), Err(LinksError::Empty(_))));
    }

    #[test]
    fn a_damaged_file_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("links");
        std::fs::write(&path, "precious").unwrap();
        assert!(store_links(&path, &[link("laptop", PIN)]).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
