//! Filters that let each flow begin: a number of bytes passes, and nothing after them.
//! Must never pass a smaller packet once a larger one was too much: the flow is frozen.

use std::collections::BTreeMap;

use crate::wan::link::packet::Flow;

/// The bytes that each flow may still use.
#[derive(Clone, Debug)]
pub(super) struct FlowAllowance {
    limit: u64,
    left: BTreeMap<Flow, u64>,
}

impl FlowAllowance {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, left: BTreeMap::new() }
    }

    /// Whether a packet with this much content passes. An empty one passes until the flow is frozen.
    pub(super) fn passes(&mut self, flow: Flow, bytes: u64) -> bool {
        /// More than any flow has left, and more than a packet can hold.
        const FROZEN: u64 = u64::MAX;
        let left = self.left.entry(flow).or_insert(self.limit);
        if *left == FROZEN || bytes > *left {
            *left = FROZEN;
            return false;
        }
        *left -= bytes;
        true
    }

    /// A new connection uses the ports of an earlier one.
    pub(super) fn restart(&mut self, flow: Flow) {
        self.left.remove(&flow);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wan::link::packet::Protocol;

    #[test]
    fn a_flow_freezes_for_good_when_its_bytes_are_used() {
        let mut allowance = FlowAllowance::new(3000);
        let [one, other] = [1, 2].map(|port| Flow::between(Protocol::Tcp, port, 443));
        assert!(allowance.passes(one, 1400) && allowance.passes(one, 0) && allowance.passes(one, 1600));
        assert!(allowance.passes(one, 0), "it has used exactly its bytes");
        assert!(!allowance.passes(one, 1));
        assert!(!allowance.passes(one, 0), "frozen");
        assert!(allowance.passes(other, 3000), "another flow");
        allowance.restart(one);
        assert!(allowance.passes(one, 3000), "a new connection");
    }
}
