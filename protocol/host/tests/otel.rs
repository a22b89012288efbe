//! What a collector gets. `cargo test -p docxy-host --features otel --test otel`

#![cfg(feature = "otel")]
#![expect(clippy::unwrap_used, reason = "in test helpers, unwrap is an assertion")]

use docxy_host::logging::{self, Filter, spans};
use docxy_protocol::request::TraceId;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

const TRACE: TraceId = TraceId(0x0123_4567_89ab_cdef);

/// This process is the program whose spans are exported: the variables are those of a process.
const IS_PROGRAM: &str = "DOCXY_TEST_OTEL";

/// Two requests and the pull. Then it waits until its input ends.
fn program() {
    let log = logging::start(&Filter::level(tracing::Level::ERROR));
    drop(spans::request(TRACE, "manifest", "docker.io/library/app:latest"));
    let exchange = tracing::error_span!("exchange", trace_id = %TRACE, operation = "blob");
    spans::join(&exchange, TRACE);
    exchange.in_scope(|| tracing::error!("of no interest"));
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

#[test]
fn a_pull_is_the_parent_of_the_spans_with_its_trace_id() {
    if std::env::var_os(IS_PROGRAM).is_some() {
        return program();
    }
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_pull_is_the_parent_of_the_spans_with_its_trace_id"])
        .env(IS_PROGRAM, "1")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", collector.local_addr().unwrap()))
        .env("OTEL_BSP_SCHEDULE_DELAY", "20")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let id = TRACE.0.to_be_bytes();
    let trace = [[0; 8], id].concat();
    let mut body = Vec::new();
    // The fields of a span (OTLP, trace.proto): 1 is the trace id, 2 its own, 4 that of its parent.
    while count(&body, b"\x0a\x10", &trace) < 3 {
        body.extend(receive(collector.accept().unwrap().0));
    }
    drop(program.stdin.take());
    assert!(program.wait().unwrap().success());
    assert_eq!(count(&body, b"\x0a\x10", &trace), 3);
    assert_eq!((count(&body, b"\x12\x08", &id), count(&body, b"\x22\x08", &id)), (1, 2));
    for (name, expected) in [("pull", 1), ("request", 1), ("exchange", 1), ("connection", 0)] {
        // Field 5 is the name.
        let field = [&[0x2a, u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
        assert_eq!(count(&body, &field, b""), expected, "{name}");
    }
}
