//! A proxy's password: from a file or the environment, to the proxy, and nowhere else.

use std::{fs, net::Ipv4Addr, process::Command};

use docxy_tests::{
    docxy::{Launch, Server},
    process::{PROCESS_TIMEOUT, binary, run},
    proxy::Protocol,
};
use http::StatusCode;
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient},
    proxied_hub::{MANIFEST, NAME, ProxiedHub},
    testbed::{client, invite},
};

const USER: &str = "office";
const PASSWORD: &str = "open-sesame-proxy";
/// The two in base64.
const ENCODED: &str = "b2ZmaWNlOm9wZW4tc2VzYW1lLXByb3h5";

/// What everybody on this machine sees of a process.
fn command_line(pid: u32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap()).replace('\0', " ")
}

fn assert_no_password(text: &str) {
    assert!(!text.contains(PASSWORD) && !text.contains(ENCODED), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_comes_from_a_file_or_the_environment_and_is_shown_nowhere() {
    for (protocol, in_file) in [(Protocol::Http, true), (Protocol::Socks5, true), (Protocol::Http, false)] {
        let mut proxied = ProxiedHub::by_address(protocol).await;
        proxied.proxy.require(USER, PASSWORD);
        let mut launch = Launch::default();
        let config = proxied.config.proxy.as_mut().unwrap();
        if in_file {
            config.url = proxied.proxy.url(&format!("{USER}@"));
            config.password = Some(PASSWORD.to_owned());
        } else {
            let url = proxied.proxy.url(&format!("{USER}:{PASSWORD}@"));
            launch = Launch::in_environment(&[("DOCXY_PROXY", &url)]);
        }
        let launch = launch.logging("trace");
        let listen = Ipv4Addr::LOCALHOST.into();
        let mut server = block_in_place(|| Server::start_as(&launch, None, listen, &proxied.config)).unwrap();
        let client = client(&invite(&mut server, "laptop"), &[]);
        let response = HttpClient::at(client.address()).get(MANIFEST, &[ANY]).await;
        assert_eq!(response.status, StatusCode::OK);
        // New connections are refused.
        proxied.proxy.require(USER, "another-password");
        proxied.proxy.disconnect();
        let tags = format!("/v2/{NAME}/owner/image/tags/list");
        let response = HttpClient::at(client.address()).get(&tags, &[]).await;
        assert_no_password(&format!("{response:?}"));
        assert_no_password(&server.process().output());
        assert_no_password(&command_line(server.process().pid()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_wrong_credentials_are_told_apart() {
    for (protocol, user, words) in [
        (Protocol::Http, "", "asks for credentials (407)"),
        (Protocol::Http, "office@", "refuses the credentials (407)"),
        (Protocol::Socks5, "", "asks for credentials"),
        (Protocol::Socks5, "office@", "refuses the credentials"),
    ] {
        let mut proxied = ProxiedHub::by_address(protocol).await;
        proxied.proxy.require(USER, PASSWORD);
        let config = proxied.config.proxy.as_mut().unwrap();
        config.url = proxied.proxy.url(user);
        config.password = (!user.is_empty()).then(|| "wrong-password".to_owned());
        let testbed = proxied.testbed().await;
        let (status, _, message) = testbed.engine.get(MANIFEST, &[ANY]).await.fault("registry");
        assert_eq!(status, 503);
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_password_in_an_argument_is_refused_and_not_repeated() {
    for url in [format!("http://{USER}:{PASSWORD}@proxy:1"), format!("https://{USER}:{PASSWORD}@proxy:1")] {
        for (program, command_name) in [("docxy-server", "check"), ("docxy-client", "run")] {
            let mut command = Command::new(binary(program).unwrap());
            command.args([command_name, "--proxy", &url]);
            let refused = run(command, PROCESS_TIMEOUT).unwrap();
            assert_eq!(refused.status.code(), Some(2));
            assert!(refused.stderr.contains("--proxy"), "{}", refused.stderr);
            assert_no_password(&(refused.stdout + &refused.stderr));
        }
    }
}
