//! The program as its operator uses it: arguments, output, exit codes and files.

mod client_package;

use docxy_protocol::link::Link;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A separate environment: a state directory, and no variables of the real environment.
struct Machine {
    dir: TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// The same after the first run of a server.
    fn with_state() -> Self {
        let machine = Self::new();
        Server::start(&machine, "").stop();
        std::fs::remove_file(machine.dir.path().join("ready")).expect("the run wrote it");
        machine
    }

    /// The program with these arguments, separated by spaces.
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docxy-server"));
        command
            .args(arguments.split_whitespace())
            .env_clear()
            .env("DOCXY_STATE", self.dir.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().expect("the program starts")
    }

    /// The link that an invitation prints.
    fn invite(&self, arguments: &str) -> Link {
        link(&self.run(&format!("invite {arguments}")))
    }

    fn config(&self, text: &str) -> String {
        let path = self.dir.path().join("server.toml");
        std::fs::write(&path, text).expect("the config file is written");
        path.display().to_string()
    }
}

/// A started server, which ends with the test.
struct Server(Child);

impl Server {
    /// Starts `run` and waits until it listens.
    fn start(machine: &Machine, arguments: &str) -> Self {
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
    fn ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("the server's state") {
                return status;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "the server runs");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ends it as a power cut would.
    fn kill(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("the server ends");
    }

    /// Sends `SIGTERM` and gives what the server said.
    fn stop(mut self) -> Output {
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

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the output is text")
}

fn stderr(output: &Output) -> String {
    text(&output.stderr)
}

/// The link, which is the whole output.
fn link(output: &Output) -> Link {
    assert!(output.status.success(), "{output:?}");
    let stdout = text(&output.stdout);
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    stdout.parse().expect("the output is a link")
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("the file is there").permissions().mode() & 0o777
}

#[test]
fn an_invitation_prints_a_link_and_nothing_else() {
    let machine = Machine::with_state();
    let output = machine.run("invite laptop --public vpn.example.org:443");
    assert_eq!(stderr(&output), "");
    let first = link(&output);
    assert_eq!(first.name.to_string(), "laptop");
    assert_eq!(first.host.as_str(), "vpn.example.org");
    assert_eq!(first.ports, [443]);

    let second = machine.invite("phone --public vpn.example.org");
    assert_eq!(second.ports, [61443]);
    assert_eq!(second.pin, first.pin, "one server has one identity");
    assert_ne!(second.secret, first.secret);
}

#[test]
fn the_state_is_private() {
    let machine = Machine::with_state();
    machine.invite("laptop --public vpn.example.org");
    let mut names = Vec::new();
    for entry in machine.dir.path().read_dir().expect("the state is a directory") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().expect("a name").to_owned());
    }
    for name in ["identity.pem", "clients", "quic.keys"] {
        assert!(names.iter().any(|n| n == name), "{name} is not in {names:?}");
    }
}

#[test]
fn the_address_is_the_flag_then_the_environment_then_the_file() {
    let machine = Machine::with_state();
    let config = machine.config("public = 'from-file.example'\nlisten = ['[::]:1111']");
    let host = |name: &str, variable: Option<&str>, flag: &str| {
        let mut command = machine.command(&format!("invite {name} --config {config} {flag}"));
        command.envs(variable.map(|value| ("DOCXY_PUBLIC", value)));
        let link = link(&command.output().expect("the program starts"));
        (link.host.to_string(), link.ports[0])
    };
    let variable = Some("from-environment.example:2222");
    assert_eq!(host("a", None, ""), ("from-file.example".into(), 1111));
    assert_eq!(host("b", variable, ""), ("from-environment.example".into(), 2222));
    assert_eq!(host("c", variable, "--public from-flag.example"), ("from-flag.example".into(), 1111));
}

#[test]
fn the_public_address_of_run_is_remembered() {
    let machine = Machine::new();
    Server::start(&machine, "--public vpn.example.org:443").stop();
    std::fs::remove_file(machine.dir.path().join("ready")).expect("the first run wrote it");
    Server::start(&machine, "").stop();
    let address = |arguments: &str| machine.invite(arguments).address();
    assert_eq!(address("laptop"), "vpn.example.org:443");
    assert_eq!(address("phone --public other.example.org:444"), "other.example.org:444");
    assert_eq!(address("tablet"), "vpn.example.org:443", "an invitation is not remembered");
}

#[test]
fn who_has_the_port_is_named() {
    let (machine, other) = (Machine::new(), Machine::new());
    let server = Server::start(&machine, "");
    let address = std::fs::read_to_string(machine.dir.path().join("ready")).expect("its address");
    let output = other.run(&format!("run --listen {}", address.trim()));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains(&format!("docxy-server (process {})", server.id())),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_name_is_invited_once_until_it_is_revoked() {
    let machine = Machine::with_state();
    let first = machine.invite("laptop --public vpn.example.org");
    let again = machine.run("invite laptop --public vpn.example.org");
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(text(&again.stdout), "");
    assert!(stderr(&again).contains("docxy-server revoke laptop"), "{}", stderr(&again));

    assert!(machine.run("revoke laptop").status.success());
    let second = machine.invite("laptop --public vpn.example.org");
    assert_ne!(first.secret, second.secret);
}

#[test]
fn revoke_reports_what_it_did() {
    let machine = Machine::with_state();
    for name in ["laptop", "phone"] {
        machine.invite(&format!("{name} --public vpn.example.org"));
    }
    let unknown = format!(
        "no client named nobody in {}/clients; active clients: phone\n",
        machine.dir.path().display()
    );
    for (arguments, code, words) in [
        ("revoke laptop", 0, "laptop is revoked;"),
        ("revoke laptop", 0, "laptop is revoked already, since 20"),
        ("revoke nobody", 1, &unknown),
    ] {
        let output = machine.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments}");
        assert_eq!(text(&output.stdout), "");
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
}

#[test]
fn clients_are_listed_for_people_and_for_programs() {
    let machine = Machine::with_state();
    let empty = machine.run("clients");
    assert!(empty.status.success());
    assert_eq!(text(&empty.stdout), "");
    assert!(stderr(&empty).contains(&machine.dir.path().display().to_string()));

    machine.invite("laptop --public vpn.example.org");
    machine.invite("phone --public vpn.example.org");
    machine.run("revoke phone");
    let table = text(&machine.run("clients").stdout);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0].join(" "), "NAME SINCE LAST SEEN CONNECTED DOWN UP STATE");
    assert_eq!((lines[1][0], lines[1][2], lines[1].last()), ("laptop", "never", Some(&"active")));
    assert_eq!((lines[2][0], lines[2].last()), ("phone", Some(&"revoked")));

    let json = machine.run("clients --json").stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).expect("the output is JSON");
    assert_eq!(json[0]["name"], "laptop");
    assert_eq!(json[0]["sent"], 0);
    assert_eq!(json[1]["state"], "revoked");
}

#[test]
fn misuse_and_failure_have_different_exit_codes() {
    let machine = Machine::new();
    for (arguments, code) in [
        ("", 0),
        ("serve", 2),
        ("invite", 2),
        ("invite lap/top", 2),
        ("invite laptop --public https://host", 2),
        ("invite laptop --public -", 2),
        ("invite laptop --public 0.0.0.0", 2),
        ("run --listen nonsense", 2),
        ("run --log =nonsense=", 2),
        ("run --log loud", 2),
        ("run --fixed-rate-limit 200", 2),
        ("clients --config /nonexistent.toml", 1),
        ("--help", 0),
        ("--version", 0),
    ] {
        assert_eq!(machine.run(arguments).status.code(), Some(code), "{arguments}");
    }
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let machine = Machine::with_state();
    let mut command = machine.command("invite laptop --public vpn.example.org");
    for name in ["CONFIG", "CLIENTS_FILE", "LISTEN"] {
        command.env(format!("DOCXY_{name}"), "");
    }
    link(&command.output().expect("the program starts"));
    let mut command = machine.command("run --listen 127.0.0.1:0 --config /nonexistent.toml");
    for name in ["PUBLIC", "FIXED_RATE_LIMIT", "CLIENT_MAX_RATE", "HANDOVER", "TLS_KEY", "LOG", "READY_FILE"]
    {
        command.env(format!("DOCXY_{name}"), "");
    }
    // Misuse would be 2.
    assert_eq!(command.output().expect("the program starts").status.code(), Some(1));
}

#[test]
fn with_a_wrong_config_file_the_server_exits_and_names_the_line() {
    let machine = Machine::new();
    let config = machine.config("listen = ['[::1]:0']\nlisten_on = 'x'");
    let output = machine.run(&format!("run --config {config}"));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("server.toml, line 2: "), "{}", stderr(&output));
}

#[test]
fn the_first_start_writes_a_link_that_is_not_in_the_log() {
    let machine = Machine::new();
    let output = Server::start(&machine, "--public vpn.example.org:443").stop();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout), "");
    let path = machine.dir.path().join("default.link");
    assert_eq!(mode(&path), 0o600);
    let link: Link = std::fs::read_to_string(&path).expect("a link").parse().expect("a link");
    assert_eq!(link.name.to_string(), "default");
    let log = stderr(&output);
    assert!(!log.is_empty() && !log.contains("docxy://"), "{log}");
    assert!(!log.contains('\u{1b}'), "no colours in a journal: {log:?}");

    std::fs::remove_file(&path).expect("the link is there");
    Server::start(&machine, "--public vpn.example.org:443").stop();
    assert!(!path.exists(), "the second start makes no link");
}

#[test]
fn a_first_start_without_a_public_port_makes_no_client() {
    let machine = Machine::new();
    // The system chooses the port to listen on, so a link to it would soon be wrong.
    Server::start(&machine, "--public vpn.example.org").stop();
    assert_eq!(text(&machine.run("clients --json").stdout).trim(), "[]");
}

#[test]
fn without_a_command_it_says_what_comes_next() {
    let machine = Machine::new();
    let next = || text(&machine.run("").stdout).lines().last().expect("a line").to_owned();
    // Where the package is installed, its unit is started.
    let is_start = |next: &str| next.contains("docxy-server run") || next.contains("systemctl");
    assert!(is_start(&next()) && !machine.dir.path().join("identity.pem").exists(), "{}", next());
    let server = Server::start(&machine, "--public vpn.example.org:443");
    assert_eq!(next(), "next: docxy-server invite NAME");
    server.stop();
    assert!(is_start(&next()), "{}", next());
}

#[test]
fn invite_works_while_a_server_runs() {
    let machine = Machine::new();
    let server = Server::start(&machine, "--public vpn.example.org:443");
    let link = machine.invite("laptop --public vpn.example.org:443");
    let first = std::fs::read_to_string(machine.dir.path().join("default.link")).expect("a link");
    assert_eq!(first.parse::<Link>().expect("a link").pin, link.pin);
    assert!(server.stop().status.success());
}

#[test]
fn without_a_flag_commands_change_the_clients_file_that_the_server_reads() {
    let (machine, shared) = (Machine::with_state(), tempfile::tempdir().expect("a temporary directory"));
    machine.invite("of-one-server --public vpn.example.org");
    let clients_file = format!("--clients-file {}", shared.path().join("clients").display());
    let server = Server::start(&machine, &clients_file);
    machine.invite("laptop --public vpn.example.org");
    assert!(machine.run("revoke laptop").status.success());
    let states = |arguments: &str| {
        let json = machine.run(arguments).stdout;
        let json: serde_json::Value = serde_json::from_slice(&json).expect("the output is JSON");
        let rows = json.as_array().expect("an array").clone();
        rows.iter().map(|row| format!("{} {}", row["name"], row["state"])).collect::<Vec<_>>()
    };
    let expected = [r#""laptop" "revoked""#];
    assert_eq!(states("clients --json"), expected);
    assert_eq!(states(&format!("clients --json {clients_file}")), expected);
    assert!(server.stop().status.success());
    // A server that is stopped reads it at its next start.
    assert_eq!(states("clients --json"), expected);
    std::fs::remove_file(machine.dir.path().join("ready")).expect("the first run wrote it");
    Server::start(&machine, "").stop();
    assert_eq!(states("clients --json"), [r#""of-one-server" "active""#]);
}

#[test]
fn another_clients_file_than_the_server_s_is_refused() {
    let (machine, shared) = (Machine::new(), tempfile::tempdir().expect("a temporary directory"));
    let flag = |name: &str| format!("--clients-file {}", shared.path().join(name).display());
    Server::start(&machine, &flag("right")).stop();
    for command in ["invite laptop --public vpn.example.org", "revoke laptop", "clients"] {
        let output = machine.run(&format!("{command} {}", flag("wrong")));
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(stderr(&output).contains("leave out --clients-file"), "{}", stderr(&output));
    }
    machine.invite(&format!("laptop --public vpn.example.org {}", flag("right")));
    assert!(!shared.path().join("wrong").exists());
}

#[test]
fn a_clients_file_that_was_lost_is_not_begun_anew() {
    for clients_file in ["", "shared/clients"] {
        let machine = Machine::new();
        let directory = machine.dir.path();
        std::fs::create_dir(directory.join("shared")).expect("a directory");
        let file = directory.join(if clients_file.is_empty() { "clients" } else { clients_file });
        let flag = if clients_file.is_empty() {
            String::new()
        } else {
            format!("--clients-file {}", file.display())
        };
        let server = Server::start(&machine, &flag);
        // Until the first invitation, the file may be missing.
        machine.invite("laptop --public vpn.example.org");
        assert!(server.stop().status.success());
        std::fs::remove_file(&file).expect("it is there");
        if !clients_file.is_empty() {
            // As where its file system is not mounted.
            std::fs::remove_dir_all(directory.join("shared")).expect("it is there");
        }
        let run = format!("run --listen 127.0.0.1:0 {flag}");
        for command in ["invite phone --public vpn.example.org", "revoke laptop", "clients", &run] {
            let output = machine.run(command);
            assert_eq!(output.status.code(), Some(1), "{command}");
            assert!(stderr(&output).contains("restore it from a backup"), "{}", stderr(&output));
            assert!(!file.exists(), "{command}");
        }
        std::fs::create_dir_all(directory.join("shared")).expect("a directory");
        std::fs::remove_file(directory.join("clients.known")).expect("it is there");
        machine.invite("phone --public vpn.example.org");
    }
}

#[test]
fn a_clients_file_behind_a_symbolic_link_is_changed_where_it_is() {
    let (machine, shared) = (Machine::with_state(), tempfile::tempdir().expect("a temporary directory"));
    let (link, target) = (machine.dir.path().join("clients"), shared.path().join("clients"));
    std::os::unix::fs::symlink(&target, &link).expect("the link is made");
    machine.invite("laptop --public vpn.example.org");
    assert!(machine.run("revoke laptop").status.success());
    assert!(link.is_symlink());
    assert_eq!(mode(&target), 0o600);
    assert!(std::fs::read_to_string(&target).expect("the file").contains("revoked = "));
    assert!(shared.path().join("clients.lock").exists(), "users of either path have one lock");
}

#[test]
fn commands_beside_run_make_no_state() {
    let machine = Machine::new();
    let directory = machine.dir.path().join("typo");
    for command in ["invite laptop --public vpn.example.org", "clients", "revoke laptop"] {
        for clients_file in
            [String::new(), format!(" --clients-file {}/clients", machine.dir.path().display())]
        {
            let output = machine.run(&format!("{command} --state {}{clients_file}", directory.display()));
            assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()), "{command}");
            assert!(stderr(&output).contains(&directory.display().to_string()), "{}", stderr(&output));
        }
    }
    assert_eq!(machine.dir.path().read_dir().expect("a directory").count(), 0, "nothing is left");
}

#[test]
fn a_lost_key_is_not_replaced() {
    let machine = Machine::with_state();
    machine.invite("laptop --public vpn.example.org");
    let key = machine.dir.path().join("identity.pem");
    let content = std::fs::read(&key).expect("the key");
    std::fs::remove_file(&key).expect("it is there");
    for arguments in ["invite phone --public vpn.example.org", "run --listen 127.0.0.1:0"] {
        let output = machine.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments}");
        assert!(stderr(&output).contains("restore it from a backup"), "{}", stderr(&output));
        assert!(!key.exists(), "{arguments}");
    }
    assert!(machine.run("revoke laptop").status.success());
    std::fs::write(&key, content).expect("it is restored");
    Server::start(&machine, "").stop();
}

#[test]
fn an_emptied_clients_file_is_an_error_that_says_what_to_do() {
    let machine = Machine::with_state();
    machine.invite("laptop --public vpn.example.org");
    std::fs::write(machine.dir.path().join("clients"), "").expect("the file is emptied");
    for arguments in
        ["clients", "revoke laptop", "invite phone --public vpn.example.org", "run --listen 127.0.0.1:0"]
    {
        let output = machine.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments}");
        assert!(stderr(&output).contains("restore it from a backup"), "{}", stderr(&output));
    }
}

#[test]
fn a_second_server_on_the_same_state_exits_and_names_the_first() {
    let machine = Machine::new();
    let mut first = Server::start(&machine, "--public vpn.example.org:443");
    let ready = machine.dir.path().join("ready");
    let address = std::fs::read_to_string(&ready).expect("the first one's address");
    let mut second = machine.command("run --listen 127.0.0.1:0");
    let second = second.arg("--ready-file").arg(&ready).stderr(Stdio::piped()).spawn();
    let mut second = Server(second.expect("the program starts"));
    assert_eq!(second.ended().code(), Some(1));
    let mut output = String::new();
    let stderr = second.0.stderr.as_mut().expect("stderr is piped");
    std::io::Read::read_to_string(stderr, &mut output).expect("the server's output");
    assert!(output.contains(&format!("process {}", first.id())) && output.contains("--state"), "{output}");
    assert!(output.contains(&machine.dir.path().display().to_string()), "{output}");
    assert_eq!(first.0.try_wait().expect("the server's state"), None, "the first one runs");
    assert_eq!(std::fs::read_to_string(&ready).expect("it is still there"), address);

    // The other commands are not in its way.
    machine.invite("laptop --public vpn.example.org:443");
    for arguments in ["clients", "revoke laptop"] {
        assert!(machine.run(arguments).status.success(), "{arguments}");
    }
    // The kernel releases the lock, however the process ends.
    first.kill();
    std::fs::remove_file(&ready).expect("it is there");
    assert!(Server::start(&machine, "").stop().status.success());
}
