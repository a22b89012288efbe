//! The links that were joined: a file of one link a line, for the user's eyes only.
//!
//! Reading and writing only; never prints a link, and no error quotes one.

use crate::private_file;
use docxy_protocol::link::{Link, LinkError};
use std::io;
use std::path::{Path, PathBuf};

/// Why there are no links to be had, or they could not be kept.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are where it is and what is wrong there")]
pub enum LinksError {
    /// The file cannot be read.
    #[error("cannot read the links in {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The file cannot be written.
    #[error("cannot keep the link in {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// A line is no link.
    #[error("{origin}, line {line}: {source}; copy the whole line that `docxy-server invite` printed")]
    Line { origin: String, line: usize, source: LinkError },
    /// The path is a link itself, so it must not be quoted.
    #[error("a link was given where the name of a file of links belongs; `docxy-client join` takes the link")]
    NotAFile,
    /// There is nothing in it.
    #[error("there is no link in {0}; `docxy-server invite NAME` prints one on the server")]
    Empty(String),
}

/// What became of a link that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// There was none for this server.
    Added,
    /// It took the place of an earlier one for the same server.
    Replaced,
}

/// Reads a file of links; at least one.
///
/// # Errors
/// Where the file cannot be read, or a line of it is no link.
pub fn read(path: &Path) -> Result<Vec<Link>, LinksError> {
    if path.to_string_lossy().contains("docxy://") {
        return Err(LinksError::NotAFile);
    }
    let text =
        std::fs::read_to_string(path).map_err(|source| LinksError::Read { path: path.to_owned(), source })?;
    parse(&text, &path.display().to_string())
}

/// Reads links, one a line; at least one. `origin` says in errors where the text is from.
///
/// # Errors
/// Where a line is no link.
pub fn parse(text: &str, origin: &str) -> Result<Vec<Link>, LinksError> {
    let mut links = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let failed = |source| LinksError::Line { origin: origin.to_owned(), line: n + 1, source };
        links.push(line.parse().map_err(failed)?);
    }
    if links.is_empty() { Err(LinksError::Empty(origin.to_owned())) } else { Ok(links) }
}

/// Adds links to the file, which is made if there is none. One server has one link there.
///
/// # Errors
/// Where the file cannot be read or written. It is then as it was.
pub fn keep(path: &Path, new: &[Link]) -> Result<Vec<Kept>, LinksError> {
    let mut all = match read(path) {
        Ok(links) => links,
        Err(LinksError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(LinksError::Empty(_)) => Vec::new(),
        Err(error) => return Err(error),
    };
    let kept = new.iter().map(|link| put(&mut all, link)).collect();
    let lines: Vec<String> = all.iter().map(|link| format!("{}\n", link.expose())).collect();
    let text = format!("# Written by `docxy-client join`; each line is a secret.\n{}", lines.concat());
    private_file::write(path, text.as_bytes())
        .map_err(|source| LinksError::Write { path: path.to_owned(), source })?;
    Ok(kept)
}

fn put(all: &mut Vec<Link>, link: &Link) -> Kept {
    match all.iter_mut().find(|known| known.pin == link.pin) {
        Some(known) => {
            *known = link.clone();
            Kept::Replaced
        }
        None => {
            all.push(link.clone());
            Kept::Added
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
    fn a_second_link_of_a_server_replaces_its_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("links");
        let other = PIN.replace('I', "J");
        let keep = |link| keep(&path, &[link]).unwrap();
        assert_eq!(keep(link("laptop", PIN)), [Kept::Added]);
        assert_eq!(keep(link("laptop", &other)), [Kept::Added]);
        assert_eq!(keep(link("phone", PIN)), [Kept::Replaced]);
        assert_eq!(read(&path).unwrap(), [link("phone", PIN), link("laptop", &other)]);
    }

    #[test]
    fn an_error_names_the_line_and_quotes_nothing_of_it() {
        let good = link("laptop", PIN).expose();
        let text = format!("# mine\n\n{good}\n{}\n", good.replace("?pin", "&pin"));
        let error = parse(&text, "here").unwrap_err().to_string();
        assert!(error.starts_with("here, line 4: "), "{error}");
        assert!(!error.contains(&SECRET[..8]), "{error}");
        assert!(matches!(parse("# nothing\n", "here"), Err(LinksError::Empty(_))));
    }

    #[test]
    fn a_damaged_file_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("links");
        std::fs::write(&path, "precious").unwrap();
        assert!(keep(&path, &[link("laptop", PIN)]).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
