//! Tells of each pull in the log, when it begins and when it has ended.
//!
//! Must never write a line for each request: those are at `debug`.

use super::Gateway;
use crate::status::pulls::{Event, Outcome, Pull};
use docxy_host::logging::spans::PullSpan;
use docxy_protocol::text::clean;
use indicatif::{HumanBytes, HumanDuration};
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// The time between two looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// These lines are sentences: as text they are written without their fields, which are for programs.
const TARGET: &str = "docxy_client::pulls";

impl Gateway {
    /// Logs and counts pulls. Never ends.
    pub(crate) async fn log_pulls(self) -> Infallible {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            for event in self.transfers().pull_events() {
                match event {
                    Event::Began(pull) => log_begin(&pull),
                    Event::Ended(pull) => self.log_end(&pull),
                }
            }
        }
    }

    fn log_end(&self, pull: &Pull) {
        let Some((end, outcome)) = &pull.ended else { return };
        let took = end.at.saturating_duration_since(pull.began.at);
        if *outcome == Outcome::Done {
            self.context.counters.pull.observe(took.as_secs_f64());
        }
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (trace_id, image) = (pull.trace, &pull.image);
        let reason = pull.failure.as_ref().map(|failure| failure.text.as_str());
        let (crossed, cached, interruptions) = (pull.from_tunnel, pull.from_cache, pull.interruptions);
        let failure = (*outcome == Outcome::Failed).then(|| reason.unwrap_or_default());
        let span = PullSpan {
            trace: trace_id,
            image,
            began: pull.began.wall.into(),
            took,
            bytes: bytes_of(pull),
            failure,
        };
        span.record();
        match outcome {
            Outcome::Done => tracing::info!(
                target: TARGET, event = "pull_end", %trace_id, image, ms, crossed, cached, interruptions,
                "pulled {image} in {}: {}", describe_time(took), describe_bytes(pull, took)
            ),
            Outcome::Stopped => tracing::info!(
                target: TARGET, event = "pull_stop", %trace_id, image, ms, crossed, cached, interruptions,
                "pull {image} was stopped by its engine after {}: {}", describe_time(took), describe_rate(pull, took)
            ),
            Outcome::Failed => tracing::warn!(
                target: TARGET, event = "pull_failure", %trace_id, image, ms, crossed, cached, interruptions, reason,
                "pull {image} failed after {}: {}", describe_time(took),
                reason.unwrap_or("no reason is known")
            ),
        }
    }
}

fn log_begin(pull: &Pull) {
    let (trace_id, image, engine) = (pull.trace, &pull.image, pull.engine);
    let layers = pull.blobs.iter().filter(|blob| !blob.is_config).count();
    let bytes: u64 = pull.blobs.iter().filter_map(|blob| blob.size).sum();
    // It is a text of the registry.
    let platform = pull.platform.as_ref().map(clean);
    tracing::info!(
        target: TARGET, event = "pull_begin", %trace_id, image, layers, bytes, engine,
        platform = platform.as_ref().map(tracing::field::display),
        "pull {image}{}, {layers} {}, {}{}",
        platform.as_ref().map(|platform| format!(" {platform}")).unwrap_or_default(),
        if layers == 1 { "layer" } else { "layers" },
        short(bytes),
        engine.map(|engine| format!(", for {engine}")).unwrap_or_default(),
    );
}

/// All bytes of the pull, wherever they came from.
fn bytes_of(pull: &Pull) -> u64 {
    pull.from_tunnel + pull.from_cache + pull.from_neighbour
}

/// `12.0 MiB at 3.50 MiB/s`.
fn describe_rate(pull: &Pull, took: Duration) -> String {
    let bytes = bytes_of(pull);
    let rate = (bytes as f64 / took.as_secs_f64().max(0.001)) as u64;
    format!("{} at {}/s", short(bytes), short(rate))
}

/// `12.0 MiB at 3.50 MiB/s, 1.00 MiB cached, 2 resumes`.
fn describe_bytes(pull: &Pull, took: Duration) -> String {
    let mut text = describe_rate(pull, took);
    if pull.from_cache > 0 {
        text += &format!(", {} cached", short(pull.from_cache));
    }
    if pull.from_neighbour > 0 {
        text += &format!(", {} from a neighbour", short(pull.from_neighbour));
    }
    match pull.interruptions {
        0 => {}
        1 => text += ", 1 resume",
        times => text += &format!(", {times} resumes"),
    }
    text
}

/// Bytes with three digits, so that a line fits on a terminal.
fn short(bytes: u64) -> String {
    let text = HumanBytes(bytes).to_string();
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            let digits = number.chars().take(4).collect::<String>();
            format!("{} {unit}", digits.trim_end_matches('.'))
        }
        _ => text,
    }
}

fn describe_time(took: Duration) -> String {
    if took < Duration::from_secs(60) {
        format!("{:.1} s", took.as_secs_f64())
    } else {
        HumanDuration(took).to_string()
    }
}
