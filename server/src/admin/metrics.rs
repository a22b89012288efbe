//! The server's metrics for Prometheus.
//!
//! Must never have a label with a client, an address or a repository: `registry` is one on the operator's list, and all
//! other labels are words of this program.

use super::Operated;
use crate::counters::{Counters, LegBytes, Outcomes};
use crate::listener::Load;
use crate::upstream::LayerCache;
use docxy_host::metrics::MetricsWriter;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_transport::Leg;
use http::StatusCode;
use std::fmt;

/// Writes what is counted and what is going on.
pub(super) fn write(operated: &Operated, metrics: &mut MetricsWriter<'_>) -> fmt::Result {
    metrics.build_info("docxy_server_build", env!("CARGO_PKG_VERSION"))?;
    write_load(operated, metrics)?;
    write_clients(operated, metrics)?;
    write_exchanges(operated.report.counters(), metrics)?;
    write_registries(operated, metrics)?;
    write_layers(operated, metrics)?;
    operated.started.write(metrics)
}

fn write_load(operated: &Operated, metrics: &mut MetricsWriter<'_>) -> fmt::Result {
    let Load {
        connections,
        unauthenticated,
        streams,
        exchanges,
        waiting,
        tasks,
        log_lines_dropped,
        draining,
    } = operated.report.load();
    metrics.gauge("docxy_server_draining", "Whether the server shuts down", f64::from(u8::from(draining)))?;
    for (name, help, value) in [
        ("docxy_server_connections", "Connections, handshakes included", connections),
        (
            "docxy_server_unauthenticated_connections",
            "Those whose client is not authenticated yet",
            unauthenticated,
        ),
        ("docxy_server_streams", "Open streams", streams),
        ("docxy_server_exchanges_running", "Exchanges that hold a permit", exchanges),
        ("docxy_server_exchanges_waiting", "Exchanges that wait for a permit of other clients", waiting),
        ("docxy_server_tasks", "Tasks of this process; a number that keeps growing is a leak", tasks),
    ] {
        metrics.gauge(name, help, value as f64)?;
    }
    let help = "Log lines that could not be written";
    metrics.counter("docxy_server_log_lines_dropped", help, log_lines_dropped)
}

fn write_clients(operated: &Operated, metrics: &mut MetricsWriter<'_>) -> fmt::Result {
    let sessions = operated.connections.sessions();
    metrics.gauge("docxy_server_clients_connected", "Clients with a session", sessions.len() as f64)?;
    let legs = [("quic", Leg::Quic), ("tcp", Leg::Tcp)].map(|(name, leg)| {
        let count = sessions.values().flatten().filter(|session| session.leg == leg).count();
        ([("leg", name.to_owned())], count as f64)
    });
    metrics.gauges("docxy_server_sessions", "Sessions of clients by leg", legs)?;
    let clients = operated.clients.subscribe();
    let invited = clients.borrow().iter().filter(|(_, client)| client.revoked.is_none()).count();
    metrics.gauge("docxy_server_clients_invited", "Clients that have access", invited as f64)?;
    let counters = operated.report.counters();
    let counts = counters.snapshot();
    let by_leg = |bytes: fn(LegBytes) -> u64| {
        [("quic", counts.quic), ("tcp", counts.tcp)]
            .map(|(leg, counted)| ([("leg", leg.to_owned())], bytes(counted)))
    };
    let help = "Bytes sent to clients, with the leg's own headers";
    metrics.counters("docxy_server_sent_bytes", help, by_leg(|leg| leg.sent))?;
    let help = "Bytes received from clients, with the leg's own headers";
    metrics.counters("docxy_server_received_bytes", help, by_leg(|leg| leg.received))?;
    let help = "Connections that were closed before their client was authenticated";
    metrics.counter("docxy_server_refused_connections", help, counts.refused)?;
    let help = "Connections of clients that speak another version of the wire";
    metrics.counter("docxy_server_other_version_connections", help, counts.other_versions)?;
    let help = "Connections whose stated rate was above the operator's limit";
    metrics.counter("docxy_server_capped_rates", help, counts.capped_rates)?;
    counters.line.write("docxy_server", metrics)
}

fn write_exchanges(counters: &Counters, metrics: &mut MetricsWriter<'_>) -> fmt::Result {
    let counts = counters.snapshot();
    let exchanges = counts.exchanges.iter().flat_map(|(operation, outcomes)| {
        let Outcomes { answered, failed, cancelled } = *outcomes;
        [("answered", answered), ("failed", failed), ("cancelled", cancelled)].map(|(outcome, count)| {
            ([("operation", (*operation).to_owned()), ("outcome", outcome.to_owned())], count)
        })
    });
    metrics.counters("docxy_server_exchanges", "Exchanges by operation and outcome", exchanges)?;
    let help = "Seconds until there was a response, by operation";
    metrics.metric("docxy_server_first_byte_seconds", help, &counters.first_byte)?;
    let help = "Seconds until a response was sent whole, by operation";
    metrics.metric("docxy_server_exchange_seconds", help, &counters.exchange)?;
    let help = "Seconds from a pull's first request for content to the end of its last one";
    metrics.metric("docxy_server_pull_seconds", help, &counters.pull)
}

fn write_layers(operated: &Operated, metrics: &mut MetricsWriter<'_>) -> fmt::Result {
    let settings = operated.settings.current();
    let Some(report) = settings.upstream.layers().map(LayerCache::report) else { return Ok(()) };
    let help = "Bytes of layers that the disk has sent in place of a registry";
    metrics.counter("docxy_server_layer_cache_served_bytes", help, report.bytes_served)?;
    let help = "Disk space that layers use";
    metrics.gauge("docxy_server_layer_cache_bytes", help, report.state.bytes as f64)?;
    let help = "Disk space that layers may use now; 0 if the disk has no room or cannot be written";
    metrics.gauge("docxy_server_layer_cache_limit_bytes", help, report.state.bytes_max as f64)
}

fn write_registries(operated: &Operated, metrics: &mut MetricsWriter<'_>) -> fmt::Result {
    let settings = operated.settings.current();
    let registries = settings.upstream.reports();
    let requests = registries.iter().flat_map(|registry| {
        let name = registry.name.to_string();
        registry.counts.requests().into_iter().map(move |((hop, status), count)| {
            let labels =
                [("registry", name.clone()), ("hop", hop.to_string()), ("status", describe_status(status))];
            (labels, count)
        })
    });
    let help = "Requests to registries, their token services and CDNs, by status";
    metrics.counters("docxy_server_upstream_requests", help, requests)?;
    let retries = registries.iter().flat_map(|registry| {
        let name = registry.name.to_string();
        let mut retries = registry.counts.retries();
        // Also before the first one, so that a rate can be told.
        retries.entry((Hop::Registry, FaultKind::Unreachable)).or_default();
        retries.into_iter().map(move |((hop, kind), count)| {
            ([("registry", name.clone()), ("hop", hop.to_string()), ("kind", format!("{kind:?}"))], count)
        })
    });
    let help = "Requests sent again, by what had failed";
    metrics.counters("docxy_server_upstream_retries", help, retries)?;
    let quota = |value: fn(&docxy_protocol::rate_limit::RateLimit) -> Option<u64>| {
        registries.iter().filter_map(move |registry| {
            Some(([("registry", registry.name.to_string())], value(&registry.quota.as_ref()?.0)? as f64))
        })
    };
    let help = "Pulls left, as the registry last reported";
    metrics.gauges("docxy_server_quota_remaining", help, quota(|limit| limit.remaining))?;
    let help = "Pulls that the registry allows in its window";
    metrics.gauges("docxy_server_quota_limit", help, quota(|limit| limit.limit))
}

/// `none` without a response.
fn describe_status(status: Option<StatusCode>) -> String {
    status.map_or_else(|| "none".to_owned(), |status| status.as_str().to_owned())
}
