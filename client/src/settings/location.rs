//! Where config file and links are when nobody says.

use std::ffi::OsString;
use std::path::PathBuf;

/// systemd's directory for the service, else the system's for root, else the user's own (XDG base
/// directories). `None` where there is not even a home.
pub(super) fn default_directory() -> Option<PathBuf> {
    let is_root = rustix::process::geteuid().is_root();
    choose(|name| std::env::var_os(name), is_root)
}

fn choose(variable: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Option<PathBuf> {
    // The XDG specification wants relative paths to be ignored; an empty one is one.
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(text) = variable("CONFIGURATION_DIRECTORY") {
        // systemd joins several with colons; ours is the first.
        let first = std::env::split_paths(&text).next().filter(|path| path.is_absolute());
        if first.is_some() {
            return first;
        }
    }
    if is_root {
        return Some("/etc/docxy".into());
    }
    let base = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    Some(base?.join("docxy"))
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
    fn settings_are_where_the_system_keeps_such_things() {
        let home = ("HOME", "/home/me");
        let xdg = ("XDG_CONFIG_HOME", "/xdg");
        let systemd = ("CONFIGURATION_DIRECTORY", "/etc/other:/more");
        for (variables, is_root, expected) in [
            (vec![home, xdg, systemd], true, "/etc/other"),
            (vec![home, xdg], true, "/etc/docxy"),
            (vec![home, xdg], false, "/xdg/docxy"),
            (vec![home], false, "/home/me/.config/docxy"),
            (vec![home, ("XDG_CONFIG_HOME", "")], false, "/home/me/.config/docxy"),
        ] {
            assert_eq!(chosen(&variables, is_root).as_deref(), Some(expected));
        }
        assert_eq!(chosen(&[], false), None);
    }
}
