//! `docxy-client run` as a process, and the commands beside it.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::Result;

use super::{Launch, program::Program, variant};
use crate::{
    net::Namespace,
    process::{Finished, PROCESS_TIMEOUT, Process, run},
};

/// A running `docxy-client run`.
#[derive(Debug)]
pub struct Client {
    process: Process,
    address: SocketAddr,
    pub(super) program: Program,
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
        self.start_command_as(&Launch::default(), arguments)
    }

    /// The same with these launch settings.
    pub fn start_command_as(&self, launch: &Launch, arguments: &[&str]) -> Result<Process> {
        let command = launch.apply(self.beside(arguments));
        Process::spawn_with("command", command, self.program.folder.path(), launch.streams()?)
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
