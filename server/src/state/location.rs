//! The default state directory.

use std::ffi::OsString;
use std::path::PathBuf;

/// systemd's directory for the service, else the system's for root, else the user's own (XDG base
/// directories). `None` if there is no home directory.
pub(crate) fn default_directory() -> Option<PathBuf> {
    let is_root = rustix::process::geteuid().is_root();
    choose(|name| std::env::var_os(name), is_root)
}

fn choose(variable: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Option<PathBuf> {
    // The XDG specification says to ignore relative paths. An empty path is relative.
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(text) = variable("STATE_DIRECTORY") {
        // systemd joins several directories with colons. The first one is used.
        let first = std::env::split_paths(&text).next().filter(|p| p.is_absolute());
        if first.is_some() {
            return first;
        }
    }
    if is_root {
        return Some("/var/lib/docxy-server".into());
    }
    let base = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    Some(base?.join("docxy-server"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(variables: &[(&str, &str)], is_root: bool) -> Option<String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| OsString::from(value))
        };
        choose(variable, is_root).map(|path| path.display().to_string())
    }

    #[test]
    fn the_state_is_where_the_system_keeps_such_things() {
        let home = ("HOME", "/home/me");
        let xdg = ("XDG_STATE_HOME", "/xdg");
        let systemd = ("STATE_DIRECTORY", "/var/lib/private/docxy:/other");
        for (variables, is_root, expected) in [
            (vec![home, xdg, systemd], true, "/var/lib/private/docxy"),
            (vec![home, xdg], true, "/var/lib/docxy-server"),
            (vec![home, xdg], false, "/xdg/docxy-server"),
            (vec![home], false, "/home/me/.local/state/docxy-server"),
            (
                vec![home, ("XDG_STATE_HOME", ""), ("STATE_DIRECTORY", "")],
                false,
                "/home/me/.local/state/docxy-server",
            ),
        ] {
            assert_eq!(chosen(&variables, is_root).as_deref(), Some(expected));
        }
        assert_eq!(chosen(&[], false), None);
    }
}
