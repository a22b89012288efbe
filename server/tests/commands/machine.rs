//! A machine with the program, and a server that runs on it.

use docxy_protocol::link::Link;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A separate environment: a state directory, and no variables of the real environment.
pub(crate) struct Machine {
    pub(crate) dir: TempDir,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// The same after the first run of a server.
    pub(crate) fn with_state() -> Self {
        let machine = Self::new();
        Server::start(&machine, "").stop();
        std::fs::remove_file(machine.dir.path().join("ready")).expect("the run wrote it");
        machine
    }

    /// The program with these arguments, separated by spaces.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docxy-server"));
        command
            .args(arguments.split_whitespace())
            .env_clear()
            .env("DOCXY_STATE", self.dir.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().expect("the program starts")
    }

    /// The link that an invitation prints.
    pub(crate) fn invite(&self, arguments: &str) -> Link {
        link(&self.run(&format!("invite {arguments}")))
    }

    pub(crate) fn config(&self, text: &str) -> String {
        let path = self.dir.path().join("server.toml");
        std::fs::write(&path, text).expect("the config file is written");
        path.display().to_string()
    }
}

/// A started server, which ends with the test.
pub(crate) struct Server(pub(crate) Child);

impl Server {
    /// Starts `run` and waits until it listens.
    pub(crate) fn start(machine: &Machine, arguments: &str) -> Self {
        let ready = machine.dir.path().join("ready");
        let mut command = machine.command(&format!("run --listen 127.0.0.1:0 {arguments}"));
        command.arg("--ready-file").arg(&ready).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut server = Self(command.spawn().expect("the program starts"));
        let started = Instant::now();
        while !ready.exists() {
            let ended = server.0.try_wait().expect("the server's state");
            assert_eq!(ended, None, "the server has ended");
            assert!(started.elapsed() < Duration::from_secs(20), "the server does not get ready");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// How it ends, which must be soon.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("the server's state") {
                return status;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "the server runs");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("the server ends");
    }

    /// Sends `SIGTERM` and gives what the server said.
    pub(crate) fn stop(mut self) -> Output {
        // The shell's own `kill`: a minimal Debian has no other.
        let kill = format!("kill -s TERM {}", self.0.id());
        let sent = Command::new("sh").args(["-c", &kill]).status().expect("sh starts");
        assert!(sent.success());
        let status = self.0.wait().expect("the server ends");
        let read = |pipe: &mut dyn std::io::Read| {
            let mut all = Vec::new();
            pipe.read_to_end(&mut all).expect("the server's output");
            all
        };
        let stdout = read(self.0.stdout.as_mut().expect("stdout is piped"));
        let stderr = read(self.0.stderr.as_mut().expect("stderr is piped"));
        Output { status, stdout, stderr }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Of no effect if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the output is text")
}

pub(crate) fn stderr(output: &Output) -> String {
    text(&output.stderr)
}

/// The link, which is the whole output.
pub(crate) fn link(output: &Output) -> Link {
    assert!(output.status.success(), "{output:?}");
    let stdout = text(&output.stdout);
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    stdout.parse().expect("the output is a link")
}

pub(crate) fn mode(path: &Path) -> u32 {
    path.metadata().expect("the file is there").permissions().mode() & 0o777
}
