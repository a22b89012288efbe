//! What a collector gets. `cargo test -p docxy-host --features otel --test otel`

#![cfg(feature = "otel")]
#![expect(clippy::unwrap_used, reason = "in test helpers, unwrap is an assertion")]

use docxy_host::logging::{self, Filter, spans};
use docxy_protocol::request::TraceId;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

const TRACE: TraceId = TraceId(0x0123_4567_89ab_cdef);

/// How long a test waits for spans.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(60);

/// The start of a field of a span (OTLP, trace.proto).
const TRACE_ID: &[u8] = b"\x0a\x10";
const OWN_ID: &[u8] = b"\x12\x08";
const PARENT_ID: &[u8] = b"\x22\x08";
const NAME: &[u8] = b"\x2a";

/// The log filter of the program whose spans are exported, which is this process then: the variables are those of a
/// process.
const IS_PROGRAM: &str = "DOCXY_TEST_OTEL";

/// Two requests and the pull, with a log filter. Then it waits until its input ends.
fn program(filter: &str) {
    let filter: Filter = filter.parse().unwrap();
    let log = logging::start(&filter);
    drop(spans::request(TRACE, "manifest", "docker.io/library/app:latest"));
    let exchange = tracing::error_span!("exchange", trace_id = %TRACE, operation = "blob");
    spans::join(&exchange, TRACE);
    exchange.in_scope(|| {
        // More than a library may log.
        for _ in 0..100 {
            tracing::warn!(target: "quinn_proto::connection", "LIBRARY");
        }
        tracing::info!("LOGGED_AT_INFO");
        tracing::debug!("LOGGED_AT_DEBUG");
    });
    // A span is exported when it has ended.
    drop(exchange);
    tracing::error_span!("connection").in_scope(|| ());
    let (began, took) = (SystemTime::now(), Duration::from_secs(3));
    let image = "docker.io/library/app:latest";
    spans::PullSpan { trace: TRACE, image, began, took, bytes: 5, failure: None }.record();
    let _ = std::io::stdin().read(&mut [0]);
    drop(log);
}

/// The body of a request, which is answered.
fn receive(stream: TcpStream) -> Vec<u8> {
    let mut reader = BufReader::new(&stream);
    let mut length = 0;
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("POST /v1/traces HTTP/1.1"), "{line}");
    while !line.trim().is_empty() {
        line.clear();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    body
}

fn count(body: &[u8], start: &[u8], id: &[u8]) -> usize {
    let field = [start, id].concat();
    body.windows(field.len()).filter(|window| *window == field).count()
}

/// Runs the program with this log filter. Returns what the collector gets, and the log.
fn export(test: &str, filter: &str) -> (Vec<u8>, String) {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(IS_PROGRAM, filter)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", collector.local_addr().unwrap()))
        .env("OTEL_BSP_SCHEDULE_DELAY", "20")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, bodies) = mpsc::channel();
    // It ends with the test's process.
    thread::spawn(move || collector.incoming().try_for_each(|stream| sender.send(receive(stream.unwrap()))));
    let mut body = Vec::new();
    while count(&body, TRACE_ID, &trace()) < 3 {
        body.extend(bodies.recv_timeout(EXPORT_TIMEOUT).expect("spans are exported"));
    }
    drop(program.stdin.take());
    let ended = program.wait_with_output().unwrap();
    assert!(ended.status.success());
    (body, String::from_utf8(ended.stderr).unwrap())
}

fn trace() -> Vec<u8> {
    [[0; 8], TRACE.0.to_be_bytes()].concat()
}

#[test]
fn a_pull_is_the_parent_of_the_spans_with_its_trace_id() {
    if let Ok(filter) = std::env::var(IS_PROGRAM) {
        return program(&filter);
    }
    let id = TRACE.0.to_be_bytes();
    // What is exported does not depend on what is logged, nor the other way round.
    for (filter, of_library, is_logged) in
        [("off", 0, false), ("error", 0, false), ("info", 10, true), ("debug,otel=off", 10, false)]
    {
        let (body, log) = export("a_pull_is_the_parent_of_the_spans_with_its_trace_id", filter);
        assert_eq!(count(&body, TRACE_ID, &trace()), 3, "{filter}");
        assert_eq!((count(&body, OWN_ID, &id), count(&body, PARENT_ID, &id)), (1, 2), "{filter}");
        for (name, expected) in [("pull", 1), ("request", 1), ("exchange", 1), ("connection", 0)] {
            let field = [NAME, &[u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
            assert_eq!(count(&body, &field, b""), expected, "{filter}: {name}");
        }
        assert_eq!(log.contains("LOGGED_AT_INFO"), is_logged, "{filter}: {log}");
        assert!(!log.contains("LOGGED_AT_DEBUG"), "{filter}: {log}");
        assert_eq!(log.matches("LIBRARY").count(), of_library, "{filter}: {log}");
    }
}
