//! `/health`: whether the tunnel is up, and if not, why; what is under way, what waits, and what is left of the
//! registries' quota. For people, scripts and probes.

use super::render::{ResponseBody, json_value};
use crate::gateway::Gateway;
use crate::metadata::Quota;
use crate::report::tasks;
use crate::tunnel::{self, Status};
use crate::waiting::Held;
use docxy_host::logging::LogHandle;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::time::SystemTime;

/// Most of what waits that is told one by one.
const MOST: usize = 20;

/// 200 while the tunnel is up, 503 while not.
pub(super) fn response(status: &Status, gateway: &Gateway, log: &LogHandle) -> Response<ResponseBody> {
    let waiting = gateway.waiting().all();
    let quota: Vec<Value> = gateway.quotas().iter().map(pulls_left).collect();
    let held: Vec<Value> = waiting.iter().take(MOST).map(held).collect();
    match status {
        Status::Up { line, since } => {
            let connection = line.connection();
            let body = json!({
                "tunnel": "up",
                "since": timestamp(*since),
                "server": connection.remote_address().to_string(),
                "congestion": line.congestion().to_string(),
                "rtt_ms": u64::try_from(connection.rtt().as_millis()).unwrap_or(u64::MAX),
                "segments": line.bulk().segments(),
                "requests": gateway.under_way(),
                "tasks": tasks(),
                "waiting": waiting.len(),
                "held": held,
                "quota": quota,
                "log_lines_dropped": log.lines_dropped(),
            });
            json_value(StatusCode::OK, &body)
        }
        down => {
            let (state, since) = match down {
                Status::Down { since, .. } => ("down", Some(timestamp(*since))),
                Status::Refused { .. } => ("refused", None),
                _ => ("connecting", None),
            };
            let body = json!({
                "tunnel": state,
                "since": since,
                "reason": tunnel::fault(down).detail.as_str(),
                "requests": gateway.under_way(),
                "tasks": tasks(),
                "waiting": waiting.len(),
                "held": held,
                "quota": quota,
                "log_lines_dropped": log.lines_dropped(),
            });
            json_value(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

/// A blob that waits for its next byte, or a request that waits for the tunnel.
fn held(held: &Held) -> Value {
    json!({
        "what": held.what,
        "byte": held.reached.map(|(byte, _)| byte),
        "of": held.reached.map(|(_, of)| of),
        "seconds": held.since.elapsed().as_secs(),
        "reason": held.reason,
    })
}

/// What a registry said last of its pull limit.
fn pulls_left(quota: &Quota) -> Value {
    json!({
        "registry": quota.registry,
        "source": quota.source,
        "remaining": quota.remaining,
        "limit": quota.limit,
        "window_seconds": quota.window,
        "at": timestamp(quota.at),
    })
}

fn timestamp(time: SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(time).ok().map(|time| time.to_string())
}
