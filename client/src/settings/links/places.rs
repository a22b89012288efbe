//! Where the joined links are if the config file does not say so: in the state of the system's service, or among a user's
//! config files.
//!
//! Earlier versions had root's links among the config files. They are read there until root joins a server or installs the
//! service, which moves them. Must never have the same links in both places.

use crate::settings::links::store::{LinksError, move_links};
use docxy_host::files::directories::{CLIENT_CONFIG, CLIENT_STATE};
use std::path::PathBuf;

/// The file; `None` if there is no directory for it.
pub(in crate::settings) fn default_link_file() -> Option<PathBuf> {
    in_use(places())
}

/// Moves the links of an earlier version. Tells the user.
///
/// # Errors
/// If they cannot be moved. They are then where they were.
pub(in crate::settings) fn adopt() -> Result<(), LinksError> {
    match (places(), default_link_file()) {
        ([Some(new), _], Some(found)) if found != new => move_links(&found, &new),
        _ => Ok(()),
    }
}

/// The place of today, and the earlier one.
fn places() -> [Option<PathBuf>; 2] {
    [CLIENT_STATE, CLIENT_CONFIG].map(|directory| Some(directory.path()?.join("links")))
}

fn in_use([new, old]: [Option<PathBuf>; 2]) -> Option<PathBuf> {
    let is_there = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| path.exists());
    if is_there(&old) && !is_there(&new) { old } else { new }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn links_of_an_earlier_version_are_read_where_they_are_and_moved_once() {
        let dir = tempfile::tempdir().unwrap();
        let [new, old] = ["state/links", "etc/links"].map(|name| dir.path().join(name));
        let in_use = || in_use([Some(new.clone()), Some(old.clone())]).unwrap();
        assert_eq!(in_use(), new);
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(&old, "old").unwrap();
        assert_eq!(in_use(), old);
        move_links(&old, &new).unwrap();
        assert_eq!((in_use(), fs::read_to_string(&new).unwrap().as_str()), (new.clone(), "old"));
        assert_eq!(new.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!old.exists());
        fs::write(&old, "older").unwrap();
        move_links(&old, &new).unwrap();
        assert_eq!(fs::read_to_string(&new).unwrap(), "old", "another process has moved them");
    }
}
