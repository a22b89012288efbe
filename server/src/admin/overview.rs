//! What the admin page shows, as JSON.
//!
//! Must never name a client, a registry or an address to who is not logged in.

use super::Operated;
use crate::listener::SessionReport;
use crate::upstream::LayerCache;
use docxy_host::platform::memory;
use docxy_host::store::Usage;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody: no password is set.
    NoPassword,
    /// Anybody: there is a password.
    LoggedOut,
    /// The operator.
    Operator,
}

/// The state of the server at this moment.
pub(super) fn overview(operated: &Operated, access: Access) -> Value {
    let sessions = operated.connections.sessions();
    let mut value = json!({
        "access": match access {
            Access::NoPassword => "no-password",
            Access::LoggedOut => "logged-out",
            Access::Operator => "operator",
        },
        "version": env!("CARGO_PKG_VERSION"),
        "now": Timestamp::now(),
        "since": Timestamp::try_from(operated.started.timestamp()).ok(),
        "memory_bytes": memory::resident(),
        "load": operated.report.load(),
        "counts": operated.report.counters().snapshot(),
        "clients_connected": sessions.len(),
        "cache": [cache("manifests", operated.settings.store().usage())],
        "bytes_per_second": sessions.values().flatten().map(|session| session.bytes_per_second).sum::<u64>(),
    });
    if access == Access::Operator {
        value["layer_cache"] = json!(operated.settings.current().upstream.layers().map(LayerCache::report));
        value["clients"] = clients(operated, &sessions);
        value["registries"] = registries(operated);
        value["failures"] = json!(operated.report.counters().failures());
    }
    value
}

/// What is kept of one kind. Counts alone.
fn cache(kind: &str, usage: Usage) -> Value {
    json!({ "kind": kind, "count": usage.files, "bytes": usage.bytes, "limit": usage.bytes_max })
}

fn clients(
    operated: &Operated,
    sessions: &BTreeMap<docxy_protocol::link::ClientName, Vec<SessionReport>>,
) -> Value {
    let totals = operated.usage.totals();
    let list = operated.clients.subscribe();
    let list = list.borrow();
    let client = |(name, client): (_, &crate::state::Client)| {
        let total = totals.get(name).copied().unwrap_or_default();
        json!({
            "name": name,
            "invited": client.created,
            "revoked": client.revoked,
            "last_seen": total.last_seen,
            "sent": total.sent,
            "received": total.received,
            "sessions": sessions.get(name).map_or(&[][..], Vec::as_slice),
        })
    };
    list.iter().map(client).collect()
}

fn registries(operated: &Operated) -> Value {
    let settings = operated.settings.current();
    let (reports, now) = (settings.upstream.reports(), SystemTime::now());
    let registry = reports.iter().map(|registry| {
        let requests: u64 = registry.counts.requests().values().sum();
        let failed = registry.counts.requests().into_iter().filter(|((_, status), _)| {
            status.is_none_or(|status| {
                status.is_server_error() || status == http::StatusCode::TOO_MANY_REQUESTS
            })
        });
        let quota = registry.quota.as_ref();
        json!({
            "name": registry.name,
            "requests": requests,
            "failed": failed.map(|(_, count)| count).sum::<u64>(),
            "retries": registry.counts.retries().values().sum::<u64>(),
            "refusals": registry.counts.refusals(Timestamp::now()),
            "quota": quota.map(|(quota, times)| json!({
                "remaining": quota.remaining,
                "limit": quota.limit,
                "window_seconds": quota.window.map(|window| window.as_secs()),
                "source": quota.source,
                "at": Timestamp::try_from(times.at).ok(),
                "resets_at": times.resets_at.filter(|reset| *reset > now).and_then(|reset| Timestamp::try_from(reset).ok()),
            })),
        })
    });
    registry.collect()
}
