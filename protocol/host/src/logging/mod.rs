//! The log: always on stderr, so that stdout has only results.
//!
//! A log that cannot be written (the disk is full, the pipe is closed or not read, the terminal is closed)
//! loses its lines and nothing else. Logging must never panic, wait for a reader, or end or fail anything.
//! Lost lines are counted.
//!
//! ```text
//! tracing ─▶ filter ─▶ DependencyLimit ─▶ text or JSON ─▶ Queue (1 MiB; drops lines when full) ─▶ thread ─▶ stderr
//!     │  panics ───────────────────────────────────┘
//!     └───▶ spans of pulls, where they are exported: the filter of the lines is not theirs
//! ```

mod dependencies;
mod filter;
mod format;
#[cfg(feature = "otel")]
mod otel;
mod queue;
pub mod rate_limit;
pub mod spans;
mod timestamp;
pub mod trouble;
mod writer;

pub use filter::{Filter, FilterError};
pub use format::{LogFormat, LogFormatError};

use crate::process::terminal::Stream;
use dependencies::DependencyLimit;
use format::TextLine;
use queue::Queue;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal as _, Write};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::Duration;
use timestamp::timestamp;
use tracing_subscriber::filter::{FilterExt as _, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, reload};

/// Time that the end of the program waits for the last lines to be written. A reader that reads takes
/// milliseconds.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// The running log. Its drop waits until the last lines are written, for at most half a second.
#[derive(Debug)]
#[must_use = "the last lines are lost if this is dropped before the program ends"]
pub struct LogGuard {
    handle: LogHandle,
    #[cfg(feature = "otel")]
    _export: Option<otel::Export>,
}

/// A handle to the log. The default one belongs to no log and does nothing.
#[derive(Debug, Clone, Default)]
pub struct LogHandle {
    queue: Arc<Queue>,
    filter: Option<reload::Handle<Targets, Registry>>,
}

/// Starts the log, for people. Call it once, before anything is logged.
pub fn start(filter: &Filter) -> LogGuard {
    start_as(filter, LogFormat::Text)
}

/// The same in this format.
pub fn start_as(filter: &Filter, format: LogFormat) -> LogGuard {
    let queue = Arc::<Queue>::default();
    match Stream::Stderr.duplicate() {
        Ok(stderr) => writer::start(Arc::clone(&queue), stderr),
        // The process has no descriptor left.
        Err(_) => writer::start(Arc::clone(&queue), io::stderr()),
    }
    let (filter, handle) = reload::Layer::new(filter.targets());
    let is_terminal = io::stderr().is_terminal();
    // No colours in a journal; `NO_COLOR` turns them off on a terminal.
    let colours = is_terminal && std::env::var_os("NO_COLOR").is_none();
    // The layer reports its own errors with `eprintln!`, which panics if stderr is broken.
    let layer = tracing_subscriber::fmt::layer().with_writer(Arc::clone(&queue)).log_internal_errors(false);
    let lines = match format {
        LogFormat::Text => layer.with_ansi(colours).event_format(TextLine { is_terminal }).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).boxed(),
    };
    let subscriber =
        tracing_subscriber::registry().with(lines.with_filter(filter.and(DependencyLimit::default())));
    #[cfg(feature = "otel")]
    let (layer, _export) =
        otel::start(|error| queue.push(format!("{} ERROR {error}\n", timestamp()).as_bytes())).unzip();
    #[cfg(feature = "otel")]
    let subscriber = subscriber.with(layer);
    // Fails only if there is already a log.
    let _ = subscriber.try_init();
    let panics = Arc::clone(&queue);
    std::panic::set_hook(Box::new(move |panic| panics.push(format_panic(panic).as_bytes())));
    LogGuard {
        handle: LogHandle { queue, filter: Some(handle) },
        #[cfg(feature = "otel")]
        _export,
    }
}

impl LogGuard {
    /// A handle that changes the filter and reads the counter.
    #[must_use]
    pub fn handle(&self) -> LogHandle {
        self.handle.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.handle.queue.flush(FLUSH_TIMEOUT);
    }
}

impl LogHandle {
    /// Lines lost since the start of the program.
    #[must_use]
    pub fn lines_dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Writes a line without time and level, such as progress, through the same queue.
    pub fn write_line(&self, text: &str) {
        self.queue.push(format!("{text}\n").as_bytes());
    }

    /// Replaces the filter.
    pub fn set_filter(&self, filter: &Filter) {
        if let Some(handle) = &self.filter {
            // Fails only if there is no log.
            let _ = handle.reload(filter.targets());
        }
    }
}

/// Adds each write to the queue as one line.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Formats a panic as a log line. The standard library's own message would wait for the reader of stderr.
fn format_panic(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("without a name");
    let text = panic.to_string().replace('\n', " ");
    let mut line = format!("{} ERROR panic: thread {name:?} {text}\n", timestamp());
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        line += &backtrace.to_string();
    }
    line
}
