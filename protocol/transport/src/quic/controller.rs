//! Adapter from our algorithms to quinn's controllers: forwards events and applies the handle's choice.
//!
//! Must never measure or decide anything about the path itself.

use docxy_protocol::congestion::{Algorithm, Auto, Choice, Fixed, Handle, Measured, Rate};
use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};
use quinn_proto::RttEstimator;
use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

/// CUBIC's initial window in bytes. It fills a long path two or three round trips earlier than RFC 9002's
/// 14,720 bytes.
const CUBIC_INITIAL_WINDOW: u64 = 64 * 1024;

/// Builds the controllers of one connection.
pub(super) struct Factory(Handle);

impl Factory {
    pub(super) fn new(congestion: &Handle) -> Self {
        Self(congestion.clone())
    }
}

impl ControllerFactory for Factory {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(QuinnController::new(self.0.clone(), now, mtu))
    }
}

struct QuinnController {
    handle: Handle,
    choice: Choice,
    active: ActiveAlgorithm,
    mtu: u16,
}

enum ActiveAlgorithm {
    Auto(Box<Auto>),
    Fixed(Fixed),
    Cubic(Box<dyn Controller>),
}

impl QuinnController {
    fn new(handle: Handle, now: Instant, mtu: u16) -> Self {
        let choice = handle.choice();
        // quinn also builds a new controller when a NAT has changed only the port. The last controller's
        // measurement still holds then, if the RTT is the same.
        if let Some(memory) = handle.measured().memory {
            handle.recall(memory);
        }
        handle.publish(Measured::default());
        Self { handle, choice, active: ActiveAlgorithm::new(choice, now, mtu), mtu }
    }

    /// Applies a choice or a memory that is new in the handle. Called also before packets count as sent,
    /// because a new connection gets its first acknowledgement only after a round trip.
    fn sync_with_handle(&mut self, now: Instant) {
        let choice = self.handle.choice();
        if choice != self.choice {
            self.choice = choice;
            self.handle.publish(Measured::default());
            self.active = ActiveAlgorithm::new(choice, now, self.mtu);
        }
        if let ActiveAlgorithm::Auto(auto) = &mut self.active
            && let Some(memory) = self.handle.take_memory()
        {
            auto.recall(memory);
        }
    }
}

impl ActiveAlgorithm {
    fn new(choice: Choice, now: Instant, mtu: u16) -> Self {
        match choice {
            Choice::Auto => Self::Auto(Box::new(Auto::new(now, mtu))),
            Choice::Fixed(rate) => Self::Fixed(Fixed::new(rate, mtu)),
            Choice::Cubic => {
                let mut config = CubicConfig::default();
                config.initial_window(CUBIC_INITIAL_WINDOW);
                Self::Cubic(Arc::new(config).build(now, mtu))
            }
        }
    }

    fn algorithm_or_cubic(&mut self) -> Result<&mut dyn Algorithm, &mut dyn Controller> {
        match self {
            Self::Auto(auto) => Ok(&mut **auto),
            Self::Fixed(fixed) => Ok(fixed),
            Self::Cubic(cubic) => Err(&mut **cubic),
        }
    }
}

impl Controller for QuinnController {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.sync_with_handle(now);
        match self.active.algorithm_or_cubic() {
            Ok(algorithm) => algorithm.on_sent(now, bytes),
            Err(cubic) => cubic.on_sent(now, bytes, last_packet_number),
        }
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        match self.active.algorithm_or_cubic() {
            Ok(algorithm) => algorithm.on_ack(now, sent, bytes),
            Err(cubic) => cubic.on_ack(now, sent, bytes, app_limited, rtt),
        }
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        self.sync_with_handle(now);
        match self.active.algorithm_or_cubic() {
            Ok(algorithm) => {
                algorithm.on_end_acks(now, in_flight, app_limited);
                self.handle.publish(algorithm.measured());
            }
            Err(cubic) => cubic.on_end_acks(now, in_flight, app_limited, largest),
        }
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, persistent: bool, lost: u64) {
        match self.active.algorithm_or_cubic() {
            Ok(algorithm) => algorithm.on_loss(now, sent, lost, persistent),
            Err(cubic) => cubic.on_congestion_event(now, sent, persistent, lost),
        }
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.mtu = mtu;
        match self.active.algorithm_or_cubic() {
            Ok(algorithm) => algorithm.on_mtu_update(mtu),
            Err(cubic) => cubic.on_mtu_update(mtu),
        }
    }

    fn window(&self) -> u64 {
        match &self.active {
            ActiveAlgorithm::Auto(auto) => auto.window(),
            ActiveAlgorithm::Fixed(fixed) => fixed.window(),
            ActiveAlgorithm::Cubic(cubic) => cubic.window(),
        }
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = ControllerMetrics::default();
        metrics.congestion_window = self.window();
        metrics.pacing_rate = self.handle.measured().rate.map(Rate::bits_per_second);
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        let active = match &self.active {
            ActiveAlgorithm::Auto(auto) => ActiveAlgorithm::Auto(auto.clone()),
            ActiveAlgorithm::Fixed(fixed) => ActiveAlgorithm::Fixed(fixed.clone()),
            ActiveAlgorithm::Cubic(cubic) => ActiveAlgorithm::Cubic(cubic.clone_box()),
        };
        Box::new(Self { handle: self.handle.clone(), choice: self.choice, active, mtu: self.mtu })
    }

    fn initial_window(&self) -> u64 {
        self.window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
