//! The program as its user runs it: arguments, output, exit codes, files.

use docxy_protocol::link::Link;
use std::io::Write as _;
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
            // As from systemd, since tests that run as root must not touch /etc or /var.
            .env("CONFIGURATION_DIRECTORY", self.dir.path().join("config"))
            .env("CACHE_DIRECTORY", self.dir.path().join("cache"))
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

    /// The links that were kept.
    fn links(&self) -> Vec<Link> {
        let text = std::fs::read_to_string(self.links_file()).expect("there are links");
        text.lines().filter(|line| !line.starts_with('#')).map(|line| line.parse().expect("a link")).collect()
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

/// That a run ended well and gave nothing away; what it said.
fn joined(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout), "");
    let said = stderr(output);
    assert!(!said.contains(&SECRET[..8]), "{said}");
    said
}

#[test]
fn a_link_is_taken_from_wherever_it_comes_and_kept_for_its_owner_alone() {
    let from_argument = |machine: &Machine| machine.run(&format!("join {}", link("laptop")));
    let from_file = |machine: &Machine| {
        machine.file("my-link", &format!("# from the operator\n{}\n", link("laptop")));
        machine.run("join --link-file my-link")
    };
    let from_stdin = |machine: &Machine| machine.run_with_input("join", &format!("{}\n", link("laptop")));
    let from_variable = |machine: &Machine| {
        let mut command = machine.command("join");
        command.env("DOCXY_LINK", link("laptop")).output().expect("the program starts")
    };
    let ways: [&dyn Fn(&Machine) -> Output; 4] = [&from_argument, &from_file, &from_stdin, &from_variable];
    for way in ways {
        let machine = Machine::new();
        let said = joined(&way(&machine));
        assert!(said.contains("joined vpn.example.org as laptop"), "{said}");
        assert!(said.contains("docxy-client run"), "{said}");
        assert_eq!(machine.links(), [link("laptop").parse().expect("a link")]);
        let path = machine.links_file();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().expect("a directory")), 0o700);
    }
}

#[test]
fn several_servers_may_be_joined_and_each_of_them_once() {
    let machine = Machine::new();
    let other = link("laptop").replace("vpn", "other").replace(PIN, &PIN.replace('I', "J"));
    joined(&machine.run_with_input("join", &format!("{}\n{other}\n", link("laptop"))));
    let said = joined(&machine.run_with_input("join", &link("phone")));
    assert!(said.contains("instead of the link that was there before"), "{said}");
    let names: Vec<String> = machine.links().iter().map(|l| format!("{}@{}", l.name, l.host)).collect();
    assert_eq!(names, ["phone@vpn.example.org", "laptop@other.example.org"]);
}

#[test]
fn a_damaged_link_is_refused_and_not_quoted() {
    let machine = Machine::new();
    let damaged = link("laptop").replace("?pin", "&pin");
    for output in
        [machine.run(&format!("join {damaged}")), machine.run_with_input("join", &format!("\n{damaged}"))]
    {
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(said.contains("the link has no pin"), "{said}");
        assert!(!said.contains(&SECRET[..8]), "{said}");
        assert!(!machine.links_file().exists());
    }
}

#[test]
fn a_link_in_the_wrong_place_is_not_quoted_either() {
    let machine = Machine::new();
    for (arguments, code) in
        [("", 2), ("run", 2), ("pull", 2), ("join x", 2), ("run --config", 2), ("run --link-file", 1)]
    {
        let output = machine.run(&format!("{arguments} {}", link("laptop")));
        assert_eq!(output.status.code(), Some(code), "{arguments}");
        let said = stderr(&output);
        assert!(!said.contains(&SECRET[..8]), "{said}");
        assert!(said.contains("`docxy-client join`"), "{said}");
    }
}

#[test]
fn without_a_link_the_commands_say_how_to_get_one() {
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
fn listening_for_other_machines_is_refused_unless_it_is_meant() {
    let machine = Machine::new();
    joined(&machine.run_with_input("join", &link("laptop")));
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:5080"] {
        let output = machine.run(&format!("run --listen 127.0.0.1:0 --listen {listen}"));
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(said.contains("can be reached from other machines"), "{said}");
        assert!(said.contains("--allow-remote"), "{said}");
    }
}

#[test]
fn it_listens_before_there_is_a_tunnel_and_ends_when_told() {
    let machine = Machine::new();
    machine.file("link", &link("laptop").replace("vpn.example.org:61443", "127.0.0.1:9"));
    let ready = machine.file("ready", "an address of yesterday");
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
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill starts");
    assert!(sent.success());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "");
    let log = stderr(&output);
    assert!(log.contains(&format!("listening on http://{address}")), "{log}");
    assert!(!log.contains(&SECRET[..8]) && !log.contains('\u{1b}'), "{log}");
}

#[test]
fn an_image_that_is_there_is_not_overwritten() {
    let machine = Machine::new();
    joined(&machine.run_with_input("join", &link("laptop")));
    let path = machine.file("alpine-latest.tar", "precious");
    let output = machine.run("pull alpine");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("alpine-latest.tar exists already"), "{}", stderr(&output));
    assert_eq!(std::fs::read(path).expect("the file is there"), b"precious");
}

#[test]
fn how_to_send_may_stand_in_the_environment_and_a_mistake_there_is_told() {
    let machine = Machine::new();
    let run = |how: &str| {
        let mut command = machine.command("run --listen 127.0.0.1:0");
        command.env("DOCXY_CONGESTION", how).output().expect("the program starts")
    };
    let wrong = run("95 Mbit/s");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("rates as in down=95Mbit/s,up=20Mbit/s"), "{}", stderr(&wrong));
    // The next thing to be missed is a link.
    let right = run("down=95 Mbit/s");
    assert_eq!(right.status.code(), Some(1));
    assert!(stderr(&right).contains("docxy-client join"), "{}", stderr(&right));
}

#[test]
fn misuse_is_told_apart_from_failure() {
    let machine = Machine::new();
    for (arguments, code) in [
        ("", 2),
        ("serve", 2),
        ("run --listen nonsense", 2),
        ("run --log =nonsense=", 2),
        ("run --congestion fast", 2),
        ("pull alpine --congestion down=95", 2),
        ("pull", 2),
        ("pull ALPINE", 2),
        ("pull alpine --platform linux", 2),
        ("run --config /nonexistent.toml", 1),
        ("--help", 0),
        ("--version", 0),
    ] {
        assert_eq!(machine.run(arguments).status.code(), Some(code), "{arguments}");
    }
}
