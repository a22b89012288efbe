//! The number of segments that the large bodies of a connection may have open, shared fairly.
//!
//! A body that its engine does not read keeps its share and no more, so the others continue.

use super::range_habits::RangeHabits;
use docxy_protocol::bulk_window::BulkWindow;
use docxy_transport::Path;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// A few bodies may have two segments each, even if the window is less: one is on its way while the other is
/// requested. With one, a body has no share of the line for a round trip after each.
const BODIES_WITH_TWO_SEGMENTS: usize = 8;

/// The segments of all bodies, on any connection. Segments that outlive a lost connection count.
#[derive(Debug, Default)]
pub struct SharedUsage {
    bodies: AtomicUsize,
    open: AtomicUsize,
    /// The last known rate of a connection, in bytes per second: the next one most likely has it, too.
    rate: Mutex<Option<f64>>,
    range_habits: RangeHabits,
}

/// The common window of the large bodies of a connection.
#[derive(Debug)]
pub struct SegmentBudget {
    window: Mutex<BulkWindow>,
    usage: Arc<SharedUsage>,
}

impl SegmentBudget {
    /// The budget of a new connection. `usage` is shared with the earlier ones.
    #[must_use]
    pub fn new(usage: Arc<SharedUsage>) -> Self {
        let rate = *usage.rate.lock();
        Self { window: Mutex::new(BulkWindow::with_rate(rate)), usage }
    }

    /// Adds a body until its share is dropped.
    #[must_use]
    pub fn share(self: &Arc<Self>) -> BodyShare {
        self.usage.bodies.fetch_add(1, Ordering::Relaxed);
        BodyShare(Arc::clone(self))
    }

    /// Segments that were requested and are not read to their end, on any connection.
    #[must_use]
    pub fn open_segments(&self) -> usize {
        self.usage.open.load(Ordering::Relaxed)
    }
}

/// The share of one body.
#[derive(Debug)]
pub struct BodyShare(Arc<SegmentBudget>);

impl BodyShare {
    /// A permit for one more segment of a body that has `own` already. The first is always granted, or the
    /// body could stop forever. The others must fit into the share of the body and into the window.
    #[must_use]
    pub fn open(&self, own: usize) -> Option<SegmentPermit> {
        let segment_budget = &self.0;
        let bodies = segment_budget.usage.bodies.load(Ordering::Relaxed).max(1);
        let window = segment_budget.window.lock().segments().max(2 * bodies.min(BODIES_WITH_TWO_SEGMENTS));
        let share = window.div_ceil(bodies);
        if own > 0 && (own >= share || segment_budget.usage.open.load(Ordering::Relaxed) >= window) {
            return None;
        }
        segment_budget.usage.open.fetch_add(1, Ordering::Relaxed);
        Some(SegmentPermit(Arc::clone(&segment_budget.usage)))
    }

    /// Segments to open together with a request.
    #[must_use]
    pub fn initial_segments(&self) -> u32 {
        self.0.window.lock().initial_segments()
    }

    /// How much of an open-ended range each engine reads.
    pub(crate) fn range_habits(&self) -> &RangeHabits {
        &self.0.usage.range_habits
    }

    /// Updates the window from what is known about the path.
    pub fn observe(&self, path: Path) {
        let mut window = self.0.window.lock();
        window.observe(Instant::now(), path.bytes_received, path.rtt);
        if let Some(rate) = window.rate() {
            *self.0.usage.rate.lock() = Some(rate);
        }
    }
}

impl Drop for BodyShare {
    fn drop(&mut self) {
        self.0.usage.bodies.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets one segment be open until it is dropped.
#[derive(Debug)]
pub struct SegmentPermit(Arc<SharedUsage>);

impl Drop for SegmentPermit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_the_window_and_each_gets_a_segment() {
        let segment_budget = Arc::new(SegmentBudget::new(Arc::default()));
        let window = segment_budget.window.lock().segments();
        let (first, second) = (segment_budget.share(), segment_budget.share());
        let held: Vec<_> = (0..window).map_while(|own| first.open(own)).collect();
        assert_eq!(held.len(), window / 2);
        drop(second);
        let more: Vec<_> = (held.len()..window * 2).map_while(|own| first.open(own)).collect();
        assert_eq!(held.len() + more.len(), window);
        let third = segment_budget.share();
        let one = third.open(0);
        assert!(one.is_some(), "a body's first segment is always granted");
        assert!(third.open(1).is_none(), "the others hold the whole window");
        drop(held);
        assert!(third.open(1).is_some());
    }

    #[test]
    fn on_a_slow_line_a_few_bodies_have_two_segments_each() {
        let usage = Arc::new(SharedUsage { rate: Mutex::new(Some(1000.0)), ..SharedUsage::default() });
        let slow = Arc::new(SegmentBudget::new(usage));
        assert_eq!(slow.window.lock().segments(), 2);
        let bodies: Vec<_> = (0..4).map(|_| slow.share()).collect();
        let count = |body: &BodyShare| (0..9).map_while(|own| body.open(own)).collect::<Vec<_>>();
        let held: Vec<_> = bodies.iter().map(count).collect();
        assert!(held.iter().all(|held| held.len() == 2), "{held:?}");
    }

    #[test]
    fn segments_of_a_lost_connection_count_on_the_next() {
        let usage = Arc::new(SharedUsage::default());
        let lost = Arc::new(SegmentBudget::new(Arc::clone(&usage))).share();
        let held: Vec<_> = (0..usize::MAX).map_while(|own| lost.open(own)).collect();
        drop(lost);
        let next = Arc::new(SegmentBudget::new(usage)).share();
        let first = next.open(0);
        assert!(first.is_some() && next.open(1).is_none());
        drop(held);
        assert!(next.open(1).is_some());
    }
}
