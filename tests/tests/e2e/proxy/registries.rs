//! A server reaches registries, token services and CDNs through HTTP CONNECT or SOCKS5.

use std::net::Ipv4Addr;

use docxy_tests::{
    docxy::{Launch, ProxyConfig, Server},
    proxy::{Protocol, Proxy, ProxyFault},
};
use futures_util::future::FutureExt as _;
use http::StatusCode;
use hub_stand_in::Site;
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient, PROMPT_TIMEOUT},
    proxied_hub::{MANIFEST, NAME, ProxiedHub, paths},
    scripted_registry::{ScriptedRegistry, reply},
    testbed::{client, invite},
};

const PROTOCOLS: [Protocol; 2] = [Protocol::Http, Protocol::Socks5];

async fn pull(engine: &HttpClient) {
    for path in paths() {
        assert_eq!(engine.get(&path, &[ANY]).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_goes_through_the_proxy_to_checked_addresses() {
    for protocol in PROTOCOLS {
        let proxied = ProxiedHub::by_address(protocol).await;
        let testbed = proxied.testbed().await;
        pull(&testbed.engine).await;
        let mut destinations = proxied.proxy.destinations();
        destinations.sort();
        destinations.dedup();
        // Registry, token service and CDN: TLS is by name, or the certificates would not fit.
        assert_eq!(destinations, ["198.51.100.0:443", "198.51.100.1:443", "198.51.100.2:443"]);
        // Docker Hub's stand-in is on loopback, which no proxy is asked for.
        let hello = "/v2/library/hello/manifests/latest";
        assert_eq!(testbed.engine.get(hello, &[ANY]).await.status, StatusCode::OK);
        assert!(!proxied.proxy.destinations().iter().any(|destination| destination.contains("127.0.0")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_all_programs_is_used_except_for_its_exceptions() {
    let mut proxied = ProxiedHub::by_address(Protocol::Http).await;
    proxied.config.proxy = None;
    let url = proxied.proxy.url("");
    for (exceptions, expected) in
        [("other.example, 10.0.0.0/8", StatusCode::OK), ("198.51.100.0/24", StatusCode::BAD_GATEWAY)]
    {
        let launch = Launch::in_environment(&[("https_proxy", &url), ("NO_PROXY", exceptions)]);
        let listen = Ipv4Addr::LOCALHOST.into();
        let mut server = block_in_place(|| Server::start_as(&launch, None, listen, &proxied.config)).unwrap();
        let client = client(&invite(&mut server, "laptop"), &[]);
        let before = proxied.proxy.destinations().len();
        // Without the proxy, nothing answers at these addresses.
        let engine = HttpClient::at(client.address());
        match tokio::time::timeout(PROMPT_TIMEOUT, engine.head(MANIFEST, &[ANY])).await {
            Ok(response) => assert_eq!(response.status, expected),
            Err(_) => assert_eq!(expected, StatusCode::BAD_GATEWAY),
        }
        assert_eq!(proxied.proxy.destinations().len() > before, expected == StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_the_proxy() {
    let mut proxied = ProxiedHub::by_address(Protocol::Http).await;
    let mut testbed = proxied.testbed().await;
    pull(&testbed.engine).await;
    let other = Proxy::start(Protocol::Socks5).await.unwrap();
    for (n, site) in Site::ALL.into_iter().enumerate() {
        other.route(format!("198.51.100.{n}:443"), proxied.hub.address(site));
    }
    proxied.config.proxy = Some(ProxyConfig { url: other.url(""), ..ProxyConfig::default() });
    block_in_place(|| testbed.server.reload(&proxied.config)).unwrap();
    let tags = format!("/v2/{NAME}/owner/image/tags/list");
    let through_other = async {
        while other.destinations().is_empty() {
            assert_eq!(testbed.engine.get(&tags, &[]).await.status, StatusCode::OK);
        }
    };
    tokio::time::timeout(PROMPT_TIMEOUT, through_other).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_a_private_network_is_refused_behind_a_proxy_too() {
    for protocol in PROTOCOLS {
        let proxy = Proxy::start(protocol).await.unwrap();
        let url = proxy.url("");
        let registry = ScriptedRegistry::serving(
            "",
            move |config| {
                let allow_hosts = vec!["localhost".to_owned(), "10.0.0.1".to_owned()];
                config.proxy = Some(ProxyConfig { url, allow_hosts, ..ProxyConfig::default() });
            },
            |request| {
                let host = match request.path.split('/').nth(2).unwrap_or_default() {
                    "" => return std::future::ready(reply("200 OK", "Content-Length: 2\r\n", "{}")).boxed(),
                    "private" => "10.0.0.1",
                    "metadata" => "169.254.169.254",
                    "loopback" => "127.0.0.1:1",
                    _ => "localhost",
                };
                let location = format!("Location: https://{host}/data\r\n");
                std::future::ready(reply("307 Temporary Redirect", &location, "")).boxed()
            },
        )
        .await;
        for repository in ["private", "metadata", "loopback", "by-name"] {
            let path = ScriptedRegistry::blob(repository);
            let (status, _, message) = registry.testbed.engine.get(&path, &[]).await.fault("CDN");
            assert_eq!(status, 502);
            assert!(message.contains("no public address"), "{message}");
        }
        assert_eq!(proxy.destinations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_fails_is_named_to_the_operator_and_described_to_the_user() {
    let forbidden = (ProxyFault::Forbid, 503, "the server's proxy does not allow this destination");
    let foreign = (ProxyFault::Garbage, 503, "the server's proxy answers something else");
    let closed = (ProxyFault::Close, 502, "the server's proxy closes the connection without an answer");
    let unreachable = (ProxyFault::Unreachable, 502, "the server's proxy cannot reach the destination");
    for (protocol, faults) in
        [(Protocol::Http, [forbidden, closed]), (Protocol::Socks5, [foreign, unreachable])]
    {
        let proxied = ProxiedHub::by_address(protocol).await;
        let testbed = proxied.testbed().await;
        let tags = format!("/v2/{NAME}/owner/image/tags/list");
        for (fault, expected, words) in faults {
            proxied.proxy.set_fault(Some(fault));
            let (status, _, message) = testbed.engine.get(&tags, &[]).await.fault("registry");
            assert_eq!(status, expected, "{message}");
            assert!(message.contains(words), "{message}");
            let address = proxied.proxy.address().to_string();
            assert!(!message.contains(&address) && !message.contains("198.51.100"), "{message}");
            let checked = block_in_place(|| testbed.server.check(&[])).unwrap();
            assert!(checked.stdout.starts_with(&format!("through the proxy {}\n", proxied.proxy.url(""))));
            assert!(checked.stdout.contains(words) && checked.stderr.contains(&address), "{checked:?}");
        }
        proxied.proxy.set_fault(None);
        pull(&testbed.engine).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_hangs_is_named_before_the_engine_gives_up() {
    let proxied = ProxiedHub::by_address(Protocol::Http).await;
    let testbed = proxied.testbed().await;
    proxied.proxy.set_fault(Some(ProxyFault::Hang));
    let tags = format!("/v2/{NAME}/owner/image/tags/list");
    let (_, _, message) = testbed.engine.get(&tags, &[]).await.fault("registry");
    assert!(message.contains("the server's proxy does not answer within"), "{message}");
}
