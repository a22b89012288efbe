//! The file with the joined links, one on each line, and whether its server is trusted. Only the user may read it.
//!
//! A line is `LINK trusted`, `LINK untrusted`, or, as older versions wrote it and `docxy-server invite` prints it,
//! `LINK`: then the first line's server is trusted, and no other. Changes are made under a lock. Never prints a link,
//! and no error quotes one.

use crate::tunnel::{JoinedLink, Trust};
use docxy_host::files::private_file::{self, FileError};
use docxy_host::process::terminal::print_note;
use docxy_protocol::link::{Link, LinkError, find_link, without_quotes};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Why links cannot be read or stored.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are where it is and what is wrong there")]
pub enum LinksError {
    /// The file cannot be read.
    #[error("cannot read the links in {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The file cannot be written.
    #[error("cannot change the links: {0}")]
    Write(#[source] FileError),
    /// A line is not a link.
    #[error("{origin}, line {line}: copy the whole line that `docxy-server invite` printed: {source}")]
    Parse { origin: String, line: usize, source: LinkError },
    /// The path is a link, which must not be quoted.
    #[error("a link was given where the name of a file of links belongs; `docxy-client join` takes the link")]
    NotAFile,
    /// What follows a link is no trust.
    #[error(
        "{origin}, line {line}: each link has a line of its own, without spaces; only `trusted` or `untrusted` may follow it"
    )]
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
    /// The earlier link of its server, which it replaced.
    pub replaced: Option<JoinedLink>,
}

/// A link as a line has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkLine {
    /// The link.
    pub link: Link,
    /// What the word after it says, if there is one.
    pub trust: Option<Trust>,
}

/// Reads a file of links. It must hold at least one.
///
/// # Errors
/// If the file cannot be read, or a line is not a link.
pub(in crate::settings) fn read_lines(path: &Path) -> Result<Vec<LinkLine>, LinksError> {
    if find_link(&path.to_string_lossy()).is_some() {
        return Err(LinksError::NotAFile);
    }
    let mut text = String::new();
    private_file::open(path)
        .and_then(|mut file| file.read_to_string(&mut text))
        .map_err(|source| LinksError::Read { path: path.to_owned(), source })?;
    parse_lines(&text, &path.display().to_string())
}

/// Parses links, one on each line. There must be at least one. `origin` names the source in errors.
///
/// # Errors
/// If a line is not a link.
pub fn parse_lines(text: &str, origin: &str) -> Result<Vec<LinkLine>, LinksError> {
    let mut links = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = without_quotes(line);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let failed = |source| LinksError::Parse { origin: origin.to_owned(), line: n + 1, source };
        let (link, word) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let link = link.parse().map_err(failed)?;
        let trust = match word.trim() {
            "" => None,
            "untrusted" => Some(Trust::Untrusted),
            "trusted" => Some(Trust::Trusted),
            _ => return Err(LinksError::Trust { origin: origin.to_owned(), line: n + 1 }),
        };
        links.push(LinkLine { link, trust });
    }
    if links.is_empty() { Err(LinksError::Empty(origin.to_owned())) } else { Ok(links) }
}

/// The servers of these lines, each with one link: a later line of a server replaces an earlier one, as if the links
/// were joined in turn. The user is told of it.
#[must_use]
pub(in crate::settings) fn combine(lines: Vec<LinkLine>) -> Vec<JoinedLink> {
    let mut all = Vec::new();
    for line in lines {
        if let StoredLink { joined, replaced: Some(_) } = insert(&mut all, line) {
            let address = joined.link.address();
            print_note(&format!("docxy-client: there are several links to {address}; the last one is used"));
        }
    }
    all
}

/// Adds links to the file, and creates it if needed. Each server has one link. The first one in an empty file is
/// trusted, unless its line says otherwise. A server that was trusted stays so if it still has the same key.
///
/// # Errors
/// If the file cannot be read or written. It is then unchanged.
pub fn store_links(path: &Path, new: Vec<LinkLine>) -> Result<Vec<StoredLink>, LinksError> {
    let _lock = lock(path)?;
    let mut all = read_stored(path)?;
    let stored = new.into_iter().map(|line| insert(&mut all, line)).collect();
    write(path, &all)?;
    Ok(stored)
}

/// Removes the link that `choose` finds from the file. Returns it.
///
/// # Errors
/// If none is found, or the file cannot be read or written. It is then unchanged.
pub fn remove_link<E: From<LinksError>>(
    path: &Path,
    choose: impl FnOnce(&[JoinedLink]) -> Result<usize, E>,
) -> Result<JoinedLink, E> {
    let (_lock, mut all) = lock_stored(path)?;
    let removed = all.remove(choose(&all)?);
    write(path, &all)?;
    Ok(removed)
}

/// Trusts the server of the link that `choose` finds from now on. Returns the link.
///
/// # Errors
/// If none is found, or the file cannot be read or written. It is then unchanged.
pub fn trust_link<E: From<LinksError>>(
    path: &Path,
    choose: impl FnOnce(&[JoinedLink]) -> Result<usize, E>,
) -> Result<JoinedLink, E> {
    let (_lock, mut all) = lock_stored(path)?;
    let chosen = choose(&all)?;
    all[chosen].trust = Trust::Trusted;
    write(path, &all)?;
    Ok(all.swap_remove(chosen))
}

/// Moves the file to a place where there is none, for its owner only. Tells the user.
///
/// # Errors
/// If it cannot be read there, or written here. It then stays.
pub(in crate::settings) fn move_links(from: &Path, to: &Path) -> Result<(), LinksError> {
    let _lock = lock(to)?;
    let content = private_file::read(from).map_err(LinksError::Write)?;
    let Some(content) = content.filter(|_| !to.exists()) else { return Ok(()) };
    private_file::write_with_directory(to, &content).map_err(LinksError::Write)?;
    let failed = |source| LinksError::Write(FileError::Write { path: from.to_owned(), source });
    std::fs::remove_file(from).map_err(failed)?;
    print_note(&format!("moved the links in {} to {}", from.display(), to.display()));
    Ok(())
}

/// The links in the file, in the order in which they were joined. There may be none.
///
/// # Errors
/// If the file cannot be read, or a line is not a link.
pub fn read_stored(path: &Path) -> Result<Vec<JoinedLink>, LinksError> {
    match read_lines(path) {
        Err(LinksError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(LinksError::Empty(_)) => Ok(Vec::new()),
        lines => lines.map(combine),
    }
}

/// Whether the last link was removed from the file. A file without a byte may be one that another program is writing.
pub(in crate::settings) fn is_emptied(path: &Path) -> bool {
    path.metadata().is_ok_and(|about| about.len() > 0)
        && matches!(read_lines(path), Err(LinksError::Empty(_)))
}

/// The links in the file, and its lock. Where there is no file, none is made, and no lock.
fn lock_stored(path: &Path) -> Result<(Option<File>, Vec<JoinedLink>), LinksError> {
    if let Ok(false) = path.try_exists() {
        return Ok((None, Vec::new()));
    }
    let lock = lock(path)?;
    Ok((Some(lock), read_stored(path)?))
}

/// Two programs that change the file at the same time would each undo the other's change. The lock is a file of its
/// own, since every change replaces the links' file.
fn lock(path: &Path) -> Result<File, LinksError> {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    let lock = PathBuf::from(lock);
    if let Some(directory) = path.parent() {
        let failed = |source| LinksError::Write(FileError::Write { path: directory.to_owned(), source });
        private_file::create_directory(directory).map_err(failed)?;
    }
    private_file::lock(&lock).map_err(LinksError::Write)
}

fn write(path: &Path, all: &[JoinedLink]) -> Result<(), LinksError> {
    let lines: Vec<String> =
        all.iter().map(|JoinedLink { link, trust }| format!("{} {trust}\n", link.expose())).collect();
    let text = format!("# Written by `docxy-client join`; each line is a secret.\n{}", lines.concat());
    private_file::write_with_directory(path, text.as_bytes()).map_err(LinksError::Write)
}

fn insert(all: &mut Vec<JoinedLink>, LinkLine { link, trust }: LinkLine) -> StoredLink {
    let position = all.iter().position(|known| known.link.is_for_same_server(&link));
    let replaced = position.map(|at| all[at].clone());
    let is_trusted = match &replaced {
        // Another key may be another server's.
        Some(known) => known.trust == Trust::Trusted && known.link.pin == link.pin,
        None => all.is_empty(),
    };
    let trust = trust.unwrap_or(if is_trusted { Trust::Trusted } else { Trust::Untrusted });
    let joined = JoinedLink { link, trust };
    match position {
        Some(at) => all[at] = joined.clone(),
        None => all.push(joined.clone()),
    }
    StoredLink { joined, replaced }
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

    /// A line with this link, which may be trusted on request.
    fn line(link: Link, trusted: bool) -> LinkLine {
        LinkLine { link, trust: trusted.then_some(Trust::Trusted) }
    }

    /// The names and the trust of the links in a file.
    fn stored(path: &Path) -> Vec<(String, Trust)> {
        read_stored(path).unwrap().iter().map(|joined| (joined.link.name.to_string(), joined.trust)).collect()
    }

    #[test]
    fn a_second_link_of_a_server_replaces_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("links");
        let store = |link| store_links(&path, vec![line(link, false)]).unwrap()[0].replaced.is_some();
        assert!(!store(link_to("example.org:1,2", "a", PIN)));
        assert!(!store(link_to("example.org:1", "b", PIN)), "another port, the same key");
        assert!(!store(link_to("[::1]:1", "c", PIN)), "another host, the same key");
        assert!(store(link_to("EXAMPLE.org.:2,1", "d", &PIN.replace('I', "J"))));
        assert_eq!(stored(&path).iter().map(|(name, _)| name.as_str()).collect::<String>(), "dbc");
    }

    #[test]
    fn the_first_server_is_trusted_and_others_are_on_request() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("links");
        let link = |n: u8, pin: &str| link_to(&format!("{n}.example:1"), &format!("{n}"), pin);
        let trust = |n, pin: &str, trusted| {
            store_links(&path, vec![line(link(n, pin), trusted)]).unwrap()[0].joined.trust
        };
        let other = PIN.replace('I', "J");
        assert_eq!(trust(1, PIN, false), Trust::Trusted);
        assert_eq!(trust(2, PIN, false), Trust::Untrusted);
        assert_eq!(trust(2, PIN, true), Trust::Trusted);
        assert_eq!(trust(2, PIN, false), Trust::Trusted, "it stays so");
        assert_eq!(trust(2, &other, false), Trust::Untrusted, "but not with another key");
        assert_eq!(trust(1, &other, false), Trust::Untrusted, "not even the first");
        assert_eq!(trust(3, PIN, false), Trust::Untrusted);
        let first = |_: &[JoinedLink]| Ok::<_, LinksError>(0);
        assert_eq!(remove_link(&path, first).unwrap().link.host.as_str(), "1.example");
        let untrusted = |n: u8| (n.to_string(), Trust::Untrusted);
        assert_eq!(stored(&path), [untrusted(2), untrusted(3)], "none becomes trusted by a removal");
        assert_eq!(trust(2, &other, false), Trust::Untrusted, "nor by another join when it is the first");
        let second = |_: &[JoinedLink]| Ok::<_, LinksError>(1);
        assert_eq!(trust_link(&path, second).unwrap().link.host.as_str(), "3.example");
        assert_eq!(stored(&path), [untrusted(2), ("3".into(), Trust::Trusted)]);
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
            parse_lines(&format!("{} mine", link("a", PIN).expose()), "here").unwrap_err().to_string();
        assert!(error.starts_with("here, line 1: ") && !error.contains("docxy:"), "{error}");
    }

    #[test]
    fn several_lines_of_one_server_are_one_server() {
        let lines =
            [("localhost:1", "a", " trusted"), ("localhost.:1", "b", ""), ("LOCALHOST:1", "c", " untrusted")];
        let trust = |count| {
            let text: String = lines[..count]
                .iter()
                .map(|(address, name, word)| format!("{}{word}\n", link_to(address, name, PIN).expose()))
                .collect();
            let all = combine(parse_lines(&text, "here").unwrap());
            assert_eq!((all.len(), all[0].link.name.to_string().as_str()), (1, lines[count - 1].1));
            all[0].trust
        };
        assert_eq!([1, 2, 3].map(trust), [Trust::Trusted, Trust::Trusted, Trust::Untrusted]);
    }

    #[test]
    fn links_that_are_stored_at_the_same_time_are_all_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/links");
        std::thread::scope(|scope| {
            for n in 0..8 {
                let link = link_to(&format!("{n}.example:1"), "a", PIN);
                let path = &path;
                scope.spawn(move || store_links(path, vec![line(link, false)]).unwrap());
            }
        });
        assert_eq!(stored(&path).len(), 8);
        assert_eq!(stored(&path).iter().filter(|(_, trust)| *trust == Trust::Trusted).count(), 1);
    }

    #[test]
    fn an_error_names_the_line_and_quotes_nothing_of_it() {
        let good = link("laptop", PIN).expose();
        let text = format!("# mine\n\n{good}\n{}\n", good.replace("?pin", "&pin"));
        let error = parse_lines(&text, "here").unwrap_err().to_string();
        assert!(error.starts_with("here, line 4: "), "{error}");
        assert!(!error.contains(&SECRET[..8]), "{error}");
        assert!(matches!(parse_lines("# nothing\n", "here"), Err(LinksError::Empty(_))));
        for text in [
            format!("\u{feff}{good}\r\n"),
            format!("\u{feff}# mine\r\n\u{feff}{good}\r\n"),
            format!("< {good} >"),
            format!("\"{good}\" trusted"),
        ] {
            assert_eq!(parse_lines(&text, "here").unwrap().len(), 1);
        }
        let cut = parse_lines(good.split_once('?').unwrap().0, "here").unwrap_err().to_string();
        assert!(cut.contains("printed: ") && cut.ends_with("was it cut off?"), "{cut}");
    }

    #[test]
    fn a_damaged_file_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("links");
        std::fs::write(&path, "precious").unwrap();
        assert!(store_links(&path, vec![line(link("laptop", PIN), false)]).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
