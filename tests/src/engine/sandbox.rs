//! A place of an engine's own: its namespace's network, and a private `/var/lib`, `/run` and `/etc/containers`.
//! Engines run on their default paths in it, and the kernel drops its mounts with the last process: nothing is left on
//! the machine. Must never mount anything where the machine itself would see it.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Result;
use tempfile::TempDir;

use crate::{net::Namespace, process::scratch};

/// Private folders for one engine. Its commands share them, each in a mount namespace of its own.
#[derive(Debug)]
pub struct Sandbox {
    root: TempDir,
    namespace: Namespace,
    /// The one certificate authority, where it isn't the machine's own.
    ca: Option<PathBuf>,
}

/// Docker Hub as an engine without a mirror finds it.
#[derive(Clone, Debug)]
pub struct DirectAccess {
    /// Where its host names lead, instead of DNS; the ports are HTTPS's own.
    pub hosts: BTreeMap<String, SocketAddr>,
    /// The certificate authority to trust for it.
    pub ca: PathBuf,
}

/// Binds the folders beside it over the machine's, then becomes the program. The cgroup tree is mounted because 20.10's
/// dockerd ends at once without one, and some machines (CI's among them) have none or an old one.
const ENTER: &str = r#"set -e
root=${0%/*}
mount --bind "$root/lib" /var/lib
mount --bind "$root/run" /run
[ ! -e "$root/etc-hosts" ] || mount --bind "$root/etc-hosts" /etc/hosts
[ ! -d /etc/containers ] || mount --bind "$root/containers" /etc/containers
mount -t cgroup2 none /sys/fs/cgroup
exec "$@"
"#;

impl Sandbox {
    /// An empty one, for an engine that shall run in `namespace`.
    pub fn new(namespace: &Namespace) -> Result<Self> {
        let sandbox = Self { root: scratch()?, namespace: namespace.clone(), ca: None };
        for folder in ["lib", "run", "containers", "home"] {
            fs::create_dir(sandbox.path(folder))?;
        }
        sandbox.write("enter", ENTER)?;
        Ok(sandbox)
    }

    /// The same for an engine that finds Docker Hub itself.
    pub fn with_direct_access(namespace: &Namespace, direct: &DirectAccess) -> Result<Self> {
        let sandbox = Self { ca: Some(direct.ca.clone()), ..Self::new(namespace)? };
        let line = |(host, address): (&String, &SocketAddr)| format!("{} {host}\n", address.ip());
        sandbox.write("etc-hosts", &direct.hosts.iter().map(line).collect::<String>())?;
        Ok(sandbox)
    }

    /// A command that runs in here, with an environment of its own: no proxies, no credentials, Debian's programs
    /// before any that were put in /usr/local.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.namespace.command("unshare");
        command.args(["--mount", "--propagation", "private", "--", "sh"]);
        command.arg(self.path("enter")).arg(program);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", self.path("home"));
        if let Some(ca) = &self.ca {
            // Engines are written in Go, which looks there.
            command.env("SSL_CERT_FILE", ca);
        }
        command
    }

    /// The same with `input` on stdin: where secrets go.
    pub fn command_with_input(&self, program: impl AsRef<OsStr>, input: &str) -> Result<Command> {
        let file = self.write("home/.stdin", input)?;
        let mut command = self.command(program);
        command.stdin(Stdio::from(fs::File::open(file)?));
        Ok(command)
    }

    /// Writes a file, `lib/…` being `/var/lib`, `run/…` `/run`, `containers/…` `/etc/containers` and `home/…` `$HOME`.
    /// Its path is good inside and outside.
    pub fn write(&self, path: &str, content: &str) -> Result<PathBuf> {
        let path = self.path(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, content)?;
        Ok(path)
    }

    /// The path of a file in here, good inside and outside.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// Where all of it lies; logs too.
    pub fn root(&self) -> &Path {
        self.root.path()
    }
}
