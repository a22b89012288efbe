//! Sends spans to a collector by OTLP over HTTP. The standard's variables set it: without `OTEL_EXPORTER_OTLP_ENDPOINT`
//! or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, it is off.
//!
//! A collector that does not answer loses spans, and nothing else. Must never delay anything but the end of the program,
//! and that for half a second.

use super::spans::PullSpan;
use crate::trouble::Trouble;
use bytes::Bytes;
use docxy_protocol::request::TraceId;
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry::trace::{
    self as otel, Span as _, SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SdkTracer, SdkTracerProvider};
use parking_lot::Mutex;
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tracing::{Level, Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

/// The variables that name a collector.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// The name of a program is that of its file, unless this names it.
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";

/// How long a collector may take to answer.
const COLLECTOR_TIMEOUT: Duration = Duration::from_secs(10);

/// A collector's answer, at most.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The level of what is exported, and those above it.
const LEVEL: Level = Level::INFO;

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

thread_local! {
    /// The number of the pull whose span this thread makes.
    static PULL: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The running export. Its drop sends the last spans.
#[derive(Debug)]
pub(super) struct Export(SdkTracerProvider);

impl Drop for Export {
    fn drop(&mut self) {
        // What a collector has not taken by then is lost.
        let _ = self.0.shutdown_with_timeout(super::FLUSH_TIMEOUT);
    }
}

/// Starts the export, if a collector is named. Call it once. Gives `report` what is wrong with the variables.
pub(super) fn start<S>(report: impl Fn(&str)) -> Option<(impl Layer<S>, Export)>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    ENDPOINTS.iter().find_map(std::env::var_os)?;
    let runtime = Builder::new_current_thread().enable_all().build().ok()?;
    let collector = Collector { runtime, trouble: Mutex::default() };
    let exporter = SpanExporter::builder().with_http().with_http_client(collector).build();
    let exporter = exporter.inspect_err(|error| report(&format!("spans are not exported: {error}")));
    let resource = Resource::builder();
    let resource = match std::env::var_os(SERVICE_NAME) {
        Some(_) => resource,
        None => resource.with_service_name(program_name()),
    };
    let provider = SdkTracerProvider::builder()
        .with_id_generator(PullIds::default())
        .with_batch_exporter(exporter.ok()?)
        .with_resource(resource.build())
        .build();
    let tracer = provider.tracer("docxy");
    // Not the filter of the log lines: what is exported must not depend on what is logged.
    let filter = filter_fn(is_of_pull).with_max_level_hint(LEVEL);
    let layer = tracing_opentelemetry::layer().with_tracer(tracer.clone()).with_filter(filter);
    TRACER.set(tracer).ok()?;
    Some((layer, Export(provider)))
}

pub(super) fn is_on() -> bool {
    TRACER.get().is_some()
}

/// Makes the span of this pull the parent of a span.
pub(super) fn join(span: &Span, trace: TraceId) {
    let pull =
        SpanContext::new(trace_id(trace), SpanId::from(trace.0), TraceFlags::SAMPLED, true, TraceState::NONE);
    // Fails only if there is no export.
    let _ = span.set_parent(Context::new().with_remote_span_context(pull));
}

pub(super) fn record(pull: PullSpan<'_>) {
    let Some(tracer) = TRACER.get() else { return };
    let PullSpan { trace, image, began, took, bytes, failure } = pull;
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let attributes = [KeyValue::new("image", image.to_owned()), KeyValue::new("bytes", bytes)];
    let builder = tracer.span_builder("pull").with_start_time(began).with_attributes(attributes);
    PULL.set(trace.is_some().then_some(trace.0));
    let mut span = tracer.build_with_context(builder, &Context::new());
    PULL.set(None);
    if let Some(failure) = failure {
        span.set_status(Status::error(failure.to_owned()));
    }
    span.end_with_timestamp(began + took);
}

fn trace_id(trace: TraceId) -> otel::TraceId {
    otel::TraceId::from(u128::from(trace.0))
}

/// Spans with a trace id, and our own lines within them.
fn is_of_pull(metadata: &Metadata<'_>) -> bool {
    if *metadata.level() > LEVEL {
        false
    } else if metadata.is_span() {
        metadata.fields().field("trace_id").is_some()
    } else {
        metadata.target().starts_with("docxy_")
    }
}

fn program_name() -> String {
    let program = std::env::current_exe().ok();
    let name = program.as_ref().and_then(|program| program.file_name());
    name.map_or_else(|| "docxy".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Random ids, except those of a pull.
#[derive(Debug, Default)]
struct PullIds(RandomIdGenerator);

impl IdGenerator for PullIds {
    fn new_trace_id(&self) -> otel::TraceId {
        PULL.get().map_or_else(|| self.0.new_trace_id(), |id| trace_id(TraceId(id)))
    }

    fn new_span_id(&self) -> SpanId {
        PULL.get().map_or_else(|| self.0.new_span_id(), SpanId::from)
    }
}

/// The collector. The exporter has a thread of its own, which waits for it.
#[derive(Debug)]
struct Collector {
    runtime: Runtime,
    trouble: Mutex<Trouble>,
}

impl HttpClient for Collector {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let sent = async { tokio::time::timeout(COLLECTOR_TIMEOUT, send(request)).await? };
            let sent = self.runtime.block_on(sent);
            let mut trouble = self.trouble.lock();
            let failure = match &sent {
                Ok(response) if response.status().is_success() => None,
                Ok(response) => Some(response.status().to_string()),
                Err(error) => Some(error.to_string()),
            };
            match failure {
                Some(error) if trouble.begin(Instant::now()) => {
                    tracing::warn!(error, "spans cannot be sent to the collector");
                }
                None if trouble.end(Instant::now()).is_some() => {
                    tracing::info!("spans are sent to the collector again");
                }
                _ => {}
            }
            sent
        })
    }
}

async fn send(mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let authority = match (request.uri().scheme_str(), request.uri().authority()) {
        (Some("http"), Some(authority)) if !authority.as_str().contains('@') => authority.clone(),
        _ => return Err("only http:// without a user is supported: run a collector on this machine".into()),
    };
    let host = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    *request.uri_mut() = path.parse::<Uri>()?;
    request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let (head, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
        Ok::<_, HttpError>(Response::from_parts(head, body))
    };
    tokio::pin!(connection, answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => {
            ended?;
            answer.await
        }
    }
}
