//! `docxy-server run` as a process, and the commands beside it.

use std::{
    fs::{self, File},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitStatus,
};

use anyhow::Result;

use super::{Launch, ServerConfig, port, program::Program};
use crate::{
    net::Namespace,
    process::{Finished, PROCESS_TIMEOUT, Process, run},
};

/// The server's status file in its folder.
pub(super) const STATUS_FILE: &str = "status.json";

/// A running `docxy-server`. Its state survives a restart, and is deleted when this is dropped.
#[derive(Debug)]
pub struct Server {
    // Dropped before the folder, to which it writes until it has ended.
    process: Process,
    address: SocketAddr,
    pub(super) program: Program,
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

/// A link as `docxy-server invite` prints it, without its checksum: a test may change parts of it.
pub fn without_sum(link: &str) -> String {
    link.split("&sum=").next().unwrap_or_default().trim().to_owned()
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
