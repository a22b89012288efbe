//! A server without DNS: the proxy may resolve the registries' own hosts and those that the operator allows.

use docxy_tests::proxy::Protocol;
use http::StatusCode;

use crate::support::{
    http_client::ANY,
    proxied_hub::{MANIFEST, NAME, ProxiedHub, paths},
};

#[tokio::test(flavor = "multi_thread")]
async fn allowed_hosts_are_reached_by_name() {
    for protocol in [Protocol::Http, Protocol::Socks5] {
        let mut proxied = ProxiedHub::by_name(protocol).await;
        proxied.allow(&[&format!("auth.{NAME}"), "*.docxy.invalid"]);
        let testbed = proxied.testbed().await;
        for path in paths() {
            assert_eq!(testbed.engine.get(&path, &[ANY]).await.status, StatusCode::OK, "{path}");
        }
        let mut destinations = proxied.proxy.destinations();
        destinations.sort();
        destinations.dedup();
        let expected = ["auth.", "cdn.", ""].map(|sub| format!("{sub}{NAME}:443"));
        assert_eq!(destinations, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_is_not_asked_for_other_names() {
    let proxied = ProxiedHub::by_name(Protocol::Http).await;
    let testbed = proxied.testbed().await;
    let (status, _, message) = testbed.engine.get(MANIFEST, &[ANY]).await.fault("token service");
    assert_eq!(status, 502);
    assert!(
        message.contains(&format!("auth.{NAME}")) && message.contains("[proxy] allow_hosts"),
        "{message}"
    );
    // The registry itself is on the operator's list.
    assert!(proxied.proxy.destinations().iter().all(|destination| *destination == format!("{NAME}:443")));
}
