//! What every leg does: each test runs over all of them.

#![expect(clippy::unwrap_used, reason = "in test helpers, unwrap is an assertion")]

use bytes::Bytes;
use docxy_protocol::control::{CloseCode, ControlMessage, ExchangeId, SegmentHeader, StreamHeader};
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::frame;
use docxy_protocol::limits::RESPONSE_STREAM_WINDOW;
use docxy_transport::test_legs::{Pair, TestLeg};
use docxy_transport::{RateLimit, ReadError, ReceiveStream, SendError, SendStream, Session, SessionError};
use futures_util::FutureExt as _;
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// What counts as hanging.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Longer than loopback needs, if a test can only wait.
const MOMENT: Duration = Duration::from_millis(200);

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    timeout(TIMEOUT, work).await.expect("an end in time")
}

/// A pair over each leg.
async fn pairs() -> Vec<(TestLeg, Pair)> {
    let mut pairs = Vec::new();
    for leg in TestLeg::ALL {
        pairs.push((leg, leg.connect().await));
    }
    pairs
}

fn header() -> StreamHeader {
    StreamHeader::Segment(SegmentHeader { exchange: ExchangeId(7), n: 1 })
}

/// A stream of the client, as the client and the server see it.
async fn stream(pair: &Pair) -> (ReceiveStream, SendStream) {
    let response = in_time(pair.client.open_finished(&header())).await.unwrap();
    let (send, mut receive) = in_time(pair.server.accept()).await.unwrap();
    assert_eq!(in_time(receive.read_frame::<StreamHeader>()).await.unwrap(), header());
    assert_eq!(rest(&mut receive).await.unwrap(), b"");
    (response, send)
}

/// All bytes to the end of a stream.
async fn rest(stream: &mut ReceiveStream) -> Result<Vec<u8>, ReadError> {
    let mut all = Vec::new();
    while let Some(bytes) = in_time(stream.read_chunk(1000)).await? {
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

#[tokio::test]
async fn bytes_arrive_in_order_and_then_the_end() {
    for (leg, pair) in pairs().await {
        let (mut receive, mut send) = stream(&pair).await;
        for part in [&b"one "[..], b"two ", b"three"] {
            send.send(Bytes::copy_from_slice(part)).await.unwrap();
        }
        send.finish().unwrap();
        let mut first = [0; 4];
        in_time(receive.read_exact(&mut first)).await.unwrap();
        assert_eq!(&first, b"one ", "{leg:?}");
        let mut buffer = [0; 2];
        assert_eq!(in_time(receive.read(&mut buffer)).await.unwrap(), Some(2));
        assert_eq!(rest(&mut receive).await.unwrap(), b"o three", "{leg:?}");
        assert!(matches!(in_time(receive.read_exact(&mut first)).await, Err(ReadError::Ended)));
    }
}

#[tokio::test]
async fn frames_are_read_one_by_one() {
    for (leg, pair) in pairs().await {
        let (mut receive, mut send) = stream(&pair).await;
        let draining = frame::encode(&ControlMessage::Draining).unwrap();
        send.send([&draining[..], &draining, &draining[..3]].concat().into()).await.unwrap();
        send.finish().unwrap();
        for _ in 0..2 {
            assert_eq!(
                in_time(receive.read_frame::<ControlMessage>()).await.unwrap(),
                ControlMessage::Draining
            );
        }
        let cut_off = in_time(receive.read_frame::<ControlMessage>()).await;
        assert!(matches!(cut_off, Err(ReadError::Frame(_))), "{leg:?}: {cut_off:?}");
    }
}

#[tokio::test]
async fn a_sender_waits_for_its_reader() {
    for (leg, pair) in pairs().await {
        let (mut receive, mut send) = stream(&pair).await;
        let body = Bytes::from(vec![7; 3 * RESPONSE_STREAM_WINDOW as usize]);
        let length = body.len();
        let sending = async move {
            send.send(body).await.unwrap();
            send.finish().unwrap();
        };
        tokio::pin!(sending);
        assert!(timeout(MOMENT, &mut sending).await.is_err(), "{leg:?}: the window is a third of it");
        let ((), read) = in_time(async { tokio::join!(sending, rest(&mut receive)) }).await;
        assert_eq!(read.unwrap().len(), length, "{leg:?}");
    }
}

#[tokio::test]
async fn a_dropped_sender_resets_its_stream_on_both_sides() {
    for (leg, pair) in pairs().await {
        let (mut receive, mut send) = stream(&pair).await;
        send.send(Bytes::from_static(b"half")).await.unwrap();
        drop(send);
        match rest(&mut receive).await {
            Err(ReadError::Reset(fault)) => {
                assert_eq!((fault.hop, fault.kind), (Hop::Server, FaultKind::Cancelled), "{leg:?}");
            }
            other => panic!("{leg:?}: {other:?}"),
        }
        let (send, _receive) = in_time(pair.client.open(&header())).await.unwrap();
        let (_send, mut receive) = in_time(pair.server.accept()).await.unwrap();
        in_time(receive.read_frame::<StreamHeader>()).await.unwrap();
        drop(send);
        let read = rest(&mut receive).await;
        assert!(matches!(read, Err(ReadError::Reset(_))), "{leg:?}: {read:?}");
    }
}

#[tokio::test]
async fn a_reset_tells_the_fault() {
    for (leg, pair) in pairs().await {
        let (mut receive, send) = stream(&pair).await;
        send.reset(&Fault::new(Hop::Cdn, FaultKind::Overloaded, "secret"));
        match rest(&mut receive).await {
            Err(ReadError::Reset(fault)) => {
                assert_eq!((fault.hop, fault.kind), (Hop::Cdn, FaultKind::Overloaded), "{leg:?}");
            }
            other => panic!("{leg:?}: {other:?}"),
        }
        assert!(pair.client.close_reason().is_none(), "{leg:?}: the session goes on");
    }
}

#[tokio::test]
async fn a_dropped_reader_stops_its_sender() {
    for (leg, pair) in pairs().await {
        let (receive, mut send) = stream(&pair).await;
        let stopped = send.stopped();
        drop(receive);
        in_time(stopped).await;
        assert!(matches!(send.send(Bytes::from_static(b"x")).await, Err(SendError::Stopped)), "{leg:?}");
    }
}

#[tokio::test]
async fn a_stream_that_was_delivered_is_not_stopped() {
    for (leg, pair) in pairs().await {
        let (mut receive, mut send) = stream(&pair).await;
        let stopped = send.stopped();
        send.send(Bytes::from_static(b"whole")).await.unwrap();
        send.finish().unwrap();
        assert_eq!(rest(&mut receive).await.unwrap(), b"whole");
        drop(receive);
        assert!(timeout(MOMENT, stopped).await.is_err(), "{leg:?}");
    }
}

#[tokio::test]
async fn a_finished_stream_is_withdrawn_until_it_is_delivered() {
    for (leg, pair) in pairs().await {
        // Nothing leaves this side before the test waits for something.
        let (mut receive, mut send) = stream(&pair).await;
        send.send(Bytes::from_static(b"withdrawn")).now_or_never().expect("room in the window").unwrap();
        drop(send.finish_revocable().unwrap());
        let read = rest(&mut receive).await;
        assert!(matches!(read, Err(ReadError::Reset(_))), "{leg:?}: {read:?}");

        let (mut receive, mut send) = stream(&pair).await;
        send.send(Bytes::from_static(b"delivered")).await.unwrap();
        let finished = send.finish_revocable().unwrap();
        let (delivered, read) =
            in_time(async { tokio::join!(finished.delivered(), rest(&mut receive)) }).await;
        assert!(delivered && read.unwrap() == b"delivered", "{leg:?}");
        drop(finished);

        let (receive, send) = stream(&pair).await;
        let finished = send.finish_revocable().unwrap();
        pair.server.close(CloseCode::Done);
        assert!(!in_time(finished.delivered()).await || leg == TestLeg::Memory, "{leg:?}: the session ended");
        drop(receive);
    }
}

#[tokio::test]
async fn a_close_tells_the_code_and_the_text() {
    for (leg, pair) in pairs().await {
        let (mut receive, send) = stream(&pair).await;
        let stopped = send.stopped();
        pair.server.close_with(CloseCode::Draining, "come back\r\nlater");
        let reason = in_time(pair.client.closed()).await;
        assert_eq!(reason.close_code(), Some(CloseCode::Draining), "{leg:?}");
        assert!(reason.to_string().contains("come back later"), "{leg:?}: {reason}");
        assert!(matches!(in_time(pair.server.closed()).await, SessionError::Closed), "{leg:?}");
        assert!(matches!(rest(&mut receive).await, Err(ReadError::Lost(_))), "{leg:?}");
        in_time(stopped).await;
        let receive = in_time(pair.client.open_finished(&header())).await;
        assert!(matches!(receive, Err(SendError::Lost(_))), "{leg:?}");
        assert!(in_time(pair.server.accept()).await.is_err(), "{leg:?}");
    }
}

#[tokio::test]
async fn what_had_arrived_outlives_the_session() {
    for (leg, pair) in pairs().await {
        let (mut receive, mut send) = stream(&pair).await;
        send.send(Bytes::from_static(b"all of it")).await.unwrap();
        let mut first = [0; 3];
        in_time(receive.read_exact(&mut first)).await.unwrap();
        pair.server.close(CloseCode::Done);
        in_time(pair.client.closed()).await;
        let arrived: Vec<u8> = receive.into_arrived().into_iter().flatten().collect();
        assert_eq!(arrived, b" of it", "{leg:?}");
        let open = stream_of(&pair.client).await;
        assert!(open.is_none(), "{leg:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_delivered_before_the_close_arrives() {
    let body = Bytes::from(vec![7; 512 * 1024]);
    for _ in 0..20 {
        for (leg, pair) in pairs().await {
            let (mut receive, mut send) = stream(&pair).await;
            let serve = async {
                send.send(body.clone()).await.unwrap();
                let finished = send.finish_revocable().unwrap();
                assert!(finished.delivered().await, "{leg:?}");
                pair.server.close(CloseCode::Done);
                pair.server.close_confirmed().await;
            };
            let (read, ()) = in_time(async { tokio::join!(rest(&mut receive), serve) }).await;
            assert_eq!(read.unwrap().len(), body.len(), "{leg:?}");
        }
    }
}

async fn stream_of(session: &Session) -> Option<ReceiveStream> {
    in_time(session.open_finished(&header())).await.ok()
}

#[tokio::test]
async fn what_had_arrived_is_known_without_waiting() {
    for (leg, pair) in pairs().await {
        let (receive, _send) = stream(&pair).await;
        assert!(receive.into_arrived().is_empty(), "{leg:?}");
    }
}

#[tokio::test]
async fn a_session_ends_with_its_last_handle() {
    for (leg, pair) in pairs().await {
        let (receive, send) = stream(&pair).await;
        let Pair { client, server, .. } = pair;
        drop(client);
        assert!(timeout(MOMENT, server.closed()).await.is_err(), "{leg:?}: a stream is left");
        drop(receive);
        let closed = in_time(server.closed()).await;
        assert_eq!(closed.close_code(), Some(CloseCode::Done), "{leg:?}: {closed:?}");
        drop(send);
    }
}

#[tokio::test]
async fn sessions_are_told_apart() {
    for (leg, pair) in pairs().await {
        assert!(pair.client.is_same(&pair.client.clone()) && !pair.client.is_same(&pair.server), "{leg:?}");
    }
}

#[tokio::test]
async fn the_path_counts_what_crosses_it() {
    for (leg, pair) in pairs().await {
        let before = pair.client.path();
        let (mut receive, mut send) = stream(&pair).await;
        send.send(Bytes::from(vec![7; 5000])).await.unwrap();
        send.finish().unwrap();
        rest(&mut receive).await.unwrap();
        let after = pair.client.path();
        assert!(after.bytes_received >= before.bytes_received + 5000, "{leg:?}");
        assert!(after.bytes_sent > before.bytes_sent, "{leg:?}");
        assert!(after.datagrams_received > before.datagrams_received, "{leg:?}");
        assert!(after.ack_eliciting_sent > before.ack_eliciting_sent, "{leg:?}");
        assert!(after.rtt > Duration::ZERO, "{leg:?}");
    }
}

#[tokio::test]
async fn an_idle_tcp_session_gets_padding_and_a_stream_ends_it() {
    const PADDING: u64 = 64 * 1024;
    let pair = TestLeg::Tcp.connect().await;
    let server = pair.server.clone();
    let accepting = tokio::spawn(async move { server.accept().await });
    in_time(async {
        while pair.server.path().bytes_sent < 2 * PADDING {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    in_time(pair.client.open_finished(&header())).await.unwrap();
    assert!(in_time(accepting).await.unwrap().is_ok(), "a stream of the client");
    // Within a low rate limit, it has hardly begun.
    let limit = RateLimit::default();
    limit.set(Some("100 kbit/s".parse().unwrap()));
    let mut pair = TestLeg::Tcp.connect().await;
    pair.server = pair.server.with_rate_limit(limit);
    let (mut receive, send) = stream(&pair).await;
    send.finish().unwrap();
    assert_eq!(rest(&mut receive).await.unwrap(), b"");
    assert!(pair.server.path().bytes_sent < PADDING);
}

#[tokio::test]
async fn all_that_a_session_sends_keeps_to_its_rate_limit() {
    const RATE: f64 = 8e6 / 8.0;
    const BYTES: usize = 150_000;
    /// What an idle sender sends at once: 10 ms of what is small, and of all; and one piece.
    const BURST: f64 = 0.02 * RATE + 1000.0;
    for leg in TestLeg::ALL {
        let mut pair = leg.connect().await;
        let limit = RateLimit::default();
        limit.set(Some("8 Mbit/s".parse().unwrap()));
        pair.client = pair.client.with_rate_limit(limit);
        let (begun, before) = (Instant::now(), pair.client.path().bytes_sent);
        for urgency in [0, 1] {
            let (mut send, _response) = in_time(pair.client.open(&header())).await.unwrap();
            send.set_urgency(urgency);
            let (_send, mut receive) = in_time(pair.server.accept()).await.unwrap();
            let reading = tokio::spawn(async move { rest(&mut receive).await.unwrap().len() });
            // Small pieces, whose headers count, too.
            for _ in 0..BYTES / 1000 {
                in_time(send.send(Bytes::from_static(&[7; 1000]))).await.unwrap();
                tokio::task::yield_now().await;
            }
            send.finish().unwrap();
            assert!(in_time(reading).await.unwrap() >= BYTES);
            let sent = (pair.client.path().bytes_sent - before) as f64;
            let allowed = begun.elapsed().as_secs_f64() * RATE + BURST;
            assert!(sent <= allowed, "{leg:?}, urgency {urgency}: {sent} bytes of {allowed}");
        }
    }
}

/// A cut exists in memory alone: on QUIC, the tests of the programs cut the network.
#[tokio::test]
async fn a_cut_delivers_exactly_what_the_test_says() {
    let pair = TestLeg::Memory.connect().await;
    let (mut receive, mut send) = stream(&pair).await;
    pair.cut.as_ref().unwrap().after(5);
    let sent = in_time(send.send(Bytes::from_static(b"123456789"))).await;
    assert!(matches!(sent, Err(SendError::Lost(SessionError::Failed(_)))), "{sent:?}");
    assert!(matches!(pair.server.close_reason(), Some(SessionError::Failed(_))));
    assert_eq!(receive.read_chunk(3).now_or_never().unwrap().unwrap().unwrap(), &b"123"[..]);
    let arrived: Vec<u8> = receive.into_arrived().into_iter().flatten().collect();
    assert_eq!(arrived, b"45");
}
