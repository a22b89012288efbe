//! The client's metrics for Prometheus.
//!
//! Must never have a label with an image, an account or a host that an engine names: `registry` is one that a server
//! serves, and all other labels are words of this program.

use super::report::LineState;
use super::{Gateway, WaitsFor};
use crate::status::counters::LegBytes;
use docxy_host::metrics::MetricsWriter;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_transport::Leg;
use std::collections::BTreeMap;
use std::fmt;

impl Gateway {
    /// Writes what is counted and what is going on.
    pub(crate) fn write_metrics(&self, metrics: &mut MetricsWriter<'_>) -> fmt::Result {
        metrics.build_info("docxy_client_build", env!("CARGO_PKG_VERSION"))?;
        self.write_line(metrics)?;
        self.write_servers(metrics)?;
        self.write_transfers(metrics)?;
        self.write_requests(metrics)?;
        self.write_quota(metrics)
    }

    fn write_line(&self, metrics: &mut MetricsWriter<'_>) -> fmt::Result {
        let tunnel = &self.context.tunnel;
        tunnel.count_bytes();
        let counters = &**tunnel.counters();
        let by_leg = |bytes: fn(&LegBytes) -> u64| {
            [("quic", &counters.quic), ("tcp", &counters.tcp)]
                .map(|(leg, counted)| ([("leg", leg.to_owned())], bytes(counted)))
        };
        let help = "Bytes received from servers, with the leg's own headers";
        metrics.counters("docxy_client_received_bytes", help, by_leg(|leg| leg.received.get()))?;
        let help = "Bytes sent to servers, with the leg's own headers";
        metrics.counters("docxy_client_sent_bytes", help, by_leg(|leg| leg.sent.get()))?;
        let help = "Times that the tunnel came up";
        metrics.counter("docxy_client_tunnel_connects", help, counters.connects.get())?;
        let help = "Times that the tunnel was lost";
        metrics.counter("docxy_client_tunnel_disconnects", help, counters.disconnects.get())?;
        let help = "Connections that became silent, so that another one was dialed";
        metrics.counter("docxy_client_silent_connections", help, counters.silent_connections.get())?;
        counters.line.write("docxy_client", metrics)
    }

    fn write_servers(&self, metrics: &mut MetricsWriter<'_>) -> fmt::Result {
        let is_up = f64::from(u8::from(self.tunnel_state().session.is_some()));
        metrics.gauge("docxy_client_tunnel_up", "Whether requests can be sent", is_up)?;
        let servers = self.servers();
        let states = [
            LineState::Up,
            LineState::Suspected,
            LineState::Connecting,
            LineState::Down,
            LineState::Refused,
            LineState::Spare,
        ]
        .map(|state| {
            let count = servers.iter().filter(|server| server.state == state).count();
            ([("state", state.to_string())], count as f64)
        });
        metrics.gauges("docxy_client_servers", "Joined servers by state", states)?;
        let legs = [("quic", Leg::Quic), ("tcp", Leg::Tcp)].map(|(name, leg)| {
            let count = servers.iter().filter(|server| server.leg == Some(leg)).count();
            ([("leg", name.to_owned())], count as f64)
        });
        metrics.gauges("docxy_client_sessions", "Sessions with servers by leg", legs)
    }

    fn write_transfers(&self, metrics: &mut MetricsWriter<'_>) -> fmt::Result {
        let transfers = self.transfers().snapshot();
        let help = "Requests whose response is not completely read";
        metrics.gauge("docxy_client_transfers", help, transfers.len() as f64)?;
        let waiting =
            [(WaitsFor::Tunnel, "tunnel"), (WaitsFor::Permit, "permit"), (WaitsFor::Server, "server")].map(
                |(waits_for, name)| {
                    let count =
                        transfers.iter().filter(|transfer| transfer.waits_for == Some(waits_for)).count();
                    ([("for", name.to_owned())], count as f64)
                },
            );
        metrics.gauges("docxy_client_transfers_waiting", "Those that wait, by what for", waiting)?;
        let counters = &*self.context.counters;
        let sources = self.transfers().bytes_by_source();
        let sources = sources.map(|(name, bytes)| ([("source", name.to_owned())], bytes));
        metrics.counters(
            "docxy_client_body_bytes",
            "Bytes of response bodies by where they came from",
            sources,
        )?;
        let prefetched = self.context.metadata.prefetch_usage.bytes();
        let help = "Bytes that were prefetched through the tunnel";
        metrics.counter("docxy_client_prefetched_bytes", help, prefetched.arrived)?;
        let help = "Those of them that an engine requested; the others were in vain until now";
        metrics.counter("docxy_client_prefetched_used_bytes", help, prefetched.used)?;
        let help = "Seconds until the first byte of a body, by operation";
        metrics.metric("docxy_client_first_byte_seconds", help, &counters.first_byte)?;
        let help = "Seconds from the request for a tag to the image's last layer";
        metrics.metric("docxy_client_pull_seconds", help, &counters.pull)?;
        let help = "Bodies that were interrupted and continued, or wait to";
        metrics.counter("docxy_client_interruptions", help, counters.interruptions.get())?;
        let help = "Bodies that ended incomplete";
        metrics.counter("docxy_client_failures", help, counters.failures.get())
    }

    fn write_requests(&self, metrics: &mut MetricsWriter<'_>) -> fmt::Result {
        let counters = &*self.context.counters;
        let mut retries = counters.retries.all();
        // Also before the first one, so that a rate can be told.
        retries.entry((Hop::Tunnel, FaultKind::Down)).or_default();
        let retries = retries
            .into_iter()
            .map(|((hop, kind), count)| ([("hop", hop.to_string()), ("kind", format!("{kind:?}"))], count));
        metrics.counters("docxy_client_retries", "Requests sent again, by what had failed", retries)?;
        let responses = counters.responses.all().into_iter();
        let responses = responses.map(|(status, count)| ([("status", status.to_string())], count));
        metrics.counters("docxy_client_responses", "Responses to engines by status", responses)?;
        let help = "Responses that needed no server";
        metrics.counter("docxy_client_local_responses", help, counters.local_responses.get())?;
        let engines = counters.engines.all().into_iter();
        let engines = engines.map(|(engine, count)| ([("engine", engine.to_owned())], count));
        metrics.counters("docxy_client_engine_requests", "Requests to registries by engine", engines)?;
        let help = "Tasks of this process; a number that keeps growing is a leak";
        metrics.gauge("docxy_client_tasks", help, self.tasks() as f64)
    }

    /// Of several accounts of a registry, the one with the fewest pulls left.
    fn write_quota(&self, metrics: &mut MetricsWriter<'_>) -> fmt::Result {
        let served = self.served_registries();
        let mut limits = BTreeMap::new();
        for limit in self.rate_limits().into_iter().filter(|limit| served.contains(&limit.registry)) {
            let (Some(remaining), Some(allowed)) = (limit.remaining, limit.limit) else { continue };
            let least = limits.entry(limit.registry.to_string()).or_insert((remaining, allowed));
            if remaining < least.0 {
                *least = (remaining, allowed);
            }
        }
        let limits = || limits.iter().map(|(registry, limit)| ([("registry", registry.clone())], limit));
        let remaining = limits().map(|(labels, (remaining, _))| (labels, *remaining as f64));
        metrics.gauges(
            "docxy_client_quota_remaining",
            "Pulls left, as the registry last reported",
            remaining,
        )?;
        let allowed = limits().map(|(labels, (_, limit))| (labels, *limit as f64));
        metrics.gauges("docxy_client_quota_limit", "Pulls that the registry allows in its window", allowed)
    }
}
