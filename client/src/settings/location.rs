//! The default directories of the config file, the links and the cache.

use std::ffi::OsString;
use std::path::PathBuf;

/// The directory for configuration: that of the systemd service, else of the system for root, else of the
/// user (XDG base directories). `None` without a home.
pub(super) fn default_directory() -> Option<PathBuf> {
    CONFIG.of_this_process()
}

/// The same for the cache.
pub(super) fn cache_directory() -> Option<PathBuf> {
    CACHE.of_this_process()
}

/// Where one kind of directory can be.
struct DirectoryKind {
    systemd: &'static str,
    system: &'static str,
    xdg: &'static str,
    below_home: &'static str,
}

const CONFIG: DirectoryKind = DirectoryKind {
    systemd: "CONFIGURATION_DIRECTORY",
    system: "/etc/docxy",
    xdg: "XDG_CONFIG_HOME",
    below_home: ".config",
};

const CACHE: DirectoryKind = DirectoryKind {
    systemd: "CACHE_DIRECTORY",
    system: "/var/cache/docxy",
    xdg: "XDG_CACHE_HOME",
    below_home: ".cache",
};

impl DirectoryKind {
    fn of_this_process(&self) -> Option<PathBuf> {
        let is_root = rustix::process::geteuid().is_root();
        self.choose(|name| std::env::var_os(name), is_root)
    }

    fn choose(&self, variable: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Option<PathBuf> {
        // The XDG specification says that relative paths, and so empty ones, are ignored.
        let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        if let Some(text) = variable(self.systemd) {
            // systemd joins several with colons. The first is used.
            let first = std::env::split_paths(&text).next().filter(|path| path.is_absolute());
            if first.is_some() {
                return first;
            }
        }
        if is_root {
            return Some(self.system.into());
        }
        let base = absolute(self.xdg).or_else(|| Some(absolute("HOME")?.join(self.below_home)));
        Some(base?.join("docxy"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(kind: &DirectoryKind, variables: &[(&str, &str)], is_root: bool) -> Option<String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| OsString::from(value))
        };
        kind.choose(variable, is_root).map(|path| path.display().to_string())
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
            assert_eq!(chosen(&CONFIG, &variables, is_root).as_deref(), Some(expected));
        }
        assert_eq!(chosen(&CONFIG, &[], false), None);
        assert_eq!(chosen(&CACHE, &[home, systemd], false).as_deref(), Some("/home/me/.cache/docxy"));
        assert_eq!(chosen(&CACHE, &[home], true).as_deref(), Some("/var/cache/docxy"));
    }
}
