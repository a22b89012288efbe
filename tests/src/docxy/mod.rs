//! The real `docxy-server` and `docxy-client` as child processes, in a namespace or on this machine's loopback.
//! Must never use more than flags, files, signals and ports: what a user cannot do, a test cannot do either.

mod footprint;
mod launch;
mod link_bytes;
mod port;
mod report;
mod variant;

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs::{self, File},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result};
pub use footprint::Footprint;
pub use launch::Launch;
pub use link_bytes::content_bytes;
pub use report::{count, exchanges_ended, exchanges_with};
use tempfile::TempDir;

use crate::{
    net::{Namespace, command_in},
    process::{Finished, PROCESS_TIMEOUT, Process, binary, run, scratch},
};

/// The server's status file in its folder.
const STATUS_FILE: &str = "status.json";

/// The file with a proxy's password, beside a config file.
const PROXY_PASSWORD_FILE: &str = "proxy.password";

/// The server's config file.
#[derive(Clone, Debug, Default)]
pub struct ServerConfig {
    /// The listed registries, by name (`docker.io`).
    pub registries: BTreeMap<String, Upstream>,
    /// The addresses of host names for all registries, instead of DNS.
    pub resolve: BTreeMap<String, SocketAddr>,
    /// The highest rate that a client may state; `None` is the default.
    pub fixed_rate_limit: Option<String>,
    /// The `client_max_rate`, if it is set.
    pub client_max_rate: Option<String>,
    /// Whether a tag's previous manifest may be served when the registry fails.
    pub stale: bool,
    /// Whether running transfers are handed back at the first signal.
    pub handover: bool,
    /// The log filter; `None` is the default.
    pub log: Option<String>,
    /// The proxy towards registries.
    pub proxy: Option<ProxyConfig>,
    /// The operator's own certificate and its key.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// The proxy in a config file.
#[derive(Clone, Debug, Default)]
pub struct ProxyConfig {
    /// Its URL, without a password.
    pub url: String,
    /// The password, which goes to a file of its own.
    pub password: Option<String>,
    /// The hosts that it may resolve. Only a server's config has them.
    pub allow_hosts: Vec<String>,
}

/// A registry on the server's list.
#[derive(Clone, Debug, Default)]
pub struct Upstream {
    /// The URL of its API.
    pub api: String,
    /// The certificate authority that the server trusts for it.
    pub ca: PathBuf,
    /// The addresses of its hosts, instead of DNS.
    pub resolve: BTreeMap<String, SocketAddr>,
    /// The operator's account there: user and password.
    pub account: Option<(String, String)>,
}

/// A running `docxy-server`. Its state survives a restart, and is deleted when this is dropped.
#[derive(Debug)]
pub struct Server {
    // Dropped before the folder, to which it writes until it has ended.
    process: Process,
    address: SocketAddr,
    program: Program,
}

/// A running `docxy-client run`.
#[derive(Debug)]
pub struct Client {
    process: Process,
    address: SocketAddr,
    program: Program,
}

impl Server {
    /// Starts a server in `namespace` that listens on `ip`, at a free port.
    pub fn start(namespace: Option<&Namespace>, ip: IpAddr, config: &ServerConfig) -> Result<Self> {
        Self::start_as(&Launch::default(), namespace, ip, config)
    }

    /// The same with these launch settings.
    pub fn start_as(
        launch: &Launch,
        namespace: Option<&Namespace>,
        ip: IpAddr,
        config: &ServerConfig,
    ) -> Result<Self> {
        Self::prepare_and_start(launch, namespace, ip, config, |_| Ok(()))
    }

    /// The same, where its state folder is made by `put` before it starts.
    pub fn start_with(
        namespace: Option<&Namespace>,
        ip: IpAddr,
        config: &ServerConfig,
        put: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        Self::prepare_and_start(&Launch::default(), namespace, ip, config, put)
    }

    /// The same with these launch settings, where its state folder is made by `put` before it starts.
    pub fn prepare_and_start(
        launch: &Launch,
        namespace: Option<&Namespace>,
        ip: IpAddr,
        config: &ServerConfig,
        put: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        let program = Program::new("docxy-server", namespace)?;
        put(&program.path("state"))?;
        config.write(&program.path("server.toml"))?;
        let listen = SocketAddr::new(ip, port::free_port(ip, namespace.is_some())?);
        let (process, address) = run_server(&program, listen, launch)?;
        Ok(Self { process, address, program })
    }

    /// Its config file, which it reloads at `SIGHUP`.
    pub fn config_file(&self) -> PathBuf {
        self.program.path("server.toml")
    }

    /// Writes another config, and makes the server reload it.
    pub fn reload(&mut self, config: &ServerConfig) -> Result<()> {
        config.write(&self.config_file())?;
        self.process.signal("HUP")
    }

    /// Runs `docxy-server check ARGUMENTS` with its config. Returns the result, also if a check failed.
    pub fn check(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = self.program.command();
        command.arg("check").args(arguments).arg("--config").arg(self.config_file());
        command.arg("--state").arg(self.state());
        run(command, PROCESS_TIMEOUT)
    }

    /// The same with any text.
    pub fn reload_text(&mut self, config: &str) -> Result<()> {
        fs::write(self.config_file(), config)?;
        self.process.signal("HUP")
    }

    /// The address that clients dial, on UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `docxy-server invite NAME`. Returns the link, which works at once, without its checksum: tests change parts of it.
    pub fn invite(&self, name: &str) -> Result<String> {
        let public = self.address.to_string();
        Ok(without_sum(&self.command(&["invite", name, "--public", &public])?))
    }

    /// `docxy-server revoke NAME`.
    pub fn revoke(&self, name: &str) -> Result<()> {
        self.command(&["revoke", name]).map(drop)
    }

    /// Runs `docxy-server ARGUMENTS --state …`. Returns its stdout.
    pub fn command(&self, arguments: &[&str]) -> Result<String> {
        self.command_with(&self.state(), arguments)
    }

    /// The same with another state folder.
    pub fn command_with(&self, state: &Path, arguments: &[&str]) -> Result<String> {
        let mut command = self.program.command();
        command.args(arguments).arg("--state").arg(state);
        run(command, PROCESS_TIMEOUT)?.succeeded()
    }

    /// The same with this text as its input. Returns how it ended.
    pub fn command_with_input(&self, arguments: &[&str], input: &str) -> Result<Finished> {
        let file = self.program.path("input");
        fs::write(&file, input)?;
        let mut command = self.program.command();
        command.args(arguments).arg("--state").arg(self.state()).stdin(File::open(&file)?);
        run(command, PROCESS_TIMEOUT)
    }

    /// Its state folder.
    pub fn state(&self) -> PathBuf {
        self.program.path("state")
    }

    /// Stops it by SIGTERM. Returns its exit status.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.stop()
    }

    /// Starts it again after its end, with the same state and port.
    pub fn start_again(&mut self) -> Result<()> {
        (self.process, self.address) = run_server(&self.program, self.address, &Launch::default())?;
        Ok(())
    }

    /// The process, for its memory and for signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl Client {
    /// Starts a client in `namespace` with this link. It listens on 127.0.0.1 at a port that the kernel picks.
    pub fn start(namespace: Option<&Namespace>, link: &str) -> Result<Self> {
        Self::start_with(namespace, link, &[])
    }

    /// The same with further arguments.
    pub fn start_with(namespace: Option<&Namespace>, link: &str, arguments: &[&str]) -> Result<Self> {
        Self::start_as(&Launch::with(arguments), namespace, link)
    }

    /// The same with these launch settings.
    pub fn start_as(launch: &Launch, namespace: Option<&Namespace>, link: &str) -> Result<Self> {
        let program = Program::new("docxy-client", namespace)?;
        let link_file = program.path("link");
        fs::write(&link_file, link)?;
        let mut command = program.command();
        command.args(["run", "--listen", "127.0.0.1:0", "--link-file"]).arg(link_file);
        let (process, address) = program.run(command, launch)?;
        Ok(Self { process, address, program })
    }

    /// Its file of links, which it reloads at `SIGHUP`.
    pub fn link_file(&self) -> PathBuf {
        self.program.path("link")
    }

    /// The address for engines: `127.0.0.1:PORT`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL, for the mirror settings of dockerd and containerd.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Runs `docxy-client ARGUMENTS --link-file …` beside the running client. Returns its stdout.
    pub fn command(&self, arguments: &[&str], timeout: Duration) -> Result<String> {
        run(self.prepare(arguments), timeout)?.succeeded()
    }

    /// The same with this text as its input. Returns how it ended.
    pub fn command_with_input(&self, arguments: &[&str], input: &str) -> Result<Finished> {
        let file = self.program.path("input");
        fs::write(&file, input)?;
        let mut command = self.prepare(arguments);
        command.stdin(File::open(&file)?);
        run(command, PROCESS_TIMEOUT)
    }

    /// Puts a script on the `PATH` of the client and of its commands.
    pub fn install(&self, name: &str, script: &str) -> Result<()> {
        let source = self.program.path("script");
        fs::write(&source, script)?;
        // By another process: this one, which starts others meanwhile, must not have the file open for writing.
        let mut install = Command::new("install");
        install.args(["-D", "-m", "755"]).arg(source).arg(self.program.path("bin").join(name));
        run(install, PROCESS_TIMEOUT)?.succeeded().map(drop)
    }

    /// The same without `--link-file`: this user has joined no link.
    pub fn command_without_link(&self, arguments: &[&str], timeout: Duration) -> Result<String> {
        run(self.beside(arguments), timeout)?.succeeded()
    }

    /// [`command`](Self::command) without waiting for its end.
    pub fn start_command(&self, arguments: &[&str]) -> Result<Process> {
        Process::spawn("command", self.prepare(arguments), self.program.folder.path())
    }

    /// [`command_without_link`](Self::command_without_link) without waiting for its end.
    pub fn start_command_without_link(&self, arguments: &[&str]) -> Result<Process> {
        Process::spawn("command", self.beside(arguments), self.program.folder.path())
    }

    fn prepare(&self, arguments: &[&str]) -> Command {
        let mut command = self.beside(arguments);
        command.arg("--link-file").arg(self.program.path("link"));
        command
    }

    fn beside(&self, arguments: &[&str]) -> Command {
        let mut command = self.program.command();
        // The running client has the variant's settings. A user names none in a command beside it.
        for (name, _) in variant::settings(self.program.name) {
            command.env_remove(name);
        }
        command.args(arguments);
        command
    }

    /// The socket for the commands of its user.
    pub fn socket(&self) -> PathBuf {
        self.program.path("run").join("client.sock")
    }

    /// Stops it by SIGTERM. Returns its exit status.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.stop()
    }

    /// Starts it again after its end, with the same link and cache.
    pub fn start_again(&mut self) -> Result<()> {
        self.start_again_as(&Launch::default())
    }

    /// The same with further arguments.
    pub fn start_again_with(&mut self, arguments: &[&str]) -> Result<()> {
        self.start_again_as(&Launch::with(arguments))
    }

    /// The same with these launch settings.
    pub fn start_again_as(&mut self, launch: &Launch) -> Result<()> {
        let mut command = self.program.command();
        command.args(["run", "--listen", &self.address.to_string(), "--link-file"]);
        command.arg(self.program.path("link"));
        (self.process, self.address) = self.program.run(command, launch)?;
        Ok(())
    }

    /// Its cache folder.
    pub fn cache(&self) -> PathBuf {
        self.program.path("cache")
    }

    /// The process, for its memory and for signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl ServerConfig {
    /// Writes the file, and the passwords of accounts beside it.
    fn write(&self, file: &Path) -> Result<()> {
        for (name, upstream) in &self.registries {
            if let Some((_, password)) = &upstream.account {
                fs::write(file.with_file_name(password_file(name)), format!("{password}\n"))?;
            }
        }
        if let Some(password) = self.proxy.as_ref().and_then(|proxy| proxy.password.as_ref()) {
            fs::write(file.with_file_name(PROXY_PASSWORD_FILE), format!("{password}\n"))?;
        }
        Ok(fs::write(file, self.to_toml()?)?)
    }

    /// The file's text.
    pub fn to_toml(&self) -> Result<String> {
        let mut toml = String::new();
        if let Some(limit) = &self.client_max_rate {
            writeln!(toml, "client_max_rate = {limit:?}")?;
        }
        if let Some(limit) = &self.fixed_rate_limit {
            writeln!(toml, "fixed_rate_limit = {limit:?}")?;
        }
        if let Some(log) = &self.log {
            writeln!(toml, "log = {log:?}")?;
        }
        if self.stale {
            writeln!(toml, "stale = true")?;
        }
        if let Some((certificate, key)) = &self.tls {
            writeln!(toml, "tls_certificate = {certificate:?}\ntls_key = {key:?}")?;
        }
        if self.handover {
            writeln!(toml, "handover = true")?;
        }
        if let Some(proxy) = &self.proxy {
            writeln!(toml, "[proxy]\nurl = {:?}\nallow_hosts = {:?}", proxy.url, proxy.allow_hosts)?;
            if proxy.password.is_some() {
                writeln!(toml, "password_file = {PROXY_PASSWORD_FILE:?}")?;
            }
        }
        for (name, upstream) in &self.registries {
            writeln!(toml, "[registries.{name:?}]")?;
            writeln!(toml, "api = {:?}", upstream.api)?;
            writeln!(toml, "ca = {:?}", upstream.ca)?;
            if let Some((user, _)) = &upstream.account {
                let password = password_file(name);
                writeln!(toml, "account = {{ user = {user:?}, password_file = {password:?} }}")?;
            }
            writeln!(toml, "[registries.{name:?}.resolve]")?;
            toml += &resolve_table(&upstream.resolve);
        }
        writeln!(toml, "[resolve]")?;
        toml += &resolve_table(&self.resolve);
        Ok(toml)
    }
}

/// A link as `docxy-server invite` prints it, without its checksum: a test may change parts of it.
pub fn without_sum(link: &str) -> String {
    link.split("&sum=").next().unwrap_or_default().trim().to_owned()
}

fn password_file(registry: &str) -> String {
    format!("{registry}.password")
}

/// Host names and their addresses, as lines of a table in the config file.
fn resolve_table(hosts: &BTreeMap<String, SocketAddr>) -> String {
    hosts.iter().map(|(host, address)| format!("{host:?} = \"{address}\"\n")).collect()
}

fn run_server(program: &Program, listen: SocketAddr, launch: &Launch) -> Result<(Process, SocketAddr)> {
    let mut command = program.command();
    command.args(["run", "--listen", &listen.to_string()]);
    command.arg("--state").arg(program.path("state"));
    command.arg("--config").arg(program.path("server.toml"));
    command.arg("--status-file").arg(program.path(STATUS_FILE));
    // `invite` adds the port, which is known only once the server listens.
    command.args(["--public", &listen.ip().to_string()]);
    program.run(command, launch)
}

/// One of the two programs, with its namespace and its files.
#[derive(Debug)]
struct Program {
    name: &'static str,
    binary: PathBuf,
    namespace: Option<Namespace>,
    folder: TempDir,
}

impl Program {
    fn new(name: &'static str, namespace: Option<&Namespace>) -> Result<Self> {
        Ok(Self { name, binary: binary(name)?, namespace: namespace.cloned(), folder: scratch()? })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// A command without the developer's environment, except for the log level and the variant's settings.
    fn command(&self) -> Command {
        let mut command = command_in(self.namespace.as_ref(), &self.binary);
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.path("bin").display());
        command.env_clear().env("PATH", path).env("HOME", self.folder.path());
        // What is joined and logged in there is this program's own.
        command.env("CONFIGURATION_DIRECTORY", self.path("config"));
        command.env("DOCXY_CACHE", self.path("cache"));
        // Most tests count what crosses. Those of kept layers set the flag.
        command.env("DOCXY_CACHE_SIZE", "0").envs(variant::settings(self.name));
        // The commands of a client find its socket there, and no others.
        command.env("RUNTIME_DIRECTORY", self.path("run"));
        if let Some(level) = std::env::var_os("DOCXY_LOG") {
            command.env("DOCXY_LOG", level);
        }
        command
    }

    /// Starts `command`, which must accept `--ready-file`, and waits until it listens.
    fn run(&self, mut command: Command, launch: &Launch) -> Result<(Process, SocketAddr)> {
        let ready = self.path("ready");
        // A file of an earlier run would be mistaken for this run's.
        if ready.exists() {
            fs::remove_file(&ready)?;
        }
        command.arg("--ready-file").arg(&ready);
        let (command, streams) = (launch.apply(command), launch.streams()?);
        let mut process = Process::spawn_with(self.name, command, self.folder.path(), streams)?;
        let address = process.wait_for("listen", PROCESS_TIMEOUT, |_| first_address(&ready))?;
        Ok((process, address))
    }
}

/// The first address in a ready file, or `None` while there is no such file. It appears as a whole.
fn first_address(ready: &Path) -> Result<Option<SocketAddr>> {
    if !ready.exists() {
        return Ok(None);
    }
    let content = fs::read_to_string(ready)?;
    let address = content.lines().next().and_then(|line| line.trim().parse().ok());
    Ok(Some(address.with_context(|| format!("no address in the ready file: {content:?}"))?))
}
