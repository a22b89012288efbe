//! `/health`: the state of the tunnel, what is under way, what waits, and the rate limits of the registries.
//! For users, scripts and probes.

use super::responses::{ResponseBody, json_value};
use crate::gateway::{Gateway, ReportedLimit, TunnelState, WaitEntry};
use docxy_host::logging::LogHandle;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::time::SystemTime;

/// The most waiting requests and transfers that are listed.
const WAITS_SHOWN_MAX: usize = 20;

/// 200 while the tunnel is up, 503 while not.
pub(super) fn response(gateway: &Gateway, log: &LogHandle) -> Response<ResponseBody> {
    let waiting = gateway.wait_list().all();
    let quota: Vec<Value> = gateway.rate_limits().iter().map(rate_limit).collect();
    let entries: Vec<Value> = waiting.iter().take(WAITS_SHOWN_MAX).map(wait_entry).collect();
    match gateway.tunnel_state() {
        TunnelState::Up { since, server, congestion, rtt, segments } => {
            let body = json!({
                "tunnel": "up",
                "since": timestamp(since),
                "server": server.to_string(),
                "congestion": congestion,
                "rtt_ms": u64::try_from(rtt.as_millis()).unwrap_or(u64::MAX),
                "segments": segments,
                "requests": gateway.under_way(),
                "tasks": gateway.tasks(),
                "waiting": waiting.len(),
                "held": entries,
                "quota": quota,
                "log_lines_dropped": log.lines_dropped(),
                "since_start": gateway.counters(),
            });
            json_value(StatusCode::OK, &body)
        }
        TunnelState::NotUp { state, since, reason } => {
            let body = json!({
                "tunnel": state,
                "since": since.and_then(timestamp),
                "reason": reason,
                "requests": gateway.under_way(),
                "tasks": gateway.tasks(),
                "waiting": waiting.len(),
                "held": entries,
                "quota": quota,
                "log_lines_dropped": log.lines_dropped(),
                "since_start": gateway.counters(),
            });
            json_value(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

/// A blob that waits for its next byte, or a request that waits for the tunnel.
fn wait_entry(entry: &WaitEntry) -> Value {
    json!({
        "what": entry.what,
        "byte": entry.reached.map(|(byte, _)| byte),
        "of": entry.reached.map(|(_, of)| of),
        "seconds": entry.since.elapsed().as_secs(),
        "reason": entry.reason,
    })
}

/// The last pull limit that a registry reported.
fn rate_limit(limit: &ReportedLimit) -> Value {
    json!({
        "registry": limit.registry,
        "source": limit.source,
        "remaining": limit.remaining,
        "limit": limit.limit,
        "window_seconds": limit.window,
        "at": timestamp(limit.at),
    })
}

fn timestamp(time: SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(time).ok().map(|time| time.to_string())
}
