//! What `/health`, the page, the metrics and the commands read of a gateway.
//!
//! Must never change anything.

use super::{Gateway, ReportedLimit, ServerReport, TransferRegistry, TunnelState};
use crate::status::CacheReport;
use crate::status::pulls::Moment;
use crate::status::recent_errors::RecentError;
use crate::tunnel::{Line, ServerState};
use docxy_protocol::name::Registry;
use std::cmp::Reverse;
use std::collections::BTreeSet;

impl Gateway {
    /// The requests whose response is not completely read.
    #[must_use]
    pub const fn transfers(&self) -> &TransferRegistry {
        &self.context.registry
    }

    /// The state of the tunnel, for reports.
    #[must_use]
    pub fn tunnel_state(&self) -> TunnelState {
        let tunnel = &self.context.tunnel;
        TunnelState::of(tunnel.in_use().as_ref(), &tunnel.status(), &tunnel.servers(), Moment::now())
    }

    /// The state of each server, in the order of their links, for reports.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerReport> {
        let in_use = self.context.tunnel.in_use();
        let is_used = |state: &ServerState| in_use.as_ref().is_some_and(|used| used.is_same(state));
        let states = self.context.tunnel.servers();
        let preferred = self.context.tunnel.preferred();
        let now = Moment::now();
        let report = |state: &ServerState| ServerReport::of(state, is_used(state), preferred, now);
        states.iter().map(report).collect()
    }

    /// The registries that the connected and trusted servers serve. Another server must not choose for which registries
    /// engines are set up.
    pub(crate) fn served_registries(&self) -> Vec<Registry> {
        let states = self.context.tunnel.servers();
        let trusted = states.iter().filter(|state| state.is_trusted());
        let welcomes = trusted.filter_map(|state| state.session()?.welcome());
        let served: BTreeSet<_> =
            welcomes.flat_map(|(welcome, _)| welcome.registries.iter().cloned()).collect();
        served.into_iter().collect()
    }

    /// What the line was like in the last minutes.
    pub(crate) const fn line(&self) -> &Line {
        self.context.tunnel.line()
    }

    /// The tasks of this process. A number that keeps growing is a leak.
    #[must_use]
    pub fn tasks(&self) -> usize {
        tokio::runtime::Handle::current().metrics().num_alive_tasks()
    }

    /// The rate limits that the registries have reported.
    pub(crate) fn rate_limits(&self) -> Vec<ReportedLimit> {
        self.context.metadata.rate_limits.all()
    }

    /// The last errors, latest first.
    pub(crate) fn recent_errors(&self) -> Vec<RecentError> {
        let mut errors = self.context.tunnel.counters().recent.all();
        errors.extend(self.context.counters.recent.all());
        errors.sort_by_key(|error| Reverse(error.at));
        errors
    }

    /// What happened since the start, as JSON.
    pub(crate) fn counters(&self) -> serde_json::Value {
        serde_json::json!({
            "tunnel": **self.context.tunnel.counters(),
            "transfers": *self.context.counters,
            "prefetch": self.context.metadata.prefetch_usage.to_json(),
        })
    }

    /// The state of the blobs on the disk, as JSON.
    pub(crate) fn blob_cache(&self) -> serde_json::Value {
        self.blob_cache.to_json()
    }

    /// The disk space that kept blobs use, for the page.
    pub(crate) fn cache_report(&self) -> Option<CacheReport> {
        self.blob_cache.report()
    }
}
