//! The words of `docxy-client status`.
//!
//! Texts of servers and registries are clean already. Must never print one that is not.

use crate::gateway::{LineState, ReportedLimit, ServerReport, WaitsFor};
use crate::status::pulls::{Finished, LayerState, Outcome, PullReport};
use crate::status::{CacheReport, RecentError, Snapshot};
use indicatif::{BinaryBytes, HumanDuration};
use jiff::Timestamp;
use std::time::Duration;

/// Seconds in the curve of the rate.
const CURVE_SECONDS: usize = 60;

/// Pulls that have ended, and errors, that are shown.
const FINISHED_SHOWN_MAX: usize = 5;
const ERRORS_SHOWN_MAX: usize = 3;

/// The characters with which a terminal draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drawn {
    /// Blocks of Unicode.
    Blocks,
    /// ASCII alone.
    Ascii,
}

impl Drawn {
    /// What the locale of the environment can show (POSIX.1-2024, section 8.2).
    pub(super) fn of_environment() -> Self {
        Self::of_locale(["LC_ALL", "LC_CTYPE", "LANG"].map(|name| std::env::var(name).unwrap_or_default()))
    }

    /// The first that is set counts. Without one it is not known, and most terminals show UTF-8.
    fn of_locale(names: [String; 3]) -> Self {
        let charset =
            names.into_iter().find(|name| !name.is_empty()).unwrap_or_default().to_ascii_lowercase();
        let is_utf8 = charset.is_empty() || charset.contains("utf-8") || charset.contains("utf8");
        if is_utf8 { Self::Blocks } else { Self::Ascii }
    }

    /// From nothing to all.
    const fn levels(self) -> [char; 9] {
        match self {
            Self::Blocks => [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
            Self::Ascii => [' ', '.', ':', '-', '=', '+', '*', '#', '#'],
        }
    }

    /// What is there, and what is missing.
    const fn bar(self) -> (&'static str, &'static str) {
        match self {
            Self::Blocks => ("█", "░"),
            Self::Ascii => ("#", "-"),
        }
    }
}

/// Columns of a bar.
const BAR_COLUMNS: u64 = 24;

/// The lines; with curve and bars for a terminal.
pub(super) fn lines(snapshot: &Snapshot, drawn: Option<Drawn>) -> Vec<String> {
    let now = Timestamp::now();
    let mut lines = vec![line(snapshot, now)];
    if let Some(drawn) = drawn {
        lines.push(format!("  {}", curve(&snapshot.history, drawn)));
    }
    section(&mut lines, "pulls", snapshot.pulls.iter().flat_map(|pull| pull_lines(pull, drawn, now)));
    section(
        &mut lines,
        "finished",
        snapshot
            .finished
            .iter()
            .take(FINISHED_SHOWN_MAX)
            .map(|pull| format!("{}, {} ago", finished(pull), ago(pull.at, now))),
    );
    section(&mut lines, "quota", snapshot.quota.iter().map(|limit| quota(limit, now)));
    section(&mut lines, "kept on disk", snapshot.cache.iter().map(cache));
    section(&mut lines, "servers", snapshot.servers.iter().map(|server| server_line(server, now)));
    section(
        &mut lines,
        "errors",
        snapshot.errors.iter().take(ERRORS_SHOWN_MAX).map(|error| {
            let times = if error.count > 1 { format!(", {} times", error.count) } else { String::new() };
            error_line(error, &format!(" ({} ago{times})", ago(error.at, now)))
        }),
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

pub(super) fn line(snapshot: &Snapshot, now: Timestamp) -> String {
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

pub(super) fn cache(cache: &CacheReport) -> String {
    let CacheReport { bytes, limit, problem, .. } = cache;
    match problem {
        // It says that nothing is kept, and why.
        Some(problem) => format!("new layers are not kept: {problem}"),
        None => format!("{} of {}", BinaryBytes(*bytes), BinaryBytes(*limit)),
    }
}

fn pull_lines(pull: &PullReport, drawn: Option<Drawn>, now: Timestamp) -> Vec<String> {
    let title = title(&pull.image, pull.engine.as_deref(), pull.platform.as_deref());
    let more = [progress(pull, drawn)].into_iter().chain(wait(pull, now)).map(|line| format!("  {line}"));
    [title].into_iter().chain(more).collect()
}

/// How far a pull is.
pub(super) fn progress(pull: &PullReport, drawn: Option<Drawn>) -> String {
    let done = pull.layers.iter().filter(|layer| layer.state == LayerState::Done).count();
    let mut text = BinaryBytes(pull.bytes).to_string();
    if let Some(length) = pull.length {
        text = format!("{text} of {}, {done} of {} layers", BinaryBytes(length), pull.layers.len());
        if let Some(drawn) = drawn {
            text = format!("{} {text}", bar(pull.bytes, length, drawn));
        }
    }
    text += &format!(", {}/s", BinaryBytes(pull.bytes_per_second));
    if let Some(left) = pull.seconds_left.filter(|left| *left > 0) {
        text += &format!(", {} left", HumanDuration(Duration::from_secs(left)));
    }
    text
}

/// What a pull waits for, or what has failed.
pub(super) fn wait(pull: &PullReport, now: Timestamp) -> Option<String> {
    let Some(waits_for) = pull.waits_for else { return pull.reason.as_ref().map(ToString::to_string) };
    let what = match waits_for {
        WaitsFor::Tunnel => "the tunnel",
        WaitsFor::Permit => "other requests to end",
        WaitsFor::Server => "the server",
    };
    let since = pull.waits_since.map_or(String::new(), |since| format!(" for {}", ago(since, now)));
    let reason = pull.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    Some(format!("it has waited{since} for {what}{reason}"))
}

pub(super) fn finished(pull: &Finished) -> String {
    let title = title(&pull.image, pull.engine.as_deref(), pull.platform.as_deref());
    let took = Duration::from_millis(pull.milliseconds).as_secs_f64();
    let (tunnel, cache) = (BinaryBytes(pull.from_tunnel), BinaryBytes(pull.from_cache));
    let neighbour = match pull.from_neighbour {
        0 => String::new(),
        bytes => format!(" and {} from a neighbour", BinaryBytes(bytes)),
    };
    let how = match (pull.outcome, &pull.reason) {
        (Outcome::Done, _) => {
            format!("{tunnel} by the tunnel and {cache} from here{neighbour} in {took:.1} s")
        }
        (Outcome::Stopped, _) => "the engine stopped it".to_owned(),
        (Outcome::Failed, reason) => {
            format!("failed: {}", reason.as_ref().map_or("", |reason| reason.as_str()))
        }
    };
    format!("{title}: {how}")
}

pub(super) fn quota(reported: &ReportedLimit, now: Timestamp) -> String {
    let ReportedLimit { registry, source, limit, remaining, window, at, resets_at } = reported;
    let source = source.as_ref().map_or(String::new(), |source| format!(" ({source})"));
    let left = match (remaining, limit) {
        (Some(remaining), Some(limit)) => format!("{remaining} of {limit} pulls left"),
        _ => "it refuses requests for now".to_owned(),
    };
    let window = window.map(Duration::from_secs);
    // What the registry says, or else the latest time that its window allows.
    let when = match (resets_at, window) {
        (Some(reset), _) => format!("allowed again in {}, as it says", ago(now, *reset)),
        (None, None) => "it does not say when they come back".to_owned(),
        (None, Some(window)) if remaining == limit => format!("in each {}", HumanDuration(window)),
        (None, Some(window)) => {
            let passed = Duration::try_from(now.duration_since(*at)).unwrap_or_default();
            let rest = HumanDuration(Duration::from_secs(window.saturating_sub(passed).as_secs()));
            format!("a pull counts for {} at most, so all are back in {rest}", HumanDuration(window))
        }
    };
    format!("{registry}{source}: {left}; {when}")
}

pub(super) fn server_line(server: &ServerReport, now: Timestamp) -> String {
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

/// The error, with `when` before the advice.
pub(super) fn error_line(error: &RecentError, when: &str) -> String {
    let image = error.image.as_ref().map_or(String::new(), |image| format!("{image}: "));
    format!("{image}{}{when}: {}", error.text, error.advice.text())
}

pub(super) fn title(image: &str, engine: Option<&str>, platform: Option<&str>) -> String {
    let more: Vec<_> = [platform, engine].into_iter().flatten().collect();
    if more.is_empty() { image.to_owned() } else { format!("{image} ({})", more.join(", ")) }
}

fn ago(since: Timestamp, now: Timestamp) -> String {
    let time = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    HumanDuration(Duration::from_secs(time.as_secs())).to_string()
}

fn bar(bytes: u64, length: u64, drawn: Drawn) -> String {
    let full = bytes.saturating_mul(BAR_COLUMNS).checked_div(length).unwrap_or(BAR_COLUMNS).min(BAR_COLUMNS);
    let columns = |count: u64, column: &str| column.repeat(usize::try_from(count).unwrap_or(0));
    let (there, missing) = drawn.bar();
    format!("{}{}", columns(full, there), columns(BAR_COLUMNS - full, missing))
}

/// The last seconds, each as a column.
fn curve(history: &[u64], drawn: Drawn) -> String {
    let levels = drawn.levels();
    let last = &history[history.len().saturating_sub(CURVE_SECONDS)..];
    let most = last.iter().copied().max().unwrap_or(0).max(1);
    last.iter()
        .map(|bytes| levels[usize::try_from(bytes.saturating_mul(8).div_ceil(most)).unwrap_or(8).min(8)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_says_when_it_comes_back_as_far_as_that_is_known() {
        let at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let now = "2026-01-01T02:00:00Z".parse().unwrap();
        let registry = docxy_protocol::name::Registry::docker_hub();
        let (limit, remaining, window) = (Some(100), Some(76), Some(21_600));
        let hub = ReportedLimit { registry, source: None, limit, remaining, window, at, resets_at: None };
        let said = |limit: &ReportedLimit| quota(limit, now);
        let all_back =
            "docker.io: 76 of 100 pulls left; a pull counts for 6 hours at most, so all are back in 4 hours";
        assert_eq!(said(&hub), all_back);
        let full = ReportedLimit { remaining: Some(100), ..hub.clone() };
        assert_eq!(said(&full), "docker.io: 100 of 100 pulls left; in each 6 hours");
        let resets_at = Some("2026-01-01T02:30:00Z".parse().unwrap());
        let refused = ReportedLimit { limit: None, remaining: None, window: None, resets_at, ..hub };
        let refuses = "docker.io: it refuses requests for now; allowed again in 30 minutes, as it says";
        assert_eq!(said(&refused), refuses);
    }

    #[test]
    fn a_locale_without_utf8_is_drawn_in_ascii() {
        let of = |names: [&str; 3]| Drawn::of_locale(names.map(str::to_owned));
        assert_eq!(of(["", "", ""]), Drawn::Blocks);
        assert_eq!(of(["", "", "zh_CN.UTF-8"]), Drawn::Blocks);
        assert_eq!(of(["", "C.utf8", "C"]), Drawn::Blocks);
        assert_eq!(of(["C", "", "en_US.UTF-8"]), Drawn::Ascii);
        assert_eq!(of(["", "", "zh_CN.GB18030"]), Drawn::Ascii);
        assert_eq!(bar(3, 4, Drawn::Ascii), "##################------");
        assert!(curve(&[0, 1, 50, 100], Drawn::Ascii).is_ascii());
    }
}
