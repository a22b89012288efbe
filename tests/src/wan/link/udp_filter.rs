//! What an operator does to UDP alone: police it, block it, block single flows or ports.
//! Must never drop a packet that is not UDP.

use std::{collections::BTreeSet, time::Duration};

use crate::wan::link::{
    conditions::UdpRule,
    counters::DropCause,
    packet::{Flow, Packet, Payload},
    policer::Policer,
};

/// The filter of UDP packets in one direction, with the flows that it has recorded.
#[derive(Clone, Debug)]
pub(in crate::wan) struct UdpFilter {
    rule: UdpRule,
    policer: Option<Policer>,
    flows: BTreeSet<Flow>,
    blocked_flows: BTreeSet<Flow>,
    blocked_ports: BTreeSet<u16>,
}

impl UdpFilter {
    pub(in crate::wan) fn new(now: Duration, rule: UdpRule) -> Self {
        Self {
            rule,
            policer: policer(now, rule),
            flows: BTreeSet::new(),
            blocked_flows: BTreeSet::new(),
            blocked_ports: BTreeSet::new(),
        }
    }

    /// Why a packet that is sent `now` is dropped, if it is.
    pub(in crate::wan) fn check(&mut self, now: Duration, packet: &Packet) -> Result<(), DropCause> {
        let Payload::Udp(flow) = packet.payload else { return Ok(()) };
        if self.rule == UdpRule::Blocked {
            return Err(DropCause::UdpBlocked);
        }
        if let Some(flow) = flow {
            self.flows.insert(flow);
            if self.blocked_flows.contains(&flow) || self.blocked_ports.iter().any(|port| flow.has(*port)) {
                return Err(DropCause::FlowBlocked);
            }
        }
        let passes = self.policer.as_mut().is_none_or(|policer| policer.passes(now, packet.bytes));
        if passes { Ok(()) } else { Err(DropCause::Policed) }
    }

    /// Sets another rule from `now` on. Blocked flows and ports stay blocked.
    pub(in crate::wan) fn change(&mut self, now: Duration, rule: UdpRule) {
        if self.rule != rule {
            (self.rule, self.policer) = (rule, policer(now, rule));
        }
    }

    /// All UDP flows that have used this direction.
    pub(in crate::wan) fn flows(&self) -> &BTreeSet<Flow> {
        &self.flows
    }

    pub(in crate::wan) fn block_flows(&mut self, flows: &BTreeSet<Flow>) {
        self.blocked_flows.extend(flows);
    }

    pub(in crate::wan) fn block_port(&mut self, port: u16) {
        self.blocked_ports.insert(port);
    }

    /// Undoes all blocks of flows and ports.
    pub(in crate::wan) fn unblock(&mut self) {
        self.blocked_flows.clear();
        self.blocked_ports.clear();
    }
}

fn policer(now: Duration, rule: UdpRule) -> Option<Policer> {
    match rule {
        UdpRule::Policed { rate, burst } => Some(Policer::new(now, rate, burst)),
        UdpRule::Pass | UdpRule::Blocked => None,
    }
}
