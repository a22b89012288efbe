//! A body of a hundred bytes, from sources that do everything but send it.

use super::*;
use hyper::body::{Frame, SizeHint};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use tokio::time::Instant;

const LENGTH: usize = 100;

/// What one answer sends, until it ends or breaks.
enum Step {
    Send(std::ops::Range<usize>),
    Break,
    FallSilent,
}
use Step::{Break, FallSilent, Send};

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
            Some(FallSilent) => Poll::Pending,
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

type Answer = Result<Followed<Script>, Fault>;

/// Answers in turn, and what was asked for.
struct Sources {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<String>>,
}

impl Sources {
    fn of(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self { answers: Mutex::new(answers.into_iter().collect()), asked: Mutex::default() }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Source for &Sources {
    type Body = Script;

    async fn rest(&self, range: HeaderValue) -> Answer {
        self.asked.lock().unwrap().push(range.to_str().unwrap().to_owned());
        self.answers.lock().unwrap().pop_front().expect("an attempt that was foreseen")
    }

    fn chance(&self) -> f64 {
        1.0
    }
}

fn answer(status: u16, range: Option<&str>, length: u64, steps: Vec<Step>) -> Followed<Script> {
    let body = Script { steps: steps.into(), length: Some(length) };
    let mut response = http::Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    if let Some(range) = range {
        response.headers_mut().insert("content-range", range.parse().unwrap());
    }
    Followed { hop: Hop::Cdn, response }
}

/// A whole body that begins like this.
fn whole(steps: Vec<Step>) -> Followed<Script> {
    answer(200, None, LENGTH as u64, steps)
}

/// The rest from `start` on, which goes like this.
fn rest(start: usize, steps: Vec<Step>) -> Answer {
    Ok(answer(206, Some(&format!("bytes {start}-99/100")), (LENGTH - start) as u64, steps))
}

fn status(status: u16) -> Answer {
    Ok(answer(status, None, 0, Vec::new()))
}

/// Reads what begins with `first`; what came, and how it ended.
async fn read(first: Followed<Script>, sources: &Sources) -> (Vec<u8>, Result<(), Fault>) {
    let (head, body) = first.response.into_parts();
    let mut download = Download::continued(first.hop, head.status, &head.headers, body, sources);
    let mut came = Vec::new();
    loop {
        match download.next().await {
            Ok(Some(bytes)) => came.extend_from_slice(&bytes),
            Ok(None) => return (came, Ok(())),
            Err(fault) => return (came, Err(fault)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_cut_again_and_again_goes_on_where_it_was() {
    let sources = Sources::of([
        rest(10, vec![Send(10..11), Break]),
        rest(11, vec![Send(11..50)]),
        rest(50, vec![Send(50..99), Break]),
        rest(99, vec![Send(99..100)]),
    ]);
    let (came, end) = read(whole(vec![Send(0..10), Break]), &sources).await;
    assert_eq!((came, end), (content(), Ok(())));
    assert_eq!(sources.asked(), ["bytes=10-", "bytes=11-", "bytes=50-", "bytes=99-"]);
}

#[tokio::test(start_paused = true)]
async fn a_body_without_a_byte_for_15_seconds_is_asked_for_again() {
    let started = Instant::now();
    let sources = Sources::of([rest(40, vec![Send(40..100)])]);
    let (came, end) = read(whole(vec![Send(0..40), FallSilent]), &sources).await;
    assert_eq!((came, end), (content(), Ok(())));
    assert_eq!(started.elapsed().as_millis(), 15_250);
}

#[tokio::test(start_paused = true)]
async fn an_expired_url_or_a_host_in_trouble_is_resolved_anew() {
    let down = Fault::new(Hop::Registry, FaultKind::Unreachable, "refused");
    let answers = [status(403), status(410), status(503), Err(down), status(500)];
    let sources = Sources::of(answers.into_iter().chain([rest(1, vec![Send(1..100)])]));
    let (came, end) = read(whole(vec![Send(0..1), Break]), &sources).await;
    assert_eq!((came, end), (content(), Ok(())));
    assert_eq!(sources.asked(), ["bytes=1-"; 6]);
}

#[tokio::test(start_paused = true)]
async fn six_attempts_in_vain_break_the_body_and_one_byte_renews_them() {
    let started = Instant::now();
    let vain = || (0..5).map(|_| status(503));
    let one = rest(1, vec![Send(1..2), Break]);
    let sources = Sources::of(vain().chain([one]).chain(vain()).chain([status(502)]));
    let (came, end) = read(whole(vec![Send(0..1), Break]), &sources).await;
    assert_eq!(came, [0, 1]);
    let fault = end.unwrap_err();
    assert_eq!((fault.hop, fault.kind), (Hop::Cdn, FaultKind::MalformedResponse));
    assert!(fault.detail.as_str().contains("502"), "{fault}");
    assert_eq!(started.elapsed().as_millis(), 2 * 61_250);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_continue_the_body_exactly_is_never_passed_on() {
    let wrong = |range: &str, length| Ok(answer(206, Some(range), length, vec![Send(0..100)]));
    let sources = Sources::of([
        wrong("bytes 11-99/100", 89),
        wrong("bytes 9-99/100", 91),
        wrong("bytes 10-98/100", 89),
        wrong("bytes 10-99/101", 90),
        wrong("bytes 10-99/100", 89),
        Ok(answer(200, None, 99, vec![Send(0..99)])),
    ]);
    let (came, end) = read(whole(vec![Send(0..10), Break]), &sources).await;
    assert_eq!(came, content()[..10]);
    assert_eq!(end.unwrap_err().kind, FaultKind::MalformedResponse);
    assert_eq!(sources.asked().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_continuation_that_ends_early_is_no_end() {
    let sources = Sources::of([rest(10, vec![Send(10..20)]), rest(20, vec![Send(20..100)])]);
    let (came, end) = read(whole(vec![Send(0..10), Break]), &sources).await;
    assert_eq!((came, end), (content(), Ok(())));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ignores_ranges_is_skipped_forward() {
    let all = || Ok(whole(vec![Send(0..5), Send(5..25), Send(25..100)]));
    let sources = Sources::of([all()]);
    let (came, end) = read(whole(vec![Send(0..10), Break]), &sources).await;
    assert_eq!((came, end), (content(), Ok(())));
    // Within the range that an engine asked for, and no further.
    let first = answer(206, Some("bytes 20-29/100"), 10, vec![Send(20..23), Break]);
    let sources = Sources::of([all()]);
    let (came, end) = read(first, &sources).await;
    assert_eq!((came, end), (content()[20..30].to_vec(), Ok(())));
    assert_eq!(sources.asked(), ["bytes=23-29"]);
}

#[tokio::test(start_paused = true)]
async fn what_no_attempt_can_mend_breaks_the_body_at_once() {
    let started = Instant::now();
    let expired = Fault::new(Hop::Registry, FaultKind::CredentialExpired, "expired");
    let gone = Followed { hop: Hop::Registry, ..status(404).unwrap() };
    for answer in [Err(expired), Ok(gone)] {
        let sources = Sources::of([answer]);
        let (came, end) = read(whole(vec![Send(0..10), Break]), &sources).await;
        assert_eq!(came, content()[..10]);
        assert_eq!(end.unwrap_err().hop, Hop::Registry);
    }
    assert_eq!(started.elapsed().as_millis(), 500, "one short wait each");
}

#[tokio::test(start_paused = true)]
async fn a_body_of_unknown_length_is_not_continued() {
    let mut first = whole(vec![Send(0..10), Break]);
    first.response.body_mut().length = None;
    let (came, end) = read(first, &Sources::of([])).await;
    assert_eq!(came, content()[..10]);
    assert_eq!(end.unwrap_err().kind, FaultKind::Truncated);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_asks_for_time_gets_it() {
    let started = Instant::now();
    let mut busy = status(503).unwrap();
    busy.response.headers_mut().insert("retry-after", HeaderValue::from_static("30"));
    let sources = Sources::of([Ok(busy), rest(10, vec![Send(10..100)])]);
    let (came, end) = read(whole(vec![Send(0..10), Break]), &sources).await;
    assert_eq!((came, end), (content(), Ok(())));
    assert_eq!(started.elapsed().as_millis(), 30_250);
}
