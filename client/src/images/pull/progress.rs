//! Shows the progress of a pull on stderr.
//!
//! Bars on a terminal, else one line for each event. Must never block a pull if the output is not read.

use docxy_host::logging::LogHandle;
use docxy_protocol::name::Digest;
use indicatif::{BinaryBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

/// Shows the progress of a pull.
pub struct Progress {
    /// The bars. Hidden if lines are written, or nothing is shown.
    all: MultiProgress,
    total: ProgressBar,
    /// Where lines are written if stderr is not a terminal.
    lines: Option<LogHandle>,
}

/// Shows the progress of one blob.
pub(super) struct BlobProgress<'a> {
    progress: &'a Progress,
    name: String,
    size: u64,
    /// Why the blob waits, if it was interrupted.
    interruption: Option<String>,
    began: Instant,
    bar: ProgressBar,
}

/// Rates and estimates change even without new bytes.
const REDRAW_INTERVAL: Duration = Duration::from_millis(250);

const BLOB_TEMPLATE: &str =
    "{prefix} {bar:30} {binary_bytes:>10}/{binary_total_bytes:<10} {binary_bytes_per_sec}";
const TOTAL_TEMPLATE: &str = "total               {bar:30} {binary_bytes:>10}/{binary_total_bytes:<10} {binary_bytes_per_sec}, {eta} left";

impl Progress {
    /// Bars on a terminal, else lines in the log.
    #[must_use]
    pub fn on_stderr(log: LogHandle) -> Self {
        if io::stderr().is_terminal() {
            Self::new(ProgressDrawTarget::stderr(), None)
        } else {
            Self::new(ProgressDrawTarget::hidden(), Some(log))
        }
    }

    /// Shows nothing.
    #[must_use]
    pub fn quiet() -> Self {
        Self::new(ProgressDrawTarget::hidden(), None)
    }

    fn new(bars: ProgressDrawTarget, lines: Option<LogHandle>) -> Self {
        // Hidden until there is a total.
        let total = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        Self { all: MultiProgress::with_draw_target(bars), total, lines }
    }

    /// Prints one line.
    pub fn print(&self, text: &str) {
        match &self.lines {
            Some(log) => log.write_line(text),
            // Without a terminal nothing can be printed.
            None => drop(self.all.println(text)),
        }
    }

    /// Calls `print`, which writes to the terminal, while no bar is there.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.all.suspend(print)
    }

    /// Starts the total bar for this many bytes.
    pub(crate) fn begin(&self, bytes: u64) {
        self.all.add(self.total.clone()).set_style(style(TOTAL_TEMPLATE));
        self.total.set_length(bytes);
        // The wait before the start does not count for the rate.
        self.total.reset();
        if !self.all.is_hidden() {
            self.total.enable_steady_tick(REDRAW_INTERVAL);
        }
    }

    /// Starts a blob.
    pub(super) fn blob(&self, kind: &str, digest: &Digest, size: u64) -> BlobProgress<'_> {
        let name = format!("{kind:6} {}", &digest.hex()[..12]);
        let bar = ProgressBar::new(size).with_style(style(BLOB_TEMPLATE)).with_prefix(name.clone());
        // The total is the last.
        let bar = self.all.insert_from_back(1, bar);
        BlobProgress { progress: self, name, size, interruption: None, began: Instant::now(), bar }
    }

    /// So many bytes of all are here.
    pub(crate) fn reach(&self, bytes: u64) {
        self.total.set_position(bytes);
    }

    /// Ends the total bar.
    pub(crate) fn remove_total(&self) {
        self.all.remove(&self.total);
    }

    /// All bytes were received in this time.
    pub(super) fn end(&self, bytes: u64, time: Duration) {
        self.remove_total();
        self.print(&format!("done: {}", amount(bytes, time)));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // Later output must not overwrite half a bar.
        let _ = self.all.clear();
    }
}

impl BlobProgress<'_> {
    /// So many bytes more were received.
    pub(super) fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
        self.progress.total.inc(bytes);
    }

    /// Says once why the blob waits, if something failed.
    pub(super) fn waits(&mut self, reason: Option<String>) {
        if let Some(reason) = reason.as_ref().filter(|_| reason != self.interruption) {
            self.print_note(&format!("interrupted, waiting: {reason}"));
        }
        self.interruption = reason;
    }

    /// Prints a line about the blob.
    pub(super) fn print_note(&self, text: &str) {
        self.progress.print(&format!("{}  {text}", self.name));
    }

    /// The blob is complete and verified.
    pub(super) fn done(&self) {
        self.print_note(&amount(self.size, self.began.elapsed()));
    }
}

impl Drop for BlobProgress<'_> {
    fn drop(&mut self) {
        self.progress.all.remove(&self.bar);
    }
}

/// `3.40 MiB in 1.6 s (2.13 MiB/s)`. The rate of a small blob means nothing.
fn amount(bytes: u64, time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let size = BinaryBytes(bytes);
    if bytes < 1 << 20 {
        return format!("{size} in {seconds:.1} s");
    }
    let rate = BinaryBytes((bytes as f64 / seconds.max(0.001)) as u64);
    format!("{size} in {seconds:.1} s ({rate}/s)")
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    style.progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_time_and_rate() {
        assert_eq!(amount(3 << 20, Duration::from_millis(1500)), "3.00 MiB in 1.5 s (2.00 MiB/s)");
        assert_eq!(amount(331, Duration::from_millis(40)), "331 B in 0.0 s");
    }

    #[test]
    fn both_templates_are_well_formed() {
        style(BLOB_TEMPLATE);
        style(TOTAL_TEMPLATE);
    }
}
