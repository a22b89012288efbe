//! Spans of pulls, for OpenTelemetry. Without the feature `otel`, and unless the environment names a collector, there are
//! none.
//!
//! A pull's trace id on the wire has 64 bits. OpenTelemetry's has 128, of which the others are 0 (W3C Trace Context,
//! section 3.2.2.3), and the span of the whole pull has the same number as its id. So each side knows the parent of its
//! spans without a word more on the wire. Must never export a line that is no part of a pull.

use docxy_protocol::request::TraceId;
use std::time::{Duration, SystemTime};
use tracing::Span;

/// A span of an engine's request of this pull. It ends when it is dropped.
#[must_use]
pub fn request(trace: TraceId, operation: &'static str, content: &str) -> Span {
    #[cfg(feature = "otel")]
    if super::otel::is_on() && trace.is_some() {
        let span = tracing::info_span!(parent: None, "request", trace_id = %trace, operation, content);
        super::otel::join(&span, trace);
        return span;
    }
    let _ = (trace, operation, content);
    Span::none()
}

/// Makes a span, which was not entered yet, one of this pull.
pub fn join(span: &Span, trace: TraceId) {
    #[cfg(feature = "otel")]
    if trace.is_some() {
        super::otel::join(span, trace);
    }
    let _ = (span, trace);
}

/// A pull that has ended: the parent of all spans with its trace id.
#[derive(Debug, Clone, Copy)]
pub struct PullSpan<'a> {
    /// Its id.
    pub trace: TraceId,
    /// The image, as users name it.
    pub image: &'a str,
    /// When it began.
    pub began: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Bytes in all.
    pub bytes: u64,
    /// Why it failed, if it did.
    pub failure: Option<&'a str>,
}

impl PullSpan<'_> {
    /// Exports it.
    pub fn record(self) {
        #[cfg(feature = "otel")]
        super::otel::record(self);
    }
}
