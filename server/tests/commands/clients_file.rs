//! Which clients' file a command changes, and what protects it.

use crate::machine::{Machine, Server, mode, stderr, text};

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
