//! The words of `docxy-client status`.
//!
//! Texts of servers and registries are clean already. Must never print one that is not.

use crate::gateway::{LineState, ReportedLimit, ServerReport, WaitsFor};
use crate::pulls::{Finished, LayerState, Outcome, PullReport};
use crate::status::{CacheReport, RecentError, Snapshot};
use indicatif::{BinaryBytes, HumanDuration};
use jiff::Timestamp;
use std::time::Duration;

/// Seconds in the curve of the rate.
const CURVE_SECONDS: usize = 60;

/// Pulls that have ended, and errors, that are shown.
const FINISHED_SHOWN_MAX: usize = 5;
const ERRORS_SHOWN_MAX: usize = 3;

/// Columns of a bar.
const BAR_COLUMNS: u64 = 24;

/// The lines; with curve and bars for a terminal.
pub(super) fn lines(snapshot: &Snapshot, is_drawn: bool) -> Vec<String> {
    let now = Timestamp::now();
    let mut lines = vec![line(snapshot, now)];
    if is_drawn {
        lines.push(format!("  {}", curve(&snapshot.history)));
    }
    section(&mut lines, "pulls", snapshot.pulls.iter().flat_map(|pull| pull_lines(pull, is_drawn, now)));
    section(
        &mut lines,
        "finished",
        snapshot.finished.iter().take(FINISHED_SHOWN_MAX).map(|pull| finished(pull, now)),
    );
    section(&mut lines, "quota", snapshot.quota.iter().map(quota));
    section(&mut lines, "cache", snapshot.cache.iter().map(cache));
    section(&mut lines, "servers", snapshot.servers.iter().map(|server| server_line(server, now)));
    section(
        &mut lines,
        "errors",
        snapshot.errors.iter().take(ERRORS_SHOWN_MAX).map(|error| error_line(error, now)),
    );
    if let Some(engines) = &snapshot.engines {
        let engine = engines.iter().map(|engine| match (&engine.problem, engine.is_set_up) {
            (Some(problem), _) => format!("{}: {problem}", engine.name),
            (None, true) => format!("{}: it is set up; a test: {}", engine.name, engine.test),
            (None, false) => format!("{}: it is not set up: {}", engine.name, engine.setup),
        });
        section(&mut lines, "engines", engine);
    }
    lines
}

fn section(lines: &mut Vec<String>, name: &str, more: impl Iterator<Item = String>) {
    let before = lines.len();
    lines.extend(more.map(|line| format!("  {line}")));
    if lines.len() > before {
        lines.insert(before, name.to_owned());
    }
}

fn line(snapshot: &Snapshot, now: Timestamp) -> String {
    let state = &snapshot.line;
    let server = state.server_name.as_deref().unwrap_or("no server");
    let since = state.since.map_or(String::new(), |since| format!(" for {}", ago(since, now)));
    let mut text = format!("{} {server}{since}", state.tunnel);
    if let Some(session) = &state.session {
        let rate = snapshot.history.last().copied().unwrap_or(0);
        text += &format!(", {}, {} ms, {}/s", session.leg, session.rtt_ms, BinaryBytes(rate));
        if let Some(loss) = session.loss {
            text += &format!(", {:.1} % lost", loss * 100.0);
        }
    }
    match &state.reason {
        Some(reason) => format!("{text}: {reason}"),
        None => text,
    }
}

fn cache(cache: &CacheReport) -> String {
    let CacheReport { bytes, limit, problem } = cache;
    match problem {
        // It says that nothing is kept, and why.
        Some(problem) => format!("new layers are not kept: {problem}"),
        None => format!("{} of {} on disk", BinaryBytes(*bytes), BinaryBytes(*limit)),
    }
}

fn pull_lines(pull: &PullReport, is_drawn: bool, now: Timestamp) -> Vec<String> {
    let done = pull.layers.iter().filter(|layer| layer.state == LayerState::Done).count();
    let mut text = BinaryBytes(pull.bytes).to_string();
    if let Some(length) = pull.length {
        text = format!("{text} of {}, {done} of {} layers", BinaryBytes(length), pull.layers.len());
        if is_drawn {
            text = format!("{} {text}", bar(pull.bytes, length));
        }
    }
    text += &format!(", {}/s", BinaryBytes(pull.bytes_per_second));
    if let Some(left) = pull.seconds_left.filter(|left| *left > 0) {
        text += &format!(", {} left", HumanDuration(Duration::from_secs(left)));
    }
    let mut lines =
        vec![title(&pull.image, pull.engine.as_deref(), pull.platform.as_deref()), format!("  {text}")];
    if let Some(waits_for) = pull.waits_for {
        let what = match waits_for {
            WaitsFor::Tunnel => "the tunnel",
            WaitsFor::Permit => "other requests to end",
            WaitsFor::Server => "the server",
        };
        let since = pull.waits_since.map_or(String::new(), |since| format!(" for {}", ago(since, now)));
        let reason = pull.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        lines.push(format!("  it has waited{since} for {what}{reason}"));
    } else if let Some(reason) = &pull.reason {
        lines.push(format!("  {reason}"));
    }
    lines
}

fn finished(pull: &Finished, now: Timestamp) -> String {
    let title = title(&pull.image, pull.engine.as_deref(), pull.platform.as_deref());
    let took = Duration::from_millis(pull.milliseconds).as_secs_f64();
    let (tunnel, cache) = (BinaryBytes(pull.from_tunnel), BinaryBytes(pull.from_cache));
    let how = match (pull.outcome, &pull.reason) {
        (Outcome::Done, _) => format!("{tunnel} by the tunnel and {cache} from here in {took:.1} s"),
        (Outcome::Stopped, _) => "the engine stopped it".to_owned(),
        (Outcome::Failed, reason) => {
            format!("failed: {}", reason.as_ref().map_or("", |reason| reason.as_str()))
        }
    };
    format!("{title}: {how}, {} ago", ago(pull.at, now))
}

fn quota(limit: &ReportedLimit) -> String {
    let ReportedLimit { registry, source, limit, remaining, window, .. } = limit;
    let source = source.as_ref().map_or(String::new(), |source| format!(" ({source})"));
    let window = window.map_or(String::new(), |window| {
        format!("; each comes back after {}", HumanDuration(Duration::from_secs(window)))
    });
    format!("{registry}{source}: {remaining} of {limit} pulls left{window}")
}

fn server_line(server: &ServerReport, now: Timestamp) -> String {
    let mut text = format!("{}: {}", server.server, server.state);
    if let Some(since) = server.since.filter(|_| server.state != LineState::Up) {
        text += &format!(" for {}", ago(since, now));
    }
    for (holds, word) in [
        (server.in_use, "in use"),
        (server.preferred, "preferred"),
        (server.draining, "draining"),
        (!server.trusted, "not trusted"),
    ] {
        if holds {
            text += &format!(", {word}");
        }
    }
    match &server.reason {
        Some(reason) => format!("{text}: {reason}"),
        None => text,
    }
}

fn error_line(error: &RecentError, now: Timestamp) -> String {
    let times = if error.count > 1 { format!(", {} times", error.count) } else { String::new() };
    let image = error.image.as_ref().map_or(String::new(), |image| format!("{image}: "));
    format!("{image}{} ({} ago{times}): {}", error.text, ago(error.at, now), error.advice.text())
}

fn title(image: &str, engine: Option<&str>, platform: Option<&str>) -> String {
    let more: Vec<_> = [platform, engine].into_iter().flatten().collect();
    if more.is_empty() { image.to_owned() } else { format!("{image} ({})", more.join(", ")) }
}

fn ago(since: Timestamp, now: Timestamp) -> String {
    let time = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    HumanDuration(Duration::from_secs(time.as_secs())).to_string()
}

fn bar(bytes: u64, length: u64) -> String {
    let full = bytes.saturating_mul(BAR_COLUMNS).checked_div(length).unwrap_or(BAR_COLUMNS).min(BAR_COLUMNS);
    let columns = |count: u64, column: &str| column.repeat(usize::try_from(count).unwrap_or(0));
    format!("{}{}", columns(full, "█"), columns(BAR_COLUMNS - full, "░"))
}

/// The last seconds, each as a column.
fn curve(history: &[u64]) -> String {
    const COLUMNS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let last = &history[history.len().saturating_sub(CURVE_SECONDS)..];
    let most = last.iter().copied().max().unwrap_or(0).max(1);
    last.iter()
        .map(|bytes| COLUMNS[usize::try_from(bytes.saturating_mul(8).div_ceil(most)).unwrap_or(8).min(8)])
        .collect()
}
