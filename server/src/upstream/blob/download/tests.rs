//! A body of 100 bytes, from senders that fail in all ways.

use super::*;
use hyper::body::{Frame, SizeHint};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use tokio::time::Instant;

const LENGTH: usize = 100;

/// What the sender of one response does in turn, before the end.
enum Step {
    Send(Range<usize>),
    Break,
    Stall,
}
use Step::{Break, Send, Stall};

struct Script {
    steps: VecDeque<Step>,
    length: Option<u64>,
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.steps.pop_front() {
            Some(Send(range)) => Poll::Ready(Some(Ok(Frame::data(Bytes::from(content()).slice(range))))),
            Some(Break) => Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into()))),
            Some(Stall) => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Each byte is its own offset.
fn content() -> Vec<u8> {
    (0..LENGTH).map(|byte| byte as u8).collect()
}

type Outcome = Result<UpstreamResponse<Script>, UpstreamError>;

/// The responses in turn, and the ranges that were requested.
struct Sender {
    responses: Mutex<VecDeque<Outcome>>,
    requested: Mutex<Vec<String>>,
}

impl Sender {
    fn new(responses: impl IntoIterator<Item = Outcome>) -> Self {
        Self { responses: Mutex::new(responses.into_iter().collect()), requested: Mutex::default() }
    }

    fn requested(&self) -> Vec<String> {
        self.requested.lock().unwrap().clone()
    }
}

impl RangeSource for &Sender {
    type Body = Script;

    async fn fetch_range(&self, range: HeaderValue, _: Duration) -> Outcome {
        self.requested.lock().unwrap().push(range.to_str().unwrap().to_owned());
        self.responses.lock().unwrap().pop_front().expect("an unexpected range request")
    }
}

fn response(status: u16, range: Option<&str>, length: u64, steps: Vec<Step>) -> UpstreamResponse<Script> {
    let body = Script { steps: steps.into(), length: Some(length) };
    let mut response = http::Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    if let Some(range) = range {
        response.headers_mut().insert("content-range", range.parse().unwrap());
    }
    UpstreamResponse { hop: Hop::Cdn, origin: None, response }
}

/// A response with the whole body, which begins with these steps.
fn whole(steps: Vec<Step>) -> UpstreamResponse<Script> {
    response(200, None, LENGTH as u64, steps)
}

/// A response with the rest from `start` on.
fn rest(start: usize, steps: Vec<Step>) -> Outcome {
    Ok(response(206, Some(&format!("bytes {start}-99/100")), (LENGTH - start) as u64, steps))
}

fn status(status: u16) -> Outcome {
    Ok(response(status, None, 0, Vec::new()))
}

/// Reads a body that begins with `first`. Returns the bytes, and how it ended.
async fn read(first: UpstreamResponse<Script>, sender: &Sender) -> (Vec<u8>, Result<(), UpstreamError>) {
    let (head, body) = first.response.into_parts();
    let mut download = Download::new(first.hop, head.status, &head.headers, body, Some(sender));
    let mut received = Vec::new();
    loop {
        match download.next().await {
            Ok(Some(bytes)) => received.extend_from_slice(&bytes),
            Ok(None) => return (received, Ok(())),
            Err(error) => return (received, Err(error)),
        }
    }
}

/// Asserts that this time has passed, in ms, besides delays of up to `delays` ms with jitter.
fn assert_waited(started: Instant, fixed: u64, delays: u64) {
    let waited = started.elapsed().as_millis();
    let shortest = u128::from(fixed + delays * 4 / 5);
    // The clock of the test has steps of 1 ms.
    assert!((shortest..=shortest + u128::from(delays / 5 + 20)).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_several_times_is_resumed_at_its_offset() {
    let sender = Sender::new([
        rest(10, vec![Send(10..11), Break]),
        rest(11, vec![Send(11..50)]),
        rest(50, vec![Send(50..99), Break]),
        rest(99, vec![Send(99..100)]),
    ]);
    let (received, end) = read(whole(vec![Send(0..10), Break]), &sender).await;
    assert_eq!((received, end), (content(), Ok(())));
    assert_eq!(sender.requested(), ["bytes=10-", "bytes=11-", "bytes=50-", "bytes=99-"]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_for_15_seconds_is_resumed() {
    let started = Instant::now();
    let sender = Sender::new([rest(40, vec![Send(40..100)])]);
    let (received, end) = read(whole(vec![Send(0..40), Stall]), &sender).await;
    assert_eq!((received, end), (content(), Ok(())));
    assert_waited(started, 15_000, 200);
}

#[tokio::test(start_paused = true)]
async fn after_a_cdn_error_the_registry_is_requested_again() {
    let down = UpstreamError::new(Hop::Registry, FaultKind::Unreachable, "refused");
    let errors = [status(403), status(410), status(503), Err(down), status(500)];
    let sender = Sender::new(errors.into_iter().chain([rest(1, vec![Send(1..100)])]));
    let (received, end) = read(whole(vec![Send(0..1), Break]), &sender).await;
    assert_eq!((received, end), (content(), Ok(())));
    assert_eq!(sender.requested(), ["bytes=1-"; 6]);
}

#[tokio::test(start_paused = true)]
async fn six_failed_attempts_fail_the_body_and_one_byte_restores_them() {
    let started = Instant::now();
    let failures = || (0..5).map(|_| status(503));
    let one = rest(1, vec![Send(1..2), Break]);
    let sender = Sender::new(failures().chain([one]).chain(failures()).chain([status(502)]));
    let (received, end) = read(whole(vec![Send(0..1), Break]), &sender).await;
    assert_eq!(received, [0, 1]);
    let fault = end.unwrap_err().fault;
    assert_eq!(
        (fault.hop, fault.kind),
        (Hop::Cdn, FaultKind::RetriesExhausted),
        "a client must not start again"
    );
    assert!(fault.detail.as_str().contains("502"), "{fault}");
    assert_waited(started, 0, 2 * 51_000);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_range_is_never_forwarded() {
    let wrong = |range: &str, length| Ok(response(206, Some(range), length, vec![Send(0..100)]));
    let sender = Sender::new([
        wrong("bytes 11-99/100", 89),
        wrong("bytes 9-99/100", 91),
        wrong("bytes 10-98/100", 89),
        wrong("bytes 10-99/101", 90),
        wrong("bytes 10-99/100", 89),
        Ok(response(200, None, 99, vec![Send(0..99)])),
    ]);
    let (received, end) = read(whole(vec![Send(0..10), Break]), &sender).await;
    assert_eq!(received, content()[..10]);
    assert_eq!(end.unwrap_err().fault.kind, FaultKind::RetriesExhausted);
    assert_eq!(sender.requested().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_continuation_that_ends_early_is_resumed_too() {
    let sender = Sender::new([rest(10, vec![Send(10..20)]), rest(20, vec![Send(20..100)])]);
    let (received, end) = read(whole(vec![Send(0..10), Break]), &sender).await;
    assert_eq!((received, end), (content(), Ok(())));
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_ignores_ranges_is_skipped_to_the_offset() {
    let all = || Ok(whole(vec![Send(0..5), Send(5..25), Send(25..100)]));
    let sender = Sender::new([all()]);
    let (received, end) = read(whole(vec![Send(0..10), Break]), &sender).await;
    assert_eq!((received, end), (content(), Ok(())));
    // Only within the range that the engine requested.
    let first = response(206, Some("bytes 20-29/100"), 10, vec![Send(20..23), Break]);
    let sender = Sender::new([all()]);
    let (received, end) = read(first, &sender).await;
    assert_eq!((received, end), (content()[20..30].to_vec(), Ok(())));
    assert_eq!(sender.requested(), ["bytes=23-29"]);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_fails_the_body_at_once() {
    let started = Instant::now();
    let expired = UpstreamError::new(Hop::Registry, FaultKind::CredentialExpired, "expired");
    let gone = UpstreamResponse { hop: Hop::Registry, ..status(404).unwrap() };
    for outcome in [Err(expired), Ok(gone)] {
        let sender = Sender::new([outcome]);
        let (received, end) = read(whole(vec![Send(0..10), Break]), &sender).await;
        assert_eq!(received, content()[..10]);
        assert_eq!(end.unwrap_err().fault.hop, Hop::Registry);
    }
    // One short delay each.
    assert_waited(started, 0, 400);
}

#[tokio::test(start_paused = true)]
async fn a_body_of_unknown_length_is_not_resumed() {
    let mut first = whole(vec![Send(0..10), Break]);
    first.response.body_mut().length = None;
    let (received, end) = read(first, &Sender::new([])).await;
    assert_eq!(received, content()[..10]);
    assert_eq!(end.unwrap_err().fault.kind, FaultKind::Truncated);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_respected() {
    let started = Instant::now();
    let mut busy = status(503).unwrap();
    busy.response.headers_mut().insert("retry-after", HeaderValue::from_static("30"));
    let sender = Sender::new([Ok(busy), rest(10, vec![Send(10..100)])]);
    let (received, end) = read(whole(vec![Send(0..10), Break]), &sender).await;
    assert_eq!((received, end), (content(), Ok(())));
    assert_waited(started, 30_000, 200);
}
