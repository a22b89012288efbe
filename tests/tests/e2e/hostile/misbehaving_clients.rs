//! Authenticated clients with bugs or bad intentions: they harm only themselves.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use docxy_protocol::{
    congestion::Handle,
    limits::{
        EARLY_SEGMENTS_MAX, FRAME_BYTES_MAX, SEGMENT_BYTES, STREAM_HEADER_TIMEOUT, STREAMS_PER_CLIENT_MAX,
    },
    link::Link,
};
use docxy_tests::process::PROCESS_TIMEOUT;
use docxy_transport::quic::settings;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::{task::block_in_place, time::timeout};

use crate::support::{
    http_client::{PROMPT_TIMEOUT, REQUEST_TIMEOUT},
    quic_client::{
        assert_others_are_served, dial, dial_with, hello, next_exchange, ping, pull, read_response, segment,
        send_hello, send_stream,
    },
    testbed::{Testbed, invite},
};

/// The server's peak memory beside such a client.
const MEMORY_MAX: u64 = 64 << 20;

/// An authenticated client.
struct MisbehavingClient {
    connection: Connection,
    _control: (SendStream, RecvStream),
}

impl MisbehavingClient {
    async fn new(testbed: &mut Testbed) -> Self {
        let link: Link = invite(&mut testbed.server, "phone").parse().unwrap();
        let connection = dial(testbed, &link).await;
        let control = send_hello(&connection, &link).await;
        Self { connection, _control: control }
    }

    /// Asserts that its connection still works: a bad stream costs that stream alone.
    async fn assert_still_served(&self) {
        let receive = send_stream(&self.connection, &ping()).await;
        assert!(!read_response(receive).await.unwrap().is_empty());
    }
}

async fn assert_others_are_served_at_once(testbed: &Testbed) {
    let started = Instant::now();
    assert_others_are_served(testbed).await;
    assert!(started.elapsed() < PROMPT_TIMEOUT, "{:?}", started.elapsed());
}

fn assert_little_memory(testbed: &mut Testbed) {
    let peak = testbed.server.process().memory().unwrap().peak;
    println!("peak RSS of the server: {:.1} MiB", peak as f64 / f64::from(1 << 20));
    assert!(peak < MEMORY_MAX, "the server took {peak} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_stream_is_reset_alone() {
    let mut testbed = Testbed::new().await;
    let client = MisbehavingClient::new(&mut testbed).await;
    let link: Link = invite(&mut testbed.server, "tablet").parse().unwrap();
    // One of them is a second Hello.
    for nonsense in [&b"nonsense"[..], &[0xff; 64], &[], &[0, 0], &hello(&link)] {
        let response = read_response(send_stream(&client.connection, nonsense).await).await;
        assert!(response.is_err(), "{response:?} for {nonsense:?}");
    }
    assert_others_are_served_at_once(&testbed).await;
    client.assert_still_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversize_request_heads_are_refused() {
    let mut testbed = Testbed::new().await;
    let client = MisbehavingClient::new(&mut testbed).await;
    let frame = |length: usize, payload: &[u8]| [&(length as u32).to_be_bytes()[..], payload].concat();
    // A ping with as many header lines as fit, of which each is two empty texts; and one that claims
    // to have a million.
    let start = b"\x00\x05\x09docker.io\x00\x01";
    let many = [&start[..], b"\xfb\x40\x7d", &[0; 64_000]].concat();
    let million = [&start[..], b"\xfc\x40\x42\x0f\x00", &[0; 64_000]].concat();
    let enormous = [&start[..], b"\xfd\xff\xff\xff\xff\xff\xff\xff\x7f"].concat();
    for _ in 0..20 {
        for head in [
            frame(FRAME_BYTES_MAX + 1, &[0; 1000]),
            frame(u32::MAX as usize, &[0; 1000]),
            frame(FRAME_BYTES_MAX, &[0x7f; FRAME_BYTES_MAX]),
            frame(many.len(), &many),
            frame(million.len(), &million),
            frame(enormous.len(), &enormous),
        ] {
            let response = read_response(send_stream(&client.connection, &head).await).await;
            assert!(response.is_err(), "{response:?}");
        }
    }
    assert_others_are_served_at_once(&testbed).await;
    client.assert_still_served().await;
    assert_little_memory(&mut testbed);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_streams_time_out() {
    let mut testbed = Testbed::new().await;
    let client = MisbehavingClient::new(&mut testbed).await;
    let mut streams = Vec::new();
    // The control stream is one of them, and stream credit may come late.
    for n in 0..STREAMS_PER_CLIENT_MAX - 8 {
        let (mut send, receive) = client.connection.open_bi().await.unwrap();
        // Half of them announce a head of the maximum length, and send one byte of it.
        let received = if n % 2 == 0 { &[0][..] } else { &[0, 1, 0, 0, 1] };
        send.write_all(received).await.unwrap();
        streams.push((send, receive));
    }
    assert_others_are_served_at_once(&testbed).await;
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let (mut send, mut receive) = streams.pop().unwrap();
    while send.write_all(&[1]).await.is_ok() {
        assert!(started.elapsed() < REQUEST_TIMEOUT, "a byte a second keeps a stream alive");
        ticks.tick().await;
    }
    assert!(receive.read_to_end(1).await.is_err());
    for (_, receive) in streams {
        assert!(read_response(receive).await.is_err());
    }
    client.assert_still_served().await;
    assert_others_are_served_at_once(&testbed).await;
    assert_little_memory(&mut testbed);
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_of_unknown_exchanges_are_reset() {
    let mut testbed = Testbed::new().await;
    let client = MisbehavingClient::new(&mut testbed).await;
    // The server keeps some of them for a while: their exchanges may still come.
    let mut streams = VecDeque::new();
    for n in 0..3000 {
        let exchange = [0, 4, 1_000_000, u64::MAX, u64::from(n)][n as usize % 5];
        streams.push_back(send_stream(&client.connection, &segment(exchange, n)).await);
        if streams.len() > 2 * EARLY_SEGMENTS_MAX {
            let response = read_response(streams.pop_front().unwrap()).await;
            assert!(response.is_err(), "{response:?}");
        }
    }
    for stream in streams {
        let response = read_response(stream).await;
        assert!(response.is_err(), "{response:?}");
    }
    client.assert_still_served().await;
    assert_others_are_served_at_once(&testbed).await;
    assert_little_memory(&mut testbed);
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_that_come_after_their_response_are_reset_at_once() {
    let mut testbed = Testbed::new().await;
    let client = MisbehavingClient::new(&mut testbed).await;
    let (blob, _) = testbed.with_blob(3, 1000);
    let exchange = next_exchange();
    let response = send_stream(&client.connection, &pull(exchange, &blob)).await;
    assert!(read_response(response).await.is_ok());
    let late = send_stream(&client.connection, &segment(exchange, 0)).await;
    let reset = timeout(STREAM_HEADER_TIMEOUT / 2, read_response(late)).await;
    assert!(reset.expect("no later than a request's header may come").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_that_come_before_their_request_are_filled() {
    let mut testbed = Testbed::new().await;
    let client = MisbehavingClient::new(&mut testbed).await;
    let (blob, _) = testbed.with_blob(3, 2 * u64::from(SEGMENT_BYTES));
    let exchange = next_exchange();
    let mut segments = Vec::new();
    for n in [1, 0] {
        segments.push(send_stream(&client.connection, &segment(exchange, n)).await);
    }
    // The server has handled them when it has answered a later stream.
    client.assert_still_served().await;
    let _request = send_stream(&client.connection, &pull(exchange, &blob)).await;
    for mut stream in segments {
        let bytes = timeout(REQUEST_TIMEOUT, stream.read_to_end(SEGMENT_BYTES as usize)).await.unwrap();
        assert_eq!(bytes.unwrap().len(), SEGMENT_BYTES as usize);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_request_of_a_running_exchange_is_reset_alone() {
    let mut testbed = Testbed::new().await;
    let client = MisbehavingClient::new(&mut testbed).await;
    let (blob, _) = testbed.with_blob(3, 2 * u64::from(SEGMENT_BYTES));
    let exchange = next_exchange();
    // It runs until its segments are opened.
    let first = send_stream(&client.connection, &pull(exchange, &blob)).await;
    let second = read_response(send_stream(&client.connection, &pull(exchange, &blob)).await).await;
    assert!(second.is_err(), "{second:?}");
    for n in [0, 1] {
        let mut stream = send_stream(&client.connection, &segment(exchange, n)).await;
        let bytes = timeout(REQUEST_TIMEOUT, stream.read_to_end(SEGMENT_BYTES as usize)).await.unwrap();
        assert_eq!(bytes.unwrap().len(), SEGMENT_BYTES as usize);
    }
    assert!(!read_response(first).await.unwrap().is_empty());
    client.assert_still_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_delays_only_itself() {
    const BLOBS: u32 = 60;
    const SEGMENTS: u32 = 12;
    let mut testbed = Testbed::new().await;
    let (blob, _) = testbed.with_blob(1, 64 << 20);
    let link: Link = invite(&mut testbed.server, "phone").parse().unwrap();
    let mut settings = settings::client_config(&Handle::default());
    // Received data must not fill the test's own memory.
    settings.receive_window(VarInt::from_u32(8 << 20));
    let connection = dial_with(&testbed, &link, settings).await;
    let _control = send_hello(&connection, &link).await;
    let mut unread = Vec::new();
    for _ in 0..BLOBS {
        let exchange = next_exchange();
        unread.push(send_stream(&connection, &pull(exchange, &blob)).await);
        for n in 0..SEGMENTS {
            unread.push(send_stream(&connection, &segment(exchange, n)).await);
        }
        if (unread.len() as u32).is_multiple_of(10 * (SEGMENTS + 1)) {
            assert_others_are_served_at_once(&testbed).await;
        }
    }
    let request_log = testbed.hub.request_log();
    let all_requested = || request_log.count(|entry| entry.path.contains("/blobs/")) >= BLOBS as usize;
    block_in_place(|| {
        testbed
            .server
            .process()
            .wait_for("request all blobs", PROCESS_TIMEOUT, |_| Ok(all_requested().then_some(())))
    })
    .unwrap();
    // All of them are in progress, and none can continue.
    for _ in 0..5 {
        assert_others_are_served_at_once(&testbed).await;
    }
    let (small, path) = testbed.with_blob(2, 3 << 20);
    let bearer = testbed.engine.anonymous("library/hello").await;
    let response = testbed.engine.get(&path, &[("authorization", &bearer)]).await;
    assert!(response.whole && response.body.len() as u64 == small.len());
    assert_little_memory(&mut testbed);
}
