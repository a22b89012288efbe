//! README's user part, command by command: the `sh` blocks of "1. The server", "2. The client" and "3. The engine", in
//! order, as a reader types them on two machines. Blocks of ` ```sh install ` are skipped: a test installs nothing.
//! Must never skip another command: one without a policy fails.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use docxy_tests::{
    engine::{DockerStore, Dockerd, Sandbox},
    net::{Lab, Namespace},
    process::{PROCESS_TIMEOUT, Process, binary, run, scratch},
    stand_in::StandIn,
};
use hub_stand_in::Listen;
use tempfile::TempDir;

/// How a command is run.
enum Policy {
    /// On the server, to its end.
    Server,
    /// On the server, in the background, as soon as it listens on this port.
    ServerRuns(u16),
    /// On the laptop, to its end.
    Laptop,
    /// On the laptop, in the background, as soon as it listens on this port.
    LaptopRuns(u16),
    /// On the laptop, with a new link on stdin.
    LaptopWithLink,
    /// On the laptop, with the password of the accounts on stdin.
    LaptopWithPassword,
}

/// The policies, by the first words of a command without `sudo`. The first that fits counts.
const POLICIES: &[(&str, Policy)] = &[
    (SERVER_RUN, Policy::ServerRuns(61443)),
    ("docxy-server", Policy::Server),
    (CLIENT_RUN, Policy::LaptopRuns(5080)),
    ("docxy-client join", Policy::LaptopWithLink),
    ("docxy-client login", Policy::LaptopWithPassword),
    ("docxy-client", Policy::Laptop),
    ("docker pull", Policy::Laptop),
    ("docker load", Policy::Laptop),
    ("curl http://127.0.0.1:5080", Policy::Laptop),
    // To the server, and with its output a pipe to another command.
    ("ssh", Policy::Laptop),
];

/// What the packages' services run: it is started even if README does not name it.
const SERVER_RUN: &str = "docxy-server run";
const CLIENT_RUN: &str = "docxy-client run";

/// The blocks of the user part. Commands in one of another kind would be overlooked.
const BLOCKS: [&str; 4] = ["sh", "sh install", "toml", "text"];

/// How README's examples call the server.
const SERVER_NAMES: &str = "vpn.example.org HOST";

/// The accounts at the stand-in of Docker Hub, for `docxy-client login -u`.
const USERS: [&str; 2] = ["alice", "me"];
const PASSWORD: &str = "wonderland";

/// A pull over a tunnel that connects at first.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// A command of README, and the line that it begins on.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    number: usize,
    command: String,
}

/// The two machines, and what has been started on them. Dropped in this order: the lab last.
struct Machines {
    running: BTreeMap<&'static str, Process>,
    docker: Dockerd,
    server: Sandbox,
    _hub: StandIn,
    programs: TempDir,
    lab: Lab,
}

#[test]
fn readme_is_followed_command_by_command() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let lines = user_part(&fs::read_to_string(readme).expect("README.md"));
    for section in 1..=3 {
        assert!(lines.contains_key(&section), "no commands in section {section}: {lines:?}");
    }
    let mut machines =
        Machines::new().unwrap_or_else(|error| panic!("cannot set up the machines: {error:?}"));
    // Panics before the machines are dropped, which prints their logs.
    if let Err(error) = machines.follow(&lines.values().flatten().collect::<Vec<_>>()) {
        panic!("{error:?}");
    }
}

#[test]
fn only_sh_blocks_of_numbered_sections_are_commands() {
    let text = "## See\n```sh\nno\n```\n## 1. The server\n```sh install\nno\n```\n```sh\na   # why\n\n# why\nb \\\n  c\n```\n\
                ```toml\nno\n```\n## When\n```sh\nno\n```\n## 2. The client\n```sh\nd | e\n```\n";
    let line = |number, command: &str| Line { number, command: command.to_owned() };
    let expected =
        BTreeMap::from([(1, vec![line(10, "a   # why"), line(13, "b   c")]), (2, vec![line(25, "d | e")])]);
    assert_eq!(user_part(text), expected);
}

/// The commands of each numbered section.
fn user_part(text: &str) -> BTreeMap<u32, Vec<Line>> {
    let (mut section, mut block, mut begun) = (None, None, None::<Line>);
    let mut sections: BTreeMap<u32, Vec<Line>> = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        match (block, line.trim_start().strip_prefix("```")) {
            (None, Some(info)) => {
                let is_known = section.is_none() || BLOCKS.contains(&info);
                assert!(
                    is_known,
                    "README.md, line {number}: is a block of {info:?} typed in? Write sh, or sh install"
                );
                block = Some(info == "sh");
            }
            (Some(_), Some(_)) => block = None,
            (None, None) if line.starts_with("## ") => {
                section = line[3..].split_once(". ").and_then(|(number, _)| number.parse().ok());
            }
            (Some(true), None) => {
                let Some(section) = section else { continue };
                let mut whole = begun.take().unwrap_or(Line { number, command: String::new() });
                whole.command += line.trim_end_matches('\\');
                if line.ends_with('\\') {
                    begun = Some(whole);
                } else if !whole.command.trim().is_empty() && !whole.command.starts_with('#') {
                    sections.entry(section).or_default().push(whole);
                }
            }
            _ => {}
        }
    }
    sections
}

impl Machines {
    fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let accounts = USERS.map(|user| format!("--account={user}:{PASSWORD}"));
        let mut content = vec!["--image=library/alpine", "--image=library/hello-world"];
        content.extend(accounts.iter().map(String::as_str));
        let hub = StandIn::start(Some(&lab.hub), Listen::on(Lab::HUB), &content)?;
        let server = Sandbox::with_own_etc(&lab.abroad)?;
        server.write("etc/docxy/server.toml", &hub.server_config().to_toml()?)?;
        let docker = Dockerd::unconfigured(&lab.laptop, DockerStore::Classic)?;
        let hosts = format!("127.0.0.1 localhost\n{} {SERVER_NAMES}\n", Lab::ABROAD);
        docker.sandbox().write("etc/hosts", &hosts)?;
        let programs = programs()?;
        Ok(Self { running: BTreeMap::new(), docker, server, _hub: hub, programs, lab })
    }

    fn follow(&mut self, lines: &[&Line]) -> Result<()> {
        let names = |program: &str| lines.iter().any(|line| line.command.contains(program));
        if !names(SERVER_RUN) {
            self.start(SERVER_RUN, "docxy-server run --public vpn.example.org", 61443)?;
        }
        for line @ Line { number, command } in lines {
            self.type_in(line).with_context(|| format!("README.md, line {number}: {command}"))?;
            if command.contains("docxy-client join") && !names(CLIENT_RUN) {
                self.start(CLIENT_RUN, CLIENT_RUN, 5080)?;
            }
        }
        // What a reader came for.
        self.docker.pull("alpine").context("docker pull alpine, after all commands of README.md")?;
        Ok(())
    }

    fn type_in(&mut self, Line { number, command: line }: &Line) -> Result<()> {
        let words = line.trim_start_matches("sudo ");
        let policy = POLICIES.iter().find(|(first, _)| words.starts_with(first));
        let (first, policy) =
            policy.context("no policy says how to run this: add one to POLICIES in readme.rs")?;
        let (server, laptop) = (&self.server, self.docker.sandbox());
        match policy {
            Policy::ServerRuns(port) | Policy::LaptopRuns(port) => self.start(first, line, *port),
            Policy::Server => to_end(self.shell(server, line)),
            Policy::Laptop => to_end(self.shell(laptop, line)),
            Policy::LaptopWithLink => {
                let invite = format!("docxy-server invite line-{number} --public vpn.example.org");
                let link = run(self.shell(server, &invite), COMMAND_TIMEOUT)?.succeeded()?;
                to_end(self.shell_with_input(laptop, line, &link)?)
            }
            Policy::LaptopWithPassword => to_end(self.shell_with_input(laptop, line, PASSWORD)?),
        }
    }

    /// Starts a program, and waits until it listens.
    fn start(&mut self, name: &'static str, line: &str, port: u16) -> Result<()> {
        let (sandbox, namespace): (_, &Namespace) = match name {
            SERVER_RUN => (&self.server, &self.lab.abroad),
            _ => (self.docker.sandbox(), &self.lab.laptop),
        };
        ensure!(!self.running.contains_key(name), "{name} runs already");
        let command = self.shell(sandbox, &format!("exec {line}"));
        let mut process = Process::spawn(&name.replace(' ', "-"), command, sandbox.root())?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        process.wait_for("listen", PROCESS_TIMEOUT, |_| {
            Ok(namespace.connect_error(address)?.is_none().then_some(()))
        })?;
        if name == SERVER_RUN {
            fs::write(self.programs.path().join("server.pid"), process.pid().to_string())?;
        }
        self.running.insert(name, process);
        Ok(())
    }

    /// A shell with our programs first in its PATH, in the user's home.
    fn shell(&self, sandbox: &Sandbox, line: &str) -> Command {
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.programs.path().display());
        let mut command = sandbox.command("sh");
        command.args(["-c", line]).env("PATH", path).current_dir(sandbox.path("home"));
        command
    }

    fn shell_with_input(&self, sandbox: &Sandbox, line: &str, input: &str) -> Result<Command> {
        let file = sandbox.write("home/.stdin", input)?;
        let mut command = self.shell(sandbox, line);
        command.stdin(Stdio::from(fs::File::open(file)?));
        Ok(command)
    }
}

fn to_end(command: Command) -> Result<()> {
    run(command, COMMAND_TIMEOUT)?.succeeded().map(drop)
}

/// The programs that a reader has, in a folder for both machines. `sudo` is for a reader who is no root; `ssh` enters the
/// machine of the running server; and here is no systemd.
fn programs() -> Result<TempDir> {
    let folder = scratch()?;
    for name in ["docxy-server", "docxy-client"] {
        symlink(binary(name)?, folder.path().join(name))?;
    }
    let pid: PathBuf = folder.path().join("server.pid");
    let ssh =
        format!("shift\nexec nsenter --target \"$(cat {})\" --net --mount -- sh -c \"$*\"\n", pid.display());
    let systemctl = "[ \"$*\" = 'reload docker' ] && kill -HUP \"$(cat /run/docker.pid)\"\n";
    for (name, script) in [("sudo", "exec \"$@\"\n"), ("ssh", &ssh), ("systemctl", systemctl)] {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(folder)
}
