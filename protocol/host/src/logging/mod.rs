//! The log: to stderr, always, so that stdout holds nothing but results.
//!
//! A log that cannot be written (a full disk, a pipe whose reader is gone or does not read, a terminal
//! that was closed) costs its lines and nothing else. LogGuard must never panic, never wait for a
//! reader, and never end or fail anything. QueueWriter that are lost are counted.
//!
//! ```text
//! tracing ─▶ filter ─▶ DependencyLimit ─▶ text ─▶ Queue (1 MiB; drops what has no room) ─▶ thread ─▶ stderr
//! panics ──────────────────────────────────────────┘
//! ```

mod dependencies;
mod filter;
mod queue;
mod writer;

pub use filter::{Filter, FilterError};

use crate::terminal::Stream;
use dependencies::DependencyLimit;
use queue::Queue;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal as _, Write};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer as Text;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// How long the end of the program may wait for the last lines. A reader that reads takes them within
/// milliseconds.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// The running log. When it is dropped, the last lines have been written, or half a second has passed.
#[derive(Debug)]
#[must_use = "the last lines are lost if this is not kept to the end"]
pub struct LogGuard(LogHandle);

/// A handle on the log. The default one is of no log: nothing is lost and nothing can be changed.
#[derive(Debug, Clone, Default)]
pub struct LogHandle {
    queue: Arc<Queue>,
    filter: Option<reload::Handle<EnvFilter, Registry>>,
}

/// Starts logging. Must be called once in a program, before anything is logged.
pub fn start(filter: &Filter) -> LogGuard {
    let queue = Arc::<Queue>::default();
    match Stream::Stderr.duplicate() {
        Ok(stderr) => writer::start(Arc::clone(&queue), stderr),
        // Not even a descriptor to spare.
        Err(_) => writer::start(Arc::clone(&queue), io::stderr()),
    }
    let (filter, handle) = reload::Layer::new(filter.to_env_filter());
    // Colours in a journal are noise; `NO_COLOR` is how people turn them off on a terminal.
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(QueueWriter(Arc::clone(&queue)))
        .with_ansi(colours)
        // It reports its own errors with `eprintln!`, which panics where stderr is broken.
        .log_internal_errors(false);
    // An error means that there is a log already.
    let _ =
        tracing_subscriber::registry().with(filter).with(lines).with(DependencyLimit::default()).try_init();
    let panics = Arc::clone(&queue);
    std::panic::set_hook(Box::new(move |panic| panics.push(describe(panic).as_bytes())));
    LogGuard(LogHandle { queue, filter: Some(handle) })
}

impl LogGuard {
    /// A handle for those who change the log, or tell how it is.
    #[must_use]
    pub fn handle(&self) -> LogHandle {
        self.0.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.queue.flush(FLUSH_TIMEOUT);
    }
}

impl LogHandle {
    /// QueueWriter that were lost since the program was started.
    #[must_use]
    pub fn lines_dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Writes a line of a program's progress among those of the log, on the same terms.
    pub fn write_line(&self, text: &str) {
        self.queue.push(format!("{text}\n").as_bytes());
    }

    /// Logs by another filter from now on.
    pub fn set_filter(&self, filter: &Filter) {
        if let Some(handle) = &self.filter {
            // An error means that there is no log any more, or never was.
            let _ = handle.reload(filter.to_env_filter());
        }
    }
}

/// Takes a line whole, in one write.
#[derive(Debug, Clone)]
struct QueueWriter(Arc<Queue>);

impl Write for QueueWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for QueueWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// A panic as a line of the log. The standard library's own message waits for whoever reads stderr.
fn describe(panic: &PanicHookInfo<'_>) -> String {
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

/// The time as it stands before each line.
fn timestamp() -> String {
    let mut text = String::new();
    // Never fails: the text is in memory.
    let _ = SystemTime.format_time(&mut Text::new(&mut text));
    text
}
