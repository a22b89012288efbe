//! What the client tells of itself: its page, `status` and `/health`. The page in a browser is the suite `page`.

use docxy_tests::process::PROCESS_TIMEOUT;
use futures_util::future::join_all;
use http::StatusCode;
use http_body_util::BodyExt as _;
use hub_stand_in::{Blob, Fault, Image, Rule};
use serde_json::Value;
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient, HttpResponse},
    raw_http::{RawConnection, send_raw},
    testbed::{Testbed, wait_until_up},
};

/// Maximum number of pages that are open.
const WATCHERS_MAX: usize = 16;

async fn post(engine: HttpClient, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let address = engine.address();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}content-length: ");
    let request = format!("{head}{}\r\n\r\n{body}", body.len());
    let response = send_raw(address, request.as_bytes()).await;
    String::from_utf8_lossy(&response.bytes).split(' ').nth(1).unwrap_or_default().to_owned()
}

fn token(page: &HttpResponse) -> String {
    let html = String::from_utf8_lossy(&page.body).into_owned();
    let (_, rest) = html.split_once("name=\"docxy-token\" content=\"").expect("a page with a token");
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_page_itself_can_press_its_buttons() {
    let testbed = Testbed::new().await;
    let engine = testbed.engine;
    let page = engine.get("/", &[]).await;
    assert_eq!((page.status, page.header("content-type")), (StatusCode::OK, "text/html; charset=utf-8"));
    for path in ["/", "/page/page.js", "/page/style.css", "/api/status"] {
        let file = engine.get(path, &[]).await;
        let policy = file.header("content-security-policy").to_owned();
        assert!(
            policy.starts_with("default-src 'self';") && policy.contains("frame-ancestors 'none'"),
            "{path}"
        );
        let rest =
            ["x-content-type-options", "cache-control", "x-frame-options"].map(|name| file.header(name));
        assert_eq!(rest, ["nosniff", "no-store", "DENY"], "{path}");
        assert!(!String::from_utf8_lossy(&file.body).contains("style=\""), "{path}");
    }
    assert_eq!(engine.get("/page/../secret", &[]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(engine.get("/api/forget", &[]).await.status, StatusCode::METHOD_NOT_ALLOWED);

    let token = token(&page);
    assert!(token.len() > 20, "{token}");
    let right = ("docxy-token", token.as_str());
    let own = format!("http://{}", engine.address());
    for (headers, body, status) in [
        (&[right][..], "{}", "200"),
        (&[right, ("origin", own.as_str()), ("sec-fetch-site", "same-origin")], "{}", "200"),
        (&[], "{}", "403"),
        (&[("docxy-token", "")], "{}", "403"),
        (&[("docxy-token", "AAAAAAAAAAAAAAAAAAAAAA")], "{}", "403"),
        (&[right, ("origin", "https://evil.example")], "{}", "403"),
        (&[right, ("sec-fetch-site", "cross-site")], "{}", "403"),
        // A proxy on this machine may serve others.
        (&[right, ("x-forwarded-for", "192.0.2.1")], "{}", "403"),
        (&[right], "{", "400"),
        (&[right], "{\"unknown\": 1}", "400"),
    ] {
        assert_eq!(post(engine, "/api/forget", headers, body).await, status, "{headers:?} {body}");
    }
    // Without a token nothing is removed, and here nothing is kept.
    assert_eq!(post(engine, "/api/prune", &[], "{}").await, "403");
    assert_eq!(post(engine, "/api/prune", &[right], "{}").await, "400");
    assert_eq!(post(engine, "/api/prefer", &[right], "{\"server\": \"evil.example:1\"}").await, "400");
    let server = testbed.server.address().to_string();
    assert_eq!(post(engine, "/api/prefer", &[right], &format!("{{\"server\": \"{server}\"}}")).await, "200");
    let status = engine.get("/api/status", &[]).await.json();
    assert_eq!(
        (&status["servers"][0]["server"], &status["servers"][0]["preferred"]),
        (&server.into(), &true.into())
    );
    // Others are not shown the page, nor its token.
    let foreign = engine.get("/", &[("host", "evil.example")]).await;
    assert_eq!(foreign.status, StatusCode::MISDIRECTED_REQUEST);
    let behind_proxy = engine.get("/", &[("x-forwarded-for", "192.0.2.1")]).await;
    assert_eq!(behind_proxy.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_are_few_and_end_with_the_client() {
    let mut testbed = Testbed::new().await;
    let engine = testbed.engine;
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS_MAX {
        let mut watcher = RawConnection::get(engine.address(), "/api/events", &[]).await;
        watcher.read_body(100).await;
        watchers.push(watcher);
    }
    let refused = engine.get("/api/events", &[]).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!refused.header("retry-after").is_empty());
    drop(watchers.pop());
    // Its end is noticed when something is sent to it.
    block_in_place(|| {
        let client = testbed.client.address();
        testbed.client.process().wait_for("have room for a watcher", PROCESS_TIMEOUT, |_| {
            let get = async { HttpClient::at(client).begin(http::Method::GET, "/api/events", &[]).await };
            let response = tokio::runtime::Handle::current().block_on(get);
            Ok((response.status() == StatusCode::OK).then_some(()))
        })
    })
    .unwrap();
    block_in_place(|| testbed.client.process().signal("TERM")).unwrap();
    join_all(watchers.into_iter().map(RawConnection::rest)).await;
    block_in_place(|| testbed.client.process().wait_until_ended(PROCESS_TIMEOUT)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_health_tell_of_pulls_by_their_images() {
    let mut testbed = Testbed::new().await;
    let image = Image::one_layer(3, 4 << 20).unwrap();
    testbed.hub.store().publish("library/big", "latest", &image);
    let layer: Blob = image.platform("amd64").unwrap().layers[0].blob.clone();
    testbed.hub.faults().arm(Rule::once(Fault::StallAt { byte: 2 << 20 }).on(layer.digest().hex()));
    let agent = ("user-agent", "docker/29.1.0");
    let manifest = image.platform("amd64").unwrap().manifest.digest.to_string();
    for reference in ["latest", &manifest] {
        let path = format!("/v2/library/big/manifests/{reference}");
        assert_eq!(testbed.engine.get(&path, &[ANY, agent]).await.status, StatusCode::OK);
    }
    let path = format!("/v2/library/big/blobs/{}", layer.digest());
    let mut body = testbed.engine.begin(http::Method::GET, &path, &[agent]).await.into_body();
    body.frame().await.unwrap().unwrap();
    let arrives = |health: &Value| health["pulls"][0]["bytes"].as_u64().is_some_and(|bytes| bytes > 64 << 10);
    let health = block_in_place(|| testbed.client.wait_for_health("pull", PROCESS_TIMEOUT, arrives)).unwrap();
    let pull = &health["pulls"][0];
    assert_eq!((&pull["image"], &pull["engine"]), (&"docker.io/library/big:latest".into(), &"docker".into()));
    assert_eq!((&pull["platform"], &pull["layers"][0]["state"]), (&"linux/amd64".into(), &"running".into()));

    let listen = testbed.client.address().to_string();
    let status = |arguments: &[&str]| {
        let arguments = [&["status", "--listen", &listen], arguments].concat();
        block_in_place(|| testbed.client.command_without_link(&arguments, PROCESS_TIMEOUT)).unwrap()
    };
    let json: Value = serde_json::from_str(&status(&["--json"])).unwrap();
    assert_eq!((&json["line"]["tunnel"], &json["pulls"][0]["image"]), (&"up".into(), &pull["image"]));
    let text = status(&[]);
    let server = testbed.server.address().to_string();
    assert!(
        text.starts_with(&format!("up {server}")) && text.contains("docker.io/library/big:latest"),
        "{text}"
    );
    assert!(!text.contains('\x1b'), "no terminal, no colours");
    // The private socket of the same client.
    let beside =
        block_in_place(|| testbed.client.command_without_link(&["status"], PROCESS_TIMEOUT)).unwrap();
    assert!(beside.contains("docker.io/library/big:latest"), "{beside}");

    // A server that hears nothing any more is suspected, and its pull waits.
    testbed.server.process().signal("STOP").unwrap();
    let is_suspected = |health: &Value| health["tunnel"] == "suspected";
    let health =
        block_in_place(|| testbed.client.wait_for_health("suspect", PROCESS_TIMEOUT, is_suspected)).unwrap();
    assert_eq!((&health["server_name"], health["reason"].is_string()), (&server.clone().into(), true));
    assert_eq!(testbed.engine.get("/health", &[]).await.status, StatusCode::OK, "it may come back");
    testbed.server.process().signal("CONT").unwrap();
    wait_until_up(&mut testbed.client);

    block_in_place(|| testbed.server.stop()).unwrap();
    let is_down = |health: &Value| health["tunnel"] == "down";
    let health =
        block_in_place(|| testbed.client.wait_for_health("be down", PROCESS_TIMEOUT, is_down)).unwrap();
    assert_eq!(health["server_name"], server);
    let ended = |arguments: &[&str]| {
        let mut command = testbed.client.start_command_without_link(arguments).unwrap();
        block_in_place(|| command.wait_until_ended(PROCESS_TIMEOUT)).unwrap().code()
    };
    assert_eq!(ended(&["status", "--listen", &listen]), Some(1));
    assert_eq!(ended(&["status", "--listen", "127.0.0.1:1"]), Some(1), "no client runs");
}
