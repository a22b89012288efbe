//! `/health`: the state of the tunnel, the running transfers, and the pull limits of the registries. For
//! users, scripts and probes.

use super::responses::{ResponseBody, json_value};
use crate::gateway::{Gateway, ReportedLimit, TransferSnapshot, TunnelState, WaitsFor};
use docxy_host::logging::LogHandle;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// Maximum number of transfers that are listed.
const TRANSFERS_SHOWN_MAX: usize = 20;

/// 200 while the tunnel is up, 503 while not.
pub(super) fn response(gateway: &Gateway, log: &LogHandle) -> Response<ResponseBody> {
    let mut transfers = gateway.transfers().snapshot();
    // Those that wait come first, the longest wait before the others.
    transfers.sort_by_key(|transfer| match &transfer.wait {
        Some(wait) => (false, Some(wait.since), transfer.id),
        None => (true, None, transfer.id),
    });
    let mut body = json!({
        "requests": transfers.len(),
        "waiting": transfers.iter().filter(|transfer| transfer.wait.is_some()).count(),
        "transfers": transfers.iter().take(TRANSFERS_SHOWN_MAX).map(running_transfer).collect::<Vec<_>>(),
        "tasks": gateway.tasks(),
        "quota": gateway.rate_limits().iter().map(rate_limit).collect::<Vec<_>>(),
        "log_lines_dropped": log.lines_dropped(),
        "since_start": gateway.counters(),
    });
    match gateway.tunnel_state() {
        TunnelState::Up { since, server, proxy, leg, congestion, rtt, segments } => {
            body["tunnel"] = "up".into();
            body["since"] = json!(timestamp(since));
            body["server"] = server.to_string().into();
            body["proxy"] = proxy.into();
            body["leg"] = leg.to_string().into();
            body["congestion"] = congestion.into();
            body["rtt_ms"] = milliseconds(rtt).into();
            body["segments"] = segments.into();
            json_value(StatusCode::OK, &body)
        }
        TunnelState::NotUp { state, since, reason } => {
            body["tunnel"] = state.into();
            body["since"] = json!(since.and_then(timestamp));
            body["reason"] = reason.into();
            json_value(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

fn running_transfer(transfer: &TransferSnapshot) -> Value {
    let wait = transfer.wait.as_ref();
    json!({
        "operation": transfer.operation,
        "image": transfer.image,
        "digest": transfer.digest,
        "bytes": transfer.received,
        "length": transfer.length,
        "bytes_per_second": transfer.rate,
        "since": timestamp(transfer.since),
        "server": transfer.server.map(|server| server.to_string()),
        "waits_for": wait.map(|wait| match wait.waits_for {
            WaitsFor::Tunnel => "tunnel",
            WaitsFor::Permit => "permit",
            WaitsFor::Server => "server",
        }),
        "waits_seconds": wait.map(|wait| wait.since.elapsed().as_secs()),
        "reason": wait.and_then(|wait| wait.reason.as_deref()),
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

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
