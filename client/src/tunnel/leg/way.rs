//! The way of the TCP leg where the environment names a proxy: directly, or through that proxy.
//!
//! The one that is up first is used, so it must be left if its sessions stop afterwards. Must never leave a way for one
//! session that broke.

use super::rest::{RestCause, Rests};
use super::strikes::Strikes;
use std::time::Instant;

/// A way of the TCP leg.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Way {
    /// No proxy.
    #[default]
    Direct,
    /// The proxy that the environment names.
    Proxy,
}

/// Which way is dialed first. It has the strikes and the rests of a leg.
#[derive(Debug, Default)]
pub(super) struct Ways {
    direct: Rests,
    proxy: Rests,
    /// The way of the last TCP session.
    last: Way,
    /// Its sessions that broke.
    strikes: Strikes,
}

impl Ways {
    /// The way to dial first.
    pub(super) fn first(&self, now: Instant) -> Way {
        let is_left = self.direct.is_resting(now) && !self.proxy.is_resting(now);
        if is_left { Way::Proxy } else { Way::Direct }
    }

    /// A TCP session is up.
    pub(super) fn up(&mut self, way: Way) {
        if std::mem::replace(&mut self.last, way) != way {
            self.strikes.clear();
        }
    }

    /// The last TCP session broke while a body waited for its bytes, of which it has received this many.
    pub(super) fn broke(&mut self, received: u64, now: Instant, random: f64) {
        if !self.strikes.would_leave(now, received) {
            return self.strikes.add(now, received);
        }
        self.strikes.clear();
        let rests = match self.last {
            Way::Direct => &mut self.direct,
            Way::Proxy => &mut self.proxy,
        };
        rests.begin(now, RestCause::PoorGoodput, random);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::leg::REST_MAX;

    #[test]
    fn a_way_whose_sessions_stop_is_dialed_second_for_a_while() {
        let (mut ways, now) = (Ways::default(), Instant::now());
        ways.broke(16_000, now, 1.0);
        assert_eq!(ways.first(now), Way::Direct, "once may be chance");
        ways.broke(16_000, now, 1.0);
        assert_eq!(ways.first(now), Way::Proxy);
        assert_eq!(ways.first(now + REST_MAX), Way::Direct);
        ways.up(Way::Proxy);
        for _ in 0..2 {
            assert_eq!(ways.first(now), Way::Proxy);
            ways.broke(16_000, now, 1.0);
        }
        assert_eq!(ways.first(now), Way::Direct, "neither is better");
    }
}
