//! How `run` starts, or why it does not, and the exit codes of all commands.

use crate::machine::{Machine, Server, link, mode, stderr, text};
use docxy_protocol::link::Link;
use std::process::Stdio;

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
