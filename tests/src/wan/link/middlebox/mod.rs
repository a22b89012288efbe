//! What a network does to packets of one kind: it polices or blocks UDP, freezes or resets TCP, drops IPv6, blocks
//! single flows or ports. Must never decide by chance: loss is the loss model's.

mod flow_allowance;
pub(in crate::wan) mod policer;
pub(in crate::wan) mod rules;

use std::{collections::BTreeSet, time::Duration};

use flow_allowance::FlowAllowance;
use policer::Policer;
use rules::{TcpRule, UdpRule};

use crate::wan::link::{
    conditions::Conditions,
    counters::DropCause,
    packet::{Datagram, Flow, Packet, Payload, Segment},
};

/// The filters in one direction, with the flows that they have recorded.
#[derive(Clone, Debug)]
pub(in crate::wan) struct Middlebox {
    udp: UdpRule,
    tcp: TcpRule,
    drops_ipv6: bool,
    reset_port: Option<u16>,
    policer: Option<Policer>,
    udp_allowance: Option<FlowAllowance>,
    tcp_allowance: Option<FlowAllowance>,
    flows: BTreeSet<Flow>,
    blocked_flows: BTreeSet<Flow>,
    blocked_ports: BTreeSet<u16>,
}

impl Middlebox {
    pub(in crate::wan) fn new(now: Duration, conditions: &Conditions) -> Self {
        let mut middlebox = Self {
            udp: UdpRule::Pass,
            tcp: TcpRule::Pass,
            drops_ipv6: false,
            reset_port: None,
            policer: None,
            udp_allowance: None,
            tcp_allowance: None,
            flows: BTreeSet::new(),
            blocked_flows: BTreeSet::new(),
            blocked_ports: BTreeSet::new(),
        };
        middlebox.change(now, conditions);
        middlebox
    }

    /// Why a packet that is sent `now` is dropped, if it is.
    pub(in crate::wan) fn check(&mut self, now: Duration, packet: &Packet) -> Result<(), DropCause> {
        if self.drops_ipv6 && packet.is_ipv6 {
            return Err(DropCause::Ipv6Blocked);
        }
        match packet.payload {
            Payload::Udp(datagram) => self.check_udp(now, packet.bytes, datagram),
            Payload::Tcp(segment) => self.check_tcp(segment),
            Payload::Other => Ok(()),
        }
    }

    /// Sets other rules from now on. Blocked flows and ports stay blocked; a rule that stays keeps its state.
    pub(in crate::wan) fn change(&mut self, now: Duration, conditions: &Conditions) {
        if self.udp != conditions.udp {
            self.udp = conditions.udp;
            (self.policer, self.udp_allowance) = match self.udp {
                UdpRule::Policed { rate, burst, .. } => (Some(Policer::new(now, rate, burst)), None),
                UdpRule::Limited { bytes } => (None, Some(FlowAllowance::new(bytes))),
                UdpRule::Pass | UdpRule::Blocked | UdpRule::Rejected(_) => (None, None),
            };
        }
        if self.tcp != conditions.tcp {
            self.tcp = conditions.tcp;
            self.tcp_allowance = match self.tcp {
                TcpRule::Frozen { bytes } => Some(FlowAllowance::new(bytes)),
                TcpRule::Pass | TcpRule::Blocked | TcpRule::NoServerHello => None,
            };
        }
        (self.drops_ipv6, self.reset_port) = (conditions.drops_ipv6, conditions.reset_port);
    }

    /// All flows that have used this direction.
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

    fn check_udp(&mut self, now: Duration, bytes: u64, datagram: Option<Datagram>) -> Result<(), DropCause> {
        match self.udp {
            UdpRule::Blocked => return Err(DropCause::UdpBlocked),
            UdpRule::Rejected(_) => return Err(DropCause::QuicRejected),
            UdpRule::Pass | UdpRule::Policed { .. } | UdpRule::Limited { .. } => {}
        }
        if let Some(Datagram { flow, bytes, .. }) = datagram {
            self.check_flow(flow)?;
            if self.reset_port.is_some_and(|port| flow.has(port)) {
                return Err(DropCause::FlowBlocked);
            }
            if self.udp_allowance.as_mut().is_some_and(|allowance| !allowance.passes(flow, bytes)) {
                return Err(DropCause::Frozen);
            }
        }
        if let UdpRule::Policed { times: Some(times), .. } = self.udp
            && !times.is_active(now)
        {
            return Ok(());
        }
        let passes = self.policer.as_mut().is_none_or(|policer| policer.passes(now, bytes));
        if passes { Ok(()) } else { Err(DropCause::Policed) }
    }

    fn check_tcp(&mut self, segment: Option<Segment>) -> Result<(), DropCause> {
        if self.tcp == TcpRule::Blocked {
            return Err(DropCause::TcpBlocked);
        }
        let Some(Segment { flow, bytes, is_syn, is_server_hello }) = segment else { return Ok(()) };
        self.check_flow(flow)?;
        if self.reset_port.is_some_and(|port| flow.has(port)) {
            return Err(DropCause::Reset);
        }
        if self.tcp == TcpRule::NoServerHello && is_server_hello {
            return Err(DropCause::ServerHello);
        }
        if let Some(allowance) = &mut self.tcp_allowance {
            if is_syn {
                allowance.restart(flow);
            }
            if !allowance.passes(flow, bytes) {
                return Err(DropCause::Frozen);
            }
        }
        Ok(())
    }

    fn check_flow(&mut self, flow: Flow) -> Result<(), DropCause> {
        self.flows.insert(flow);
        let blocked =
            self.blocked_flows.contains(&flow) || self.blocked_ports.iter().any(|port| flow.has(*port));
        if blocked { Err(DropCause::FlowBlocked) } else { Ok(()) }
    }
}
