//! The 401 with which the authentication of every engine starts.
//! Must never depend on what a registry names as its realm: engines are always sent to the client.

use http::{Method, StatusCode};
use hub_stand_in::Site;

use crate::support::{
    http_client::{ANY, HttpClient, HttpResponse},
    testbed::{Testbed, config, hub},
};

const LATEST: &str = "/v2/library/hello/manifests/latest";
const SERVICE: &str = "service=\"registry.docker.io\"";

#[tokio::test(flavor = "multi_thread")]
async fn the_realm_is_the_host_that_the_engine_dialled() {
    let testbed = Testbed::new().await;
    let port = testbed.client.address().port();
    for name in ["127.0.0.1", "localhost", "LocalHost", "[::1]", "host.docker.internal"] {
        let host = format!("{name}:{port}");
        let response = testbed.engine.get("/v2/", &[("host", &host)]).await;
        let realm = format!("Bearer realm=\"http://{host}/auth/token\",{SERVICE}");
        assert_eq!(response.header("www-authenticate"), realm);
        assert_eq!(response.header("docker-distribution-api-version"), "registry/2.0");
        let (status, code, _) = response.error();
        assert_eq!((status, code.as_str()), (401, "UNAUTHORIZED"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_realm_works_over_ipv6() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let hub = hub().await;
    let config = config(&hub);
    let mut testbed = Testbed::with(hub, &config, &["--listen", "[::1]:0"]);
    let addresses = testbed.client.process().listening().unwrap();
    let address = addresses.into_iter().find(|address| address.is_ipv6()).unwrap();
    let response = HttpClient::at(address).get("/v2/", &[]).await;
    let realm = format!("Bearer realm=\"http://{address}/auth/token\",{SERVICE}");
    assert_eq!(response.header("www-authenticate"), realm);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insufficient_token_is_challenged_with_scope_and_error() {
    let testbed = Testbed::new().await;
    let host = testbed.engine.address();
    let insufficient = testbed.hub.tokens().issue(&hub_stand_in::Grant::default());
    let scope = "scope=\"repository:library/hello:pull\"";
    for (token, error) in [
        ("Bearer nonsense".to_owned(), ",error=\"invalid_token\""),
        (format!("Bearer {insufficient}"), ",error=\"insufficient_scope\""),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let headers = [ANY, ("authorization", token.as_str())];
            let response = testbed.engine.request(method, LATEST, &headers).await;
            assert_eq!(response.status, StatusCode::UNAUTHORIZED);
            let challenge = format!("Bearer realm=\"http://{host}/auth/token\",{SERVICE},{scope}{error}");
            assert_eq!(response.header("www-authenticate"), challenge);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_login_succeeds() {
    let testbed = Testbed::new().await;
    let ping = async |token: String| -> HttpResponse {
        testbed.engine.get("/v2/", &[("authorization", &token)]).await
    };
    let anonymous = testbed.engine.anonymous("library/hello").await;
    assert_eq!(ping(anonymous).await.status, StatusCode::OK);
    let (user, password) = crate::support::testbed::ALICE;
    let alice = testbed.engine.logged_in(user, password, "alice/private").await;
    assert_eq!(ping(alice).await.status, StatusCode::OK);
    assert_eq!(ping("Bearer nonsense".to_owned()).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_sees_its_own_host_name() {
    let testbed = Testbed::new().await;
    let headers = [
        // Without it the client would answer by itself.
        ("authorization", "Bearer nonsense"),
        ("cookie", "a=b"),
        ("x-forwarded-for", "10.0.0.1"),
        ("user-agent", "docker/29.0"),
    ];
    testbed.engine.get("/v2/", &headers).await;
    let entries = testbed.hub.request_log().of(Site::Registry);
    let seen = entries.last().unwrap();
    assert_eq!(seen.header("host"), Some("registry-1.docker.io"));
    assert_eq!(seen.header("user-agent"), Some("docker/29.0"));
    assert_eq!((seen.header("cookie"), seen.header("x-forwarded-for")), (None, None));
}
