//! A client reaches its server through a proxy.

use std::net::SocketAddr;

use docxy_tests::{
    docxy::{Client, Launch, without_sum},
    process::PROCESS_TIMEOUT,
    proxy::{Protocol, Proxy},
};
use http::StatusCode;
use hub_stand_in::Hub;
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient},
    testbed::{config, hub, server, wait_until_up},
};

const USER: &str = "office";
const PASSWORD: &str = "open-sesame-proxy";

/// A server whose name the proxy alone resolves.
struct Office {
    proxy: Proxy,
    link: String,
    /// The server's name and port.
    destination: String,
    server: docxy_tests::docxy::Server,
    _hub: Hub,
}

impl Office {
    async fn new(protocol: Protocol) -> Self {
        let hub = hub().await;
        let server = server(&config(&hub));
        let proxy = Proxy::start(protocol).await.unwrap();
        let destination = format!("docxy.invalid:{}", server.address().port());
        proxy.route(&destination, server.address());
        let invite = ["invite", "laptop", "--public", &destination];
        let link = without_sum(&block_in_place(|| server.command(&invite)).unwrap());
        Self { proxy, link, destination, server, _hub: hub }
    }

    fn start(&self, launch: &Launch) -> Client {
        block_in_place(|| Client::start_as(launch, None, &self.link)).unwrap()
    }

    /// Asserts that a client pulls through the proxy only.
    async fn assert_pulls(&self, mut client: Client) {
        wait_until_up(&mut client);
        let health = block_in_place(|| client.health()).unwrap();
        assert_eq!((&health["leg"], &health["proxy"]), (&"tcp".into(), &self.proxy.url("").into()));
        let engine = HttpClient::at(client.address());
        let response = engine.get("/v2/library/hello/manifests/latest", &[ANY]).await;
        assert_eq!(response.status, StatusCode::OK);
        let destinations = self.proxy.destinations();
        assert!(!destinations.is_empty());
        assert!(destinations.iter().all(|destination| *destination == self.destination), "{destinations:?}");
    }
}

/// A client with `--proxy`. Any leg is allowed, whichever the suite runs on: a proxy carries TCP only.
fn through(url: &str) -> Launch {
    Launch::with(&["--proxy", url, "--leg", "auto"])
}

/// The same with the URL in the environment, where no other user can read it.
fn through_secret(url: &str) -> Launch {
    Launch::in_environment(&[("DOCXY_PROXY", url), ("DOCXY_LEG", "auto")])
}

/// Why a client is not connected yet, once an attempt has failed.
fn reason(mut client: Client) -> String {
    let failed = |health: &serde_json::Value| {
        health["reason"].as_str().is_some_and(|why| !why.contains("not connected yet"))
    };
    let health = block_in_place(|| client.wait_for_health("fail", PROCESS_TIMEOUT, failed)).unwrap();
    health["reason"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_proxy_is_the_only_way() {
    for protocol in [Protocol::Http, Protocol::Socks5] {
        let office = Office::new(protocol).await;
        let client = office.start(&through(&office.proxy.url("")));
        office.assert_pulls(client).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_comes_from_the_environment_and_is_shown_nowhere() {
    let office = Office::new(Protocol::Http).await;
    office.proxy.require(USER, PASSWORD);
    let url = office.proxy.url(&format!("{USER}:{PASSWORD}@"));
    let mut client = office.start(&through_secret(&url).logging("trace"));
    wait_until_up(&mut client);
    let health = block_in_place(|| client.health()).unwrap().to_string();
    let log = client.process().output();
    let command_line = std::fs::read(format!("/proc/{}/cmdline", client.process().pid())).unwrap();
    for text in [&health, &log, &String::from_utf8_lossy(&command_line).into_owned()] {
        assert!(!text.contains(PASSWORD) && !text.contains("b2ZmaWNlOm9wZW4tc2VzYW1lLXByb3h5"), "{text}");
    }
    office.assert_pulls(client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_says_so_in_health() {
    let office = Office::new(Protocol::Http).await;
    office.proxy.require(USER, PASSWORD);
    let without = reason(office.start(&through(&office.proxy.url(""))));
    assert!(
        without.contains(&format!("the proxy {} asks for credentials (407)", office.proxy.url(""))),
        "{without}"
    );
    let wrong = office.proxy.url("office:wrong-password@");
    let wrong = reason(office.start(&through_secret(&wrong)));
    assert!(wrong.contains("refuses the credentials (407)") && !wrong.contains("wrong-password"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_all_programs_is_one_more_way_except_for_its_exceptions() {
    let office = Office::new(Protocol::Http).await;
    let url = office.proxy.url("");
    let launch = |exceptions: &str| {
        let mut launch = Launch::in_environment(&[("HTTPS_PROXY", &url), ("NO_PROXY", exceptions)]);
        launch.arguments = vec!["--leg".into(), "tcp".into()];
        launch
    };
    let direct = reason(office.start(&launch("docxy.invalid")));
    assert!(direct.contains("docxy.invalid cannot be resolved"), "{direct}");
    assert_eq!(office.proxy.destinations(), Vec::<String>::new());
    // There is no direct way, since the name is unknown here.
    office.assert_pulls(office.start(&launch("other.example"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_is_never_reached_through_a_proxy() {
    let mut office = Office::new(Protocol::Http).await;
    let address: SocketAddr = office.server.address();
    office.link = office.link.replace(&office.destination, &address.to_string());
    let mut client = office.start(&through(&office.proxy.url("")));
    wait_until_up(&mut client);
    assert_eq!(block_in_place(|| client.health()).unwrap()["proxy"], serde_json::Value::Null);
    assert_eq!(office.proxy.destinations(), Vec::<String>::new());
}
