//! What the user sees of a pull while it runs, on stderr.
//!
//! Bars on a terminal; elsewhere one line for each thing that happened, so that a log stays one. Must not
//! keep a pull from going on where nobody takes these lines.

use docxy_host::logging::LogHandle;
use docxy_protocol::name::Digest;
use indicatif::{BinaryBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

/// Shows a pull.
pub struct Progress(View);

enum View {
    Quiet,
    Lines(LogHandle),
    Bars { all: MultiProgress, total: ProgressBar },
}

/// Shows one blob of it.
pub(super) struct BlobProgress<'a> {
    progress: &'a Progress,
    name: String,
    size: u64,
    position: u64,
    began: Instant,
    bar: Option<ProgressBar>,
}

/// Rates and estimates change even while nothing comes.
const REDRAW: Duration = Duration::from_millis(250);

const BLOB: &str = "{prefix} {bar:30} {binary_bytes:>10}/{binary_total_bytes:<10} {binary_bytes_per_sec}";
const TOTAL: &str = "total               {bar:30} {binary_bytes:>10}/{binary_total_bytes:<10} {binary_bytes_per_sec}, {eta} left";

impl Progress {
    /// Bars where somebody looks, lines in the log where nobody does.
    #[must_use]
    pub fn on_stderr(log: LogHandle) -> Self {
        if !io::stderr().is_terminal() {
            return Self(View::Lines(log));
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        // Hidden until there is a total.
        let total = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        Self(View::Bars { all, total })
    }

    /// Nothing at all.
    #[must_use]
    pub fn quiet() -> Self {
        Self(View::Quiet)
    }

    /// One line about something that happened.
    pub fn say(&self, text: &str) {
        match &self.0 {
            View::Quiet => {}
            View::Lines(log) => log.write_line(text),
            // Without a terminal there is nobody to tell.
            View::Bars { all, .. } => drop(all.println(text)),
        }
    }

    /// Blobs of `bytes` in all are about to come.
    pub(super) fn begin(&self, bytes: u64) {
        if let View::Bars { all, total } = &self.0 {
            all.add(total.clone()).set_style(style(TOTAL));
            total.set_length(bytes);
            // The wait before it began says nothing about the rate.
            total.reset();
            total.enable_steady_tick(REDRAW);
        }
    }

    /// A blob begins to come.
    pub(super) fn blob(&self, kind: &str, digest: &Digest, size: u64) -> BlobProgress<'_> {
        let name = format!("{kind:6} {}", &digest.hex()[..12]);
        let bar = match &self.0 {
            View::Bars { all, total } => {
                let bar = ProgressBar::new(size).with_style(style(BLOB)).with_prefix(name.clone());
                Some(all.insert_before(total, bar))
            }
            View::Quiet | View::Lines(_) => None,
        };
        BlobProgress { progress: self, name, size, position: 0, began: Instant::now(), bar }
    }

    /// All `bytes` are there, and took this long.
    pub(super) fn end(&self, bytes: u64, time: Duration) {
        self.say(&format!("done: {}", amount(bytes, time)));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let View::Bars { all, .. } = &self.0 {
            // What is told next must not be written over half a bar.
            let _ = all.clear();
        }
    }
}

impl BlobProgress<'_> {
    /// So much of it is there.
    pub(super) fn at(&mut self, position: u64) {
        if let (Some(bar), View::Bars { total, .. }) = (&self.bar, &self.progress.0) {
            bar.set_position(position);
            // Less than before where a transfer had to begin again.
            total.dec(self.position);
            total.inc(position);
        }
        self.position = position;
    }

    /// Something happened to it.
    pub(super) fn note(&self, text: &str) {
        self.progress.say(&format!("{}  {text}", self.name));
    }

    /// It is whole, and right.
    pub(super) fn done(&self) {
        self.note(&amount(self.size, self.began.elapsed()));
    }
}

impl Drop for BlobProgress<'_> {
    fn drop(&mut self) {
        if let (Some(bar), View::Bars { all, .. }) = (&self.bar, &self.progress.0) {
            all.remove(bar);
        }
    }
}

/// `3.40 MiB in 1.6 s (2.13 MiB/s)`. The rate of a small thing says nothing about the line.
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
    fn amounts_are_told_with_time_and_rate() {
        assert_eq!(amount(3 << 20, Duration::from_millis(1500)), "3.00 MiB in 1.5 s (2.00 MiB/s)");
        assert_eq!(amount(331, Duration::from_millis(40)), "331 B in 0.0 s");
    }

    #[test]
    fn both_templates_are_well_formed() {
        style(BLOB);
        style(TOTAL);
    }
}
