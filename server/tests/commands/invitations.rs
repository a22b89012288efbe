//! `invite`, `clients` and `revoke`.

use crate::machine::{Machine, Server, link, mode, stderr, text};
use docxy_protocol::link::Link;

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
fn invite_works_while_a_server_runs() {
    let machine = Machine::new();
    let server = Server::start(&machine, "--public vpn.example.org:443");
    let link = machine.invite("laptop --public vpn.example.org:443");
    let first = std::fs::read_to_string(machine.dir.path().join("default.link")).expect("a link");
    assert_eq!(first.parse::<Link>().expect("a link").pin, link.pin);
    assert!(server.stop().status.success());
}
