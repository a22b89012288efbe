//! An engine's private environment: its namespace's network, and a private `/var/lib`, `/run` and
//! `/etc/containers`. Engines use their default paths in it. The kernel drops the mounts with the last process.
//! Must never mount anything in the machine's own mount namespace.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Result;
use tempfile::TempDir;

use super::COMMAND_TIMEOUT;
use crate::{
    net::Namespace,
    process::{run, scratch},
};

/// Private folders for one engine. Its commands share them, each in a mount namespace of its own.
#[derive(Debug)]
pub struct Sandbox {
    root: TempDir,
    namespace: Namespace,
    /// The only trusted CA, if it is not the machine's own set.
    ca: Option<PathBuf>,
}

/// Where engines are: Debian's programs before those in /usr/local.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin";

/// How an engine without a mirror reaches Docker Hub.
#[derive(Clone, Debug)]
pub struct DirectAccess {
    /// The addresses of its host names, instead of DNS; the port is always 443.
    pub hosts: BTreeMap<String, SocketAddr>,
    /// The file of the CA certificate to trust.
    pub ca: PathBuf,
}

/// Mounts this folder's subfolders over the machine's, then execs the program. It mounts the cgroup tree because
/// dockerd 20.10 exits without one, and some machines have none or an old version. It cannot be mounted twice there.
const ENTER_SCRIPT: &str = r#"set -e
root=${0%/*}
[ ! -d "$root/etc" ] || mount --bind "$root/etc" /etc
mount --bind "$root/lib" /var/lib
mount --bind "$root/run" /run
[ ! -e "$root/etc-hosts" ] || mount --bind "$root/etc-hosts" /etc/hosts
[ ! -d /etc/containers ] || mount --bind "$root/containers" /etc/containers
[ "$(stat --file-system --format=%T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 none /sys/fs/cgroup
exec "$@"
"#;

impl Sandbox {
    /// An empty sandbox for an engine that runs in `namespace`.
    pub fn new(namespace: &Namespace) -> Result<Self> {
        let sandbox = Self { root: scratch()?, namespace: namespace.clone(), ca: None };
        for folder in ["lib", "run", "containers", "home"] {
            fs::create_dir(sandbox.path(folder))?;
        }
        sandbox.write("enter", ENTER_SCRIPT)?;
        Ok(sandbox)
    }

    /// The same with a copy of this machine's `/etc`, whose files may be changed.
    pub fn with_own_etc(namespace: &Namespace) -> Result<Self> {
        let sandbox = Self::new(namespace)?;
        let mut copy = Command::new("cp");
        copy.args(["--archive", "/etc"]).arg(sandbox.path("etc"));
        run(copy, COMMAND_TIMEOUT)?.succeeded()?;
        Ok(sandbox)
    }

    /// The same for an engine that reaches Docker Hub directly.
    pub fn with_direct_access(namespace: &Namespace, direct: &DirectAccess) -> Result<Self> {
        let sandbox = Self { ca: Some(direct.ca.clone()), ..Self::new(namespace)? };
        let line = |(host, address): (&String, &SocketAddr)| format!("{} {host}\n", address.ip());
        sandbox.write("etc-hosts", &direct.hosts.iter().map(line).collect::<String>())?;
        Ok(sandbox)
    }

    /// Whether a sandbox has this program.
    pub fn has(program: &str) -> bool {
        env::split_paths(PATH).any(|folder| folder.join(program).is_file())
    }

    /// A command that runs in the sandbox, with an environment of its own: no proxies, no credentials.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.namespace.command("unshare");
        command.args(["--mount", "--propagation", "private", "--", "sh"]);
        command.arg(self.path("enter")).arg(program);
        command.env_clear().env("PATH", PATH).env("HOME", self.path("home"));
        if let Some(ca) = &self.ca {
            // Engines are written in Go, which reads this variable.
            command.env("SSL_CERT_FILE", ca);
        }
        command
    }

    /// The same with `input` on stdin, for secrets.
    pub fn command_with_input(&self, program: impl AsRef<OsStr>, input: &str) -> Result<Command> {
        let file = self.write("home/.stdin", input)?;
        let mut command = self.command(program);
        command.stdin(Stdio::from(fs::File::open(file)?));
        Ok(command)
    }

    /// Writes a file: `lib/…` is `/var/lib`, `run/…` is `/run`, `containers/…` is `/etc/containers`, `home/…` is
    /// `$HOME`, and `etc/…` is `/etc` if the sandbox has its own. The returned path is valid inside and outside the sandbox.
    pub fn write(&self, path: &str, content: &str) -> Result<PathBuf> {
        let path = self.path(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, content)?;
        Ok(path)
    }

    /// The path of a file in the sandbox, valid inside and outside.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// The folder of the sandbox, with all files and logs.
    pub fn root(&self) -> &Path {
        self.root.path()
    }
}
