//! The program as its user runs it: arguments, output, exit codes, files.

use docxy_protocol::link::Link;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const PIN: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8";

/// A machine of its own: a config directory, and nothing of the real environment.
struct Machine {
    dir: TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// The program with these arguments, separated by spaces.
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docxy-client"));
        command
            .args(arguments.split_whitespace())
            .env_clear()
            // As systemd sets them, since tests that run as root must not use /etc, /var or /run.
            .env("CONFIGURATION_DIRECTORY", self.dir.path().join("config"))
            .env("CACHE_DIRECTORY", self.dir.path().join("cache"))
            .env("RUNTIME_DIRECTORY", self.dir.path().join("run"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().expect("the program starts")
    }

    fn run_with_input(&self, arguments: &str, input: &str) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        stdin.write_all(input.as_bytes()).expect("the program reads");
        drop(stdin);
        child.wait_with_output().expect("the program ends")
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("the file is written");
        path
    }

    fn links_file(&self) -> PathBuf {
        self.dir.path().join("config/links")
    }

    /// The stored links.
    fn links(&self) -> Vec<Link> {
        let text = std::fs::read_to_string(self.links_file()).expect("there are links");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.split(' ').next().expect("a word").parse().expect("a link")).collect()
    }
}

fn link(name: &str) -> String {
    format!("docxy://{name}:{SECRET}@vpn.example.org:61443?pin={PIN}")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the output is text")
}

fn stderr(output: &Output) -> String {
    text(&output.stderr)
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("it is there").permissions().mode() & 0o777
}

/// Checks that a run succeeded and printed no secret. Returns its messages.
fn joined(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout), "");
    let messages = stderr(output);
    assert!(!messages.contains(&SECRET[..8]), "{messages}");
    messages
}

#[test]
fn a_link_from_any_source_is_stored_for_its_owner_only() {
    let from_argument = |machine: &Machine| machine.run(&format!("join --offline {}", link("laptop")));
    let from_file = |machine: &Machine| {
        machine.file("my-link", &format!("# from the operator\n{}\n", link("laptop")));
        machine.run("join --offline --link-file my-link")
    };
    let from_stdin =
        |machine: &Machine| machine.run_with_input("join --offline", &format!("{}\n", link("laptop")));
    let from_variable = |machine: &Machine| {
        let mut command = machine.command("join --offline");
        command.env("DOCXY_LINK", link("laptop")).output().expect("the program starts")
    };
    let sources: [&dyn Fn(&Machine) -> Output; 4] = [&from_argument, &from_file, &from_stdin, &from_variable];
    for source in sources {
        let machine = Machine::new();
        let messages = joined(&source(&machine));
        assert!(messages.contains("joined vpn.example.org:61443 as laptop"), "{messages}");
        assert!(messages.contains("docxy-client run"), "{messages}");
        assert_eq!(machine.links(), [link("laptop").parse().expect("a link")]);
        let path = machine.links_file();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().expect("a directory")), 0o700);
    }
}

#[test]
fn each_server_has_one_link() {
    let machine = Machine::new();
    let other = link("laptop").replace("vpn", "other").replace(PIN, &PIN.replace('I', "J"));
    joined(&machine.run_with_input("join --offline", &format!("{}\n{other}\n", link("laptop"))));
    let messages = joined(&machine.run_with_input("join --offline", &link("phone")));
    assert!(messages.contains("instead of the link that was there before"), "{messages}");
    let names: Vec<String> = machine.links().iter().map(|l| format!("{}@{}", l.name, l.host)).collect();
    assert_eq!(names, ["phone@vpn.example.org", "laptop@other.example.org"]);
}

#[test]
fn links_are_listed_with_their_trust_and_removed_by_host() {
    let machine = Machine::new();
    for arguments in ["links", "links trust vpn.example.org", "links remove vpn.example.org"] {
        let output = machine.run(arguments);
        assert_eq!(output.status.success(), arguments == "links", "{arguments}");
        assert_eq!(text(&output.stdout), "", "{arguments}");
        assert!(!machine.dir.path().join("config").exists(), "{arguments} has made it");
    }
    let other = link("laptop").replace("vpn", "other");
    joined(&machine.run_with_input("join --offline", &format!("{}\n{other}\n", link("laptop"))));
    let list = || text(&machine.run("links").stdout);
    let (first, second) = ("vpn.example.org:61443 laptop trusted\n", "other.example.org:61443 laptop ");
    assert_eq!(list(), format!("{first}{second}untrusted\n"));
    joined(&machine.run_with_input("join --offline --trusted", &other));
    assert_eq!(list(), format!("{first}{second}trusted\n"));
    joined(&machine.run_with_input("join --offline", &other.replace(PIN, &PIN.replace('I', "J"))));
    assert_eq!(list(), format!("{first}{second}untrusted\n"), "with another key");
    joined(&machine.run("links trust other.example.org"));
    assert_eq!(list(), format!("{first}{second}trusted\n"));
    assert_eq!(machine.run("links remove nowhere.example").status.code(), Some(1));
    assert_eq!(machine.run("links remove VPN.example.org").status.code(), Some(0));
    assert_eq!(list(), format!("{second}trusted\n"));
    joined(&machine.run(&format!("links remove {other}")));
    assert_eq!(list(), "");
}

#[test]
fn a_file_of_links_keeps_the_trust_of_each() {
    let machine = Machine::new();
    let lines = ["vpn untrusted", "b trusted", "c"].map(|line| {
        let (host, word) = line.split_once(' ').unwrap_or((line, ""));
        format!("{} {word}\n", link("laptop").replace("vpn", host))
    });
    machine.file("copied", &lines.concat());
    joined(&machine.run("join --offline --link-file copied"));
    let list = text(&machine.run("links").stdout);
    let trust: Vec<_> = list.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(trust, ["untrusted", "trusted", "untrusted"]);
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let machine = Machine::new();
    let mut command = machine.command("run --listen 127.0.0.1:0");
    for name in
        ["CONFIG", "LINK", "LEG", "MAX_RATE", "CONGESTION", "LOG", "PATIENCE", "CACHE", "LISTEN", "HOST"]
    {
        command.env(format!("DOCXY_{name}"), "");
    }
    let output = command.output().expect("the program starts");
    // The next error is the missing link.
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("docxy-client join"), "{}", stderr(&output));
}

#[test]
fn a_pull_says_why_it_waits_for_the_tunnel() {
    let machine = Machine::new();
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = address.expect("a port").to_string();
    joined(
        &machine.run_with_input("join --offline", &link("laptop").replace("vpn.example.org:61443", &address)),
    );
    let mut command = machine.command("pull alpine --leg tcp");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
    // The last line is the error, with the same reason.
    let is_told = lines
        .map_while(Result::ok)
        .any(|line| line.contains(&format!("{address}: ")) && !line.starts_with("docxy-client: "));
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
    assert!(is_told);
}

/// Sends a signal with the shell's own `kill`: a minimal Debian has no other.
fn signal(name: &str, process: u32) {
    let kill = format!("kill -s {name} {process}");
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh starts").success());
}

/// As a terminal sends it that closes. With `nohup` it stays ignored.
#[test]
fn a_hangup_ends_a_pull_in_order_unless_it_is_ignored() {
    for is_ignored in [false, true] {
        let machine = Machine::new();
        joined(&machine.run_with_input(
            "join --offline",
            &link("laptop").replace("vpn.example.org:61443", "127.0.0.1:9"),
        ));
        let pull = machine.command("pull alpine --leg quic");
        // Whoever runs the tests may ignore it.
        let disposition = if is_ignored { "--ignore-signal=HUP" } else { "--default-signal=HUP" };
        let mut command = Command::new("env");
        command
            .arg(disposition)
            .arg(pull.get_program())
            .args(pull.get_args())
            .env_clear()
            .current_dir(machine.dir.path());
        command.envs(pull.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        assert!(lines.next().is_some(), "it requests the image");
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask");
        assert_eq!(
            ignored.trim().ends_with(['1', '3', '5', '7', '9', 'b', 'd', 'f']),
            is_ignored,
            "{ignored}"
        );
        signal(if is_ignored { "TERM" } else { "HUP" }, child.id());
        assert_eq!(child.wait().expect("it ends").code(), Some(130), "no signal has killed it");
    }
}

#[test]
fn a_damaged_link_is_refused_and_not_quoted() {
    let machine = Machine::new();
    let damaged = link("laptop").replace("?pin", "&pin");
    for output in [
        machine.run(&format!("join {damaged}")),
        machine.run_with_input("join --offline", &format!("\n{damaged}")),
    ] {
        assert_eq!(output.status.code(), Some(1));
        let messages = stderr(&output);
        assert!(messages.contains("the link has no pin"), "{messages}");
        assert!(!messages.contains(&SECRET[..8]), "{messages}");
        assert!(!machine.links_file().exists());
    }
}

#[test]
fn a_misplaced_link_is_not_quoted() {
    let machine = Machine::new();
    for (arguments, code) in [
        ("", 2),
        ("run", 2),
        ("pull", 2),
        ("join x", 2),
        ("run --config", 2),
        ("run --link-file", 1),
        ("links remove x", 2),
        ("run --host", 1),
    ] {
        let output = machine.run(&format!("{arguments} {}", link("laptop")));
        assert_eq!(output.status.code(), Some(code), "{arguments}");
        let messages = stderr(&output);
        assert!(!messages.contains(&SECRET[..8]), "{messages}");
        assert!(messages.contains("`docxy-client join`"), "{messages}");
    }
}

#[test]
fn without_a_link_the_error_says_how_to_get_one() {
    let machine = Machine::new();
    for command in ["run --listen 127.0.0.1:0", "pull alpine"] {
        let output = machine.run(command);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("run `docxy-client join`"), "{}", stderr(&output));
    }
    let output = machine.run("join");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("there is no link in the input"), "{}", stderr(&output));
}

#[test]
fn listening_beyond_loopback_is_refused_by_default() {
    let machine = Machine::new();
    joined(&machine.run_with_input("join --offline", &link("laptop")));
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:5080"] {
        let output = machine.run(&format!("run --listen :0 --listen localhost:0 --listen {listen}"));
        assert_eq!(output.status.code(), Some(1));
        let messages = stderr(&output);
        assert!(messages.contains("can be reached from other machines"), "{messages}");
        assert!(messages.contains("--allow-remote"), "{messages}");
    }
}

#[test]
fn it_listens_without_a_tunnel_and_ends_at_sigterm() {
    let machine = Machine::new();
    machine.file("link", &link("laptop").replace("vpn.example.org:61443", "127.0.0.1:9"));
    let ready = machine.file("ready", "an old address");
    let mut command = machine.command("run --listen 127.0.0.1:0 --link-file link --ready-file ready");
    let started = Instant::now();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let address = loop {
        assert!(started.elapsed() < Duration::from_secs(20), "the client does not get ready");
        let address = std::fs::read_to_string(&ready).ok().and_then(|text| text.trim().parse().ok());
        match address {
            Some(address) => break address,
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    TcpStream::connect::<SocketAddr>(address).expect("it listens");
    let messages = joined(&machine.run_with_input("join --offline", &link("laptop")));
    assert!(messages.contains(&format!("(process {})", child.id())), "{messages}");
    signal("TERM", child.id());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "");
    let log = stderr(&output);
    assert!(!log.is_empty() && !log.contains(&SECRET[..8]) && !log.contains('\u{1b}'), "{log}");
}

#[test]
fn without_a_command_it_says_what_comes_next() {
    let machine = Machine::new();
    let next = || text(&machine.run("").stdout).lines().last().expect("a line").to_owned();
    assert_eq!(next(), "next: docxy-client join");
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let listen = format!("listen = [\"{}\"]\n", address.expect("a free port"));
    std::fs::create_dir(machine.dir.path().join("config")).expect("a directory");
    machine.file("config/client.toml", &listen);
    machine.file("config/links", &link("laptop"));
    // Where the package is installed, its unit is started.
    assert!(next().contains("docxy-client run") || next().contains("systemctl"), "{}", next());
    machine.file("config/links", "docxy://");
    assert_eq!(next(), "next: docxy-client doctor");
}

#[test]
fn an_existing_image_is_not_overwritten() {
    let machine = Machine::new();
    joined(&machine.run_with_input("join --offline", &link("laptop")));
    let path = machine.file("alpine-latest.tar", "precious");
    let output = machine.run("pull alpine");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("alpine-latest.tar exists already"), "{}", stderr(&output));
    assert_eq!(std::fs::read(path).expect("the file is there"), b"precious");
}

#[test]
fn congestion_in_the_environment_is_checked() {
    let machine = Machine::new();
    let run = |how: &str| {
        let mut command = machine.command("run --listen 127.0.0.1:0");
        command.env("DOCXY_CONGESTION", how).output().expect("the program starts")
    };
    let wrong = run("95 Mbit/s");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("rates as in down=95Mbit/s,up=20Mbit/s"), "{}", stderr(&wrong));
    // The next error is the missing link.
    let right = run("down=95 Mbit/s");
    assert_eq!(right.status.code(), Some(1));
    assert!(stderr(&right).contains("docxy-client join"), "{}", stderr(&right));
}

#[test]
fn misuse_and_failure_have_different_exit_codes() {
    let machine = Machine::new();
    for (arguments, code) in [
        ("", 0),
        ("serve", 2),
        ("run --listen nonsense", 2),
        ("run --log =nonsense=", 2),
        ("run --log loud", 2),
        ("run --listen example.org:5081", 2),
        ("run --congestion fast", 2),
        ("pull alpine --congestion down=95", 2),
        ("pull", 2),
        ("pull ALPINE", 2),
        ("pull alpine busybox -o -", 1),
        ("pull alpine --creds me:hunter2", 2),
        ("login ghcr.io -u me:hunter2", 2),
        ("login ghcr.io", 1),
        ("logout ghcr.io", 1),
        ("pull alpine --platform linux", 2),
        ("run --config /nonexistent.toml", 1),
        ("--help", 0),
        ("--version", 0),
    ] {
        assert_eq!(machine.run(arguments).status.code(), Some(code), "{arguments}");
    }
}

#[test]
fn setup_prints_refuses_writes_and_undoes() {
    let machine = Machine::new();
    let run = |arguments: &str| {
        machine.command(arguments).env("HOME", machine.dir.path()).output().expect("the program starts")
    };
    let printed = run("setup rke2 --print --registry ghcr.io");
    assert!(printed.status.success(), "{printed:?}");
    assert!(text(&printed.stdout).contains("  ghcr.io:\n    endpoint:\n"), "{printed:?}");

    std::fs::create_dir(machine.dir.path().join(".docker")).expect("a directory");
    let path = machine.file(".docker/daemon.json", "{\n  \"debug\": true,\n}\n");
    let refused = run("setup docker-desktop");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(stderr(&refused).contains("daemon.json:3: "), "{refused:?}");

    let before = "{\n  \"debug\": true\n}\n";
    machine.file(".docker/daemon.json", before);
    let done = run("setup docker-desktop");
    assert!(text(&done.stdout).starts_with(&format!("changed {}", path.display())), "{done:?}");
    assert!(std::fs::read_to_string(&path).unwrap().contains("http://host.docker.internal:5080"));
    assert!(run("setup docker-desktop --undo").status.success());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
    assert_eq!(run("setup docker --print --apply").status.code(), Some(2));
}
