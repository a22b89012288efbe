//! The default directories of both programs: systemd's for the service, else the system's for root, else the
//! user's own (XDG base directories).
//!
//! Only names directories, and must never create one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Whether this process is root's, and so uses the system's directories.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where one kind of directory can be.
#[derive(Debug)]
pub struct DefaultDirectory {
    /// The variables in which systemd names it to the service.
    systemd: &'static [&'static str],
    /// Root's.
    pub system: &'static str,
    xdg: &'static str,
    below_home: &'static str,
    name: &'static str,
}

/// The client's links, which are secrets. A user's, and those of a service without a state, are beside the config file.
pub const CLIENT_STATE: DefaultDirectory = DefaultDirectory {
    systemd: &["STATE_DIRECTORY", "CONFIGURATION_DIRECTORY"],
    system: "/var/lib/docxy-client",
    xdg: "XDG_CONFIG_HOME",
    below_home: ".config",
    name: "docxy",
};

/// The client's config file.
pub const CLIENT_CONFIG: DefaultDirectory = DefaultDirectory {
    systemd: &["CONFIGURATION_DIRECTORY"],
    system: "/etc/docxy",
    xdg: "XDG_CONFIG_HOME",
    below_home: ".config",
    name: "docxy",
};

/// The client's cache.
pub const CLIENT_CACHE: DefaultDirectory = DefaultDirectory {
    systemd: &["CACHE_DIRECTORY"],
    system: "/var/cache/docxy",
    xdg: "XDG_CACHE_HOME",
    below_home: ".cache",
    name: "docxy",
};

/// The socket of the running client.
pub const CLIENT_RUNTIME: DefaultDirectory = DefaultDirectory {
    systemd: &["RUNTIME_DIRECTORY"],
    system: "/run/docxy",
    xdg: "XDG_RUNTIME_DIR",
    below_home: ".local/state",
    name: "docxy",
};

/// The server's state.
pub const SERVER_STATE: DefaultDirectory = DefaultDirectory {
    systemd: &["STATE_DIRECTORY"],
    system: "/var/lib/docxy-server",
    xdg: "XDG_STATE_HOME",
    below_home: ".local/state",
    name: "docxy-server",
};

/// The layers that the server keeps.
pub const SERVER_CACHE: DefaultDirectory = DefaultDirectory {
    systemd: &["CACHE_DIRECTORY"],
    system: "/var/cache/docxy-server",
    xdg: "XDG_CACHE_HOME",
    below_home: ".cache",
    name: "docxy-server",
};

impl DefaultDirectory {
    /// The directory for this process; `None` if there is no home directory.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        self.choose(|name| std::env::var_os(name), is_root())
    }

    /// All directories where a process of this user may have chosen one in another environment, the likeliest first. Root
    /// has only those of the system: others could write to the rest.
    #[must_use]
    pub fn candidates(&self) -> Vec<PathBuf> {
        let user = rustix::process::geteuid();
        self.choose_all(|name| std::env::var_os(name), user.as_raw())
    }

    fn choose_all(&self, variable: impl Fn(&str) -> Option<OsString>, user: u32) -> Vec<PathBuf> {
        let is_root = user == 0;
        let without = |hidden: &[&str]| {
            self.choose(|name| if hidden.contains(&name) { None } else { variable(name) }, is_root)
        };
        // As logind sets it.
        let of_session = || Path::new("/run/user").join(user.to_string()).join(self.name);
        let all = [
            without(&[]),
            without(self.systemd),
            (!is_root && self.xdg == "XDG_RUNTIME_DIR").then(of_session),
            without(&[self.systemd, &[self.xdg]].concat()),
            Some(self.system.into()),
        ];
        let mut candidates = Vec::new();
        for path in all.into_iter().flatten() {
            if !candidates.contains(&path) {
                candidates.push(path);
            }
        }
        candidates
    }

    fn choose(&self, variable: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Option<PathBuf> {
        // The XDG specification says that relative paths, and so empty ones, are ignored.
        let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        // systemd joins several with colons. The first is used.
        let first = |text: OsString| std::env::split_paths(&text).next().filter(|path| path.is_absolute());
        if let Some(path) = self.systemd.iter().find_map(|name| first(variable(name)?)) {
            return Some(path);
        }
        if is_root {
            return Some(self.system.into());
        }
        let base = absolute(self.xdg).or_else(|| Some(absolute("HOME")?.join(self.below_home)));
        Some(base?.join(self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(kind: &DefaultDirectory, variables: &[(&str, &str)], is_root: bool) -> Option<String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| OsString::from(value))
        };
        kind.choose(variable, is_root).map(|path| path.display().to_string())
    }

    #[test]
    fn default_directories_follow_systemd_root_and_xdg() {
        let home = ("HOME", "/home/me");
        for (kind, xdg, systemd, root, user) in [
            (CLIENT_CONFIG, "XDG_CONFIG_HOME", "CONFIGURATION_DIRECTORY", "/etc/docxy", ".config/docxy"),
            (CLIENT_STATE, "XDG_CONFIG_HOME", "STATE_DIRECTORY", "/var/lib/docxy-client", ".config/docxy"),
            (
                CLIENT_STATE,
                "XDG_CONFIG_HOME",
                "CONFIGURATION_DIRECTORY",
                "/var/lib/docxy-client",
                ".config/docxy",
            ),
            (CLIENT_CACHE, "XDG_CACHE_HOME", "CACHE_DIRECTORY", "/var/cache/docxy", ".cache/docxy"),
            (CLIENT_RUNTIME, "XDG_RUNTIME_DIR", "RUNTIME_DIRECTORY", "/run/docxy", ".local/state/docxy"),
            (
                SERVER_STATE,
                "XDG_STATE_HOME",
                "STATE_DIRECTORY",
                "/var/lib/docxy-server",
                ".local/state/docxy-server",
            ),
        ] {
            let below_home = format!("/home/me/{user}");
            let below_xdg = format!("/xdg/{}", user.rsplit_once('/').unwrap().1);
            for (variables, is_root, expected) in [
                (vec![home, (xdg, "/xdg"), (systemd, "/first:/more")], true, "/first"),
                (vec![home, (xdg, "/xdg")], true, root),
                (vec![home, (xdg, "/xdg")], false, &below_xdg),
                (vec![home, ("OTHER_DIRECTORY", "/first")], false, &below_home),
                (vec![home, (xdg, ""), (systemd, "")], false, &below_home),
            ] {
                assert_eq!(chosen(&kind, &variables, is_root).as_deref(), Some(expected), "{variables:?}");
            }
            assert_eq!(chosen(&kind, &[], false), None);
        }
    }

    #[test]
    fn the_socket_is_looked_for_wherever_a_process_of_the_user_may_have_it() {
        let all = |variables: &[(&str, &str)], user| {
            let variable = |name: &str| {
                let found = variables.iter().find(|(n, _)| *n == name);
                found.map(|(_, value)| OsString::from(value))
            };
            let paths = CLIENT_RUNTIME.choose_all(variable, user);
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        let (home, session) = (("HOME", "/home/me"), ("XDG_RUNTIME_DIR", "/run/user/7"));
        let of_user = ["/run/user/7/docxy", "/home/me/.local/state/docxy", "/run/docxy"];
        assert_eq!(all(&[home, session], 7), of_user);
        let [session_s, home_s, system] = of_user;
        assert_eq!(all(&[home], 7), [home_s, session_s, system]);
        assert_eq!(
            all(&[("RUNTIME_DIRECTORY", "/run/a"), ("XDG_RUNTIME_DIR", "/b"), home], 7)[..2],
            ["/run/a", "/b/docxy"]
        );
        assert_eq!(all(&[("RUNTIME_DIRECTORY", "/run/a"), home, session], 0), ["/run/a", system]);
    }
}
