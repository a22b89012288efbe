//! Programs on the laptop that open connections and never complete a request: a pull does not wait for them.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use http::StatusCode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    http_client::{ANY, REQUEST_TIMEOUT},
    raw_http::{End, RawConnection},
    testbed::Testbed,
};

/// More connections than the client allows.
const CONNECTIONS: usize = 780;

/// The longest time of a pull beside them, on a busy machine. It is shorter than any timeout of a connection.
const PULL_TIMEOUT: Duration = Duration::from_secs(8);

/// The interval at which slow connections send one more byte.
const TRICKLE_INTERVAL: Duration = Duration::from_millis(500);

/// One kind of idle connections.
struct Crowd {
    what: &'static str,
    first: String,
    /// Whether it waits for the response, so that the connection is idle between two requests.
    is_answered: bool,
    /// Whether more bytes follow, one at a time.
    trickles: bool,
}

fn crowds(host: SocketAddr) -> Vec<Crowd> {
    let form = format!("POST /auth/token HTTP/1.1\r\nhost: {host}\r\n");
    let get = format!("GET /v2/ HTTP/1.1\r\nhost: {host}\r\n");
    let upload = format!("POST /v2/library/hello/blobs/uploads/ HTTP/1.1\r\nhost: {host}\r\n");
    let crowd = |what, first: String| Crowd { what, first, is_answered: false, trickles: false };
    vec![
        crowd("say nothing", String::new()),
        crowd("begin a TLS handshake", "\u{16}\u{3}\u{1}\u{2}".to_owned()),
        crowd("stall in a head", format!("{get}accept: ")),
        Crowd { trickles: true, ..crowd("trickle a head", format!("{get}accept: ")) },
        Crowd { is_answered: true, ..crowd("are idle", format!("{get}\r\n")) },
        crowd("stall in a form", format!("{form}content-length: 100\r\n\r\ngrant_type=")),
        Crowd { trickles: true, ..crowd("trickle a form", format!("{form}content-length: 60000\r\n\r\ng")) },
        crowd("stall in a chunked form", format!("{form}transfer-encoding: chunked\r\n\r\n5\r\ngrant\r\n")),
        crowd("wait to send a form", format!("{form}content-length: 100\r\nexpect: 100-continue\r\n\r\n")),
        crowd("stall in another request's body", format!("{get}content-length: 100\r\n\r\nx")),
        Crowd {
            trickles: true,
            ..crowd("trickle an upload", format!("{upload}content-length: 60000\r\n\r\nx"))
        },
    ]
}

/// This test opens many sockets as well.
fn allow_many_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

async fn gather(crowd: &Crowd, address: SocketAddr) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = timeout(REQUEST_TIMEOUT, TcpStream::connect(address)).await.unwrap().unwrap();
        // Connections that the client has closed have made room.
        let _ = stream.write_all(crowd.first.as_bytes()).await;
        if crowd.is_answered {
            let _ = timeout(REQUEST_TIMEOUT, stream.read(&mut [0; 64])).await.unwrap();
        }
        streams.push(stream);
    }
    streams
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_does_not_wait_for_780_idle_connections() {
    allow_many_descriptors();
    let testbed = Testbed::new().await;
    let address = testbed.client.address();
    let mut slow = Vec::new();
    for crowd in crowds(address) {
        let mut streams = gather(&crowd, address).await;
        let trickling = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(TRICKLE_INTERVAL);
            loop {
                ticks.tick().await;
                for stream in &mut streams {
                    if crowd.trickles {
                        let _ = stream.write_all(b"x").await;
                    }
                }
            }
        });
        let started = Instant::now();
        let pull = async {
            let bearer = testbed.engine.anonymous("library/hello").await;
            let path = "/v2/library/hello/manifests/latest";
            testbed.engine.get(path, &[("authorization", &bearer), ANY]).await.status
        };
        match timeout(PULL_TIMEOUT, pull).await {
            Ok(status) => assert_eq!(status, StatusCode::OK, "{}", crowd.what),
            Err(_) => slow.push((crowd.what, started.elapsed().as_secs())),
        }
        trickling.abort();
        let _ = trickling.await;
    }
    assert_eq!(slow, [], "connections that delay a pull, and the seconds of delay");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_form_is_400_and_closes() {
    let testbed = Testbed::new().await;
    let address = testbed.client.address();
    let head = format!("POST /auth/token HTTP/1.1\r\nhost: {address}\r\n");
    let started = Instant::now();
    let (stalled, chunked) = (
        RawConnection::send(address, format!("{head}content-length: 100\r\n\r\ngrant_type=").as_bytes())
            .await,
        RawConnection::send(
            address,
            format!("{head}transfer-encoding: chunked\r\n\r\n5\r\ngrant\r\n").as_bytes(),
        )
        .await,
    );
    for (raw, what) in [(stalled, "stalled"), (chunked, "chunked")] {
        let received = raw.rest().await;
        assert_eq!((received.status(), received.end), (400, End::Fin), "{what}");
        assert!(received.head().contains("connection: close"), "{}", received.head());
        let body = String::from_utf8_lossy(received.body());
        assert!(body.contains("docxy: request: the form was not whole within 10 s"), "{body}");
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());

    // A complete form gets its response, and the connection stays open.
    let form = "grant_type=password&username=alice&password=wrong&service=registry.docker.io";
    let request = format!("{head}content-length: {}\r\n\r\n{form}", form.len());
    let mut raw = RawConnection::send(address, request.as_bytes()).await;
    raw.read_body(1).await;
    assert_eq!(raw.status(), 401);
}
