//! `/health`: whether the tunnel is up, and if not, why. For people, scripts and probes.

use super::render::{ResponseBody, json_value};
use crate::tunnel::{self, Status};
use http::{Response, StatusCode};
use serde_json::json;
use std::time::SystemTime;

/// 200 while the tunnel is up, 503 while not.
pub(super) fn response(status: &Status) -> Response<ResponseBody> {
    match status {
        Status::Up { line, since } => {
            let connection = line.connection();
            let body = json!({
                "tunnel": "up",
                "since": timestamp(*since),
                "server": connection.remote_address().to_string(),
                "congestion": line.congestion().to_string(),
                "rtt_ms": u64::try_from(connection.rtt().as_millis()).unwrap_or(u64::MAX),
            });
            json_value(StatusCode::OK, &body)
        }
        down => {
            let (state, since) = match down {
                Status::Down { since, .. } => ("down", Some(timestamp(*since))),
                Status::Refused { .. } => ("refused", None),
                _ => ("connecting", None),
            };
            let body = json!({ "tunnel": state, "since": since, "reason": tunnel::fault(down).detail });
            json_value(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

fn timestamp(time: SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(time).ok().map(|time| time.to_string())
}
