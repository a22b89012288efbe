//! `/health`: the state of the tunnel, the running transfers, and the pull limits of the registries. For
//! users, scripts and probes.

use super::responses::{ResponseBody, json_value};
use crate::gateway::{Gateway, TunnelState};
use docxy_host::logging::LogHandle;
use docxy_transport::tcp::kernel_congestion;
use http::{Response, StatusCode};
use serde_json::json;
use std::cmp::Reverse;

/// Maximum number of transfers that are listed.
const TRANSFERS_SHOWN_MAX: usize = 20;

/// The state of the tunnel alone, for other machines.
pub(super) fn state(gateway: &Gateway) -> Response<ResponseBody> {
    let state = gateway.tunnel_state();
    json_value(status(&state), &json!({ "tunnel": state.tunnel }))
}

/// 200 while the tunnel is up or only suspected, 503 while not.
pub(super) fn response(gateway: &Gateway, log: &LogHandle) -> Response<ResponseBody> {
    let mut transfers = gateway.transfers().snapshot();
    // Those that wait come first, the longest wait before the others.
    transfers.sort_by_key(|transfer| (Reverse(transfer.waits_seconds), transfer.id));
    let state = gateway.tunnel_state();
    let status = status(&state);
    let mut body = json!(state);
    body["requests"] = json!(transfers.len());
    body["waiting"] = json!(transfers.iter().filter(|transfer| transfer.waits_for.is_some()).count());
    transfers.truncate(TRANSFERS_SHOWN_MAX);
    body["transfers"] = json!(transfers);
    body["pulls"] = json!(gateway.transfers().pulls().0);
    body["servers"] = json!(gateway.servers());
    body["tasks"] = json!(gateway.tasks());
    body["quota"] = json!(gateway.rate_limits());
    body["log_lines_dropped"] = json!(log.lines_dropped());
    body["tcp_congestion"] = json!(kernel_congestion());
    body["cache"] = gateway.blob_cache();
    body["neighbours"] = gateway.neighbours();
    body["since_start"] = gateway.counters();
    json_value(status, &body)
}

const fn status(state: &TunnelState) -> StatusCode {
    if state.session.is_some() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
