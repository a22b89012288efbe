//! The number of segments that the large bodies of a connection may have open, shared fairly.
//!
//! A body that its engine does not read keeps the segments that it has, and the others share the window without it.
//! Each server has a window of its own. All segments together stay within [`BULK_WINDOW_MAX`], and each body leaves part
//! of those that are free to the next.

use crate::tunnel::range_habits::RangeHabits;
use docxy_protocol::bulk_window::BulkWindow;
use docxy_protocol::limits::{BULK_WINDOW_MAX, SEGMENT_BYTES};
use docxy_transport::Path;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// A few bodies may have two segments each, even if the window is less: one is on its way while the other is
/// requested. With one, a body has no share of the line for a round trip after each.
const BODIES_WITH_TWO_SEGMENTS: usize = 8;

/// The segments of all bodies, at most.
const SEGMENTS_MAX: usize = (BULK_WINDOW_MAX / SEGMENT_BYTES as u64) as usize;

/// A body may have this many times as many segments as are free, as in the dynamic thresholds of switches that share a
/// buffer (Choudhury and Hahne, 1998). A body that is not read keeps three quarters at most, the second one three
/// quarters of the rest. (Measured at 300 ms: one that had them all let another body have one segment each round trip,
/// and 16 MiB took 10.5 s in place of 0.8.)
const FREE_SEGMENTS_FACTOR: usize = 3;

/// The segments of all bodies, of any server. Segments that outlive a lost connection count.
#[derive(Debug, Default)]
pub(in crate::tunnel) struct ClientUsage {
    bodies: AtomicUsize,
    open: AtomicUsize,
    range_habits: RangeHabits,
}

/// The bodies of one server, on any of its connections.
#[derive(Debug, Default)]
pub(in crate::tunnel) struct ServerUsage {
    client: Arc<ClientUsage>,
    /// The bodies for which it was selected.
    selected: AtomicUsize,
    /// The bodies that wait for their next bytes.
    reading: AtomicUsize,
    /// The last known rate of a connection, in bytes per second, and when it was measured: the next one most likely
    /// has it, too.
    rate: Mutex<Option<(f64, Instant)>>,
}

impl ServerUsage {
    pub(in crate::tunnel) fn new(client: Arc<ClientUsage>) -> Self {
        Self { client, ..Self::default() }
    }

    /// The bodies for which it was selected and that are not complete.
    pub(in crate::tunnel) fn bodies(&self) -> usize {
        self.selected.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(in crate::tunnel) fn set_rate(&self, rate: f64) {
        *self.rate.lock() = Some((rate, Instant::now()));
    }

    /// The last known rate of a connection, in bytes per second, and when it was measured.
    pub(in crate::tunnel) fn rate(&self) -> Option<(f64, Instant)> {
        *self.rate.lock()
    }
}

/// Counts a body at the server that was selected for it, until it is dropped.
#[derive(Debug)]
pub(in crate::tunnel) struct SelectedBody(Arc<ServerUsage>);

impl SelectedBody {
    pub(in crate::tunnel) fn at(server: Arc<ServerUsage>) -> Self {
        server.selected.fetch_add(1, Ordering::Relaxed);
        Self(server)
    }
}

impl Drop for SelectedBody {
    fn drop(&mut self) {
        self.0.selected.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The common window of the large bodies of a connection.
#[derive(Debug)]
pub struct SegmentBudget {
    window: Mutex<BulkWindow>,
    /// The bodies of this connection that wait for their next bytes.
    reading: AtomicUsize,
    usage: Arc<ServerUsage>,
}

impl SegmentBudget {
    /// The budget of a new connection. `usage` is shared with the earlier ones of its server.
    pub(in crate::tunnel) fn new(usage: Arc<ServerUsage>) -> Self {
        let rate = usage.rate().map(|(rate, _)| rate);
        Self { window: Mutex::new(BulkWindow::with_rate(rate)), reading: AtomicUsize::new(0), usage }
    }

    /// Adds a body until its share is dropped.
    #[must_use]
    pub fn share(self: &Arc<Self>) -> BodyShare {
        self.usage.client.bodies.fetch_add(1, Ordering::Relaxed);
        let mut share = BodyShare { budget: Arc::clone(self), is_reading: false };
        share.set_reading(true);
        share
    }

    /// Whether a large body waits for bytes of this connection.
    pub(in crate::tunnel) fn is_loaded(&self) -> bool {
        self.reading.load(Ordering::Relaxed) > 0
    }

    /// The last known rate of the server's connections, in bytes per second.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.usage.rate().map(|(rate, _)| rate)
    }

    /// Segments that were requested and are not read to their end, from any server.
    #[must_use]
    pub fn open_segments(&self) -> usize {
        self.usage.client.open.load(Ordering::Relaxed)
    }
}

/// The share of one body.
#[derive(Debug)]
pub struct BodyShare {
    budget: Arc<SegmentBudget>,
    is_reading: bool,
}

impl BodyShare {
    /// A permit for one more segment of a body that has `own` already. The first is always granted, or the
    /// body could stop forever. The others must fit into its share of the window, which it has with the bodies of this
    /// server that are read, and into its share of the client's memory, which it has with all bodies.
    #[must_use]
    pub fn open(&self, own: usize) -> Option<SegmentPermit> {
        let SegmentBudget { window, usage, .. } = &*self.budget;
        let client = &usage.client;
        let among =
            |bodies: &AtomicUsize, segments: usize| segments.div_ceil(bodies.load(Ordering::Relaxed).max(1));
        let two_each = 2 * usage.reading.load(Ordering::Relaxed).min(BODIES_WITH_TWO_SEGMENTS);
        let window = window.lock().segments().max(two_each);
        let share = among(&usage.reading, window).min(among(&client.bodies, SEGMENTS_MAX));
        let free = SEGMENTS_MAX.saturating_sub(client.open.load(Ordering::Relaxed));
        if own > 0 && own >= share.min(FREE_SEGMENTS_FACTOR * free) {
            return None;
        }
        client.open.fetch_add(1, Ordering::Relaxed);
        Some(SegmentPermit(Arc::clone(client)))
    }

    /// Whether the body waits for its next bytes. If not, its engine has not read the last ones yet, and the body
    /// leaves the window to the others.
    pub fn set_reading(&mut self, is_reading: bool) {
        for reading in [&self.budget.usage.reading, &self.budget.reading] {
            match (self.is_reading, is_reading) {
                (false, true) => reading.fetch_add(1, Ordering::Relaxed),
                (true, false) => reading.fetch_sub(1, Ordering::Relaxed),
                _ => return,
            };
        }
        self.is_reading = is_reading;
    }

    /// Segments to open together with a request.
    #[must_use]
    pub fn initial_segments(&self) -> u32 {
        self.budget.window.lock().initial_segments()
    }

    /// Segments that arrive in one round trip; none while the rate of the line is not known.
    #[must_use]
    pub(crate) fn round_trip_segments(&self) -> u32 {
        self.budget.window.lock().round_trip_segments()
    }

    /// How much of an open-ended range each engine reads.
    pub(crate) fn range_habits(&self) -> &RangeHabits {
        &self.budget.usage.client.range_habits
    }

    /// Updates the window from what is known about the path.
    pub fn observe(&self, path: Path) {
        let mut window = self.budget.window.lock();
        let now = Instant::now();
        window.observe(now, path.bytes_received, path.rtt);
        if let Some(rate) = window.rate() {
            *self.budget.usage.rate.lock() = Some((rate, now));
        }
    }
}

impl Drop for BodyShare {
    fn drop(&mut self) {
        self.set_reading(false);
        self.budget.usage.client.bodies.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets one segment be open until it is dropped.
#[derive(Debug)]
pub struct SegmentPermit(Arc<ClientUsage>);

impl Drop for SegmentPermit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// All segments that this body may open.
    fn open_all(share: &BodyShare) -> Vec<SegmentPermit> {
        (0..).map_while(|own| share.open(own)).collect()
    }

    #[test]
    fn bodies_share_the_window() {
        let segment_budget = Arc::new(SegmentBudget::new(Arc::default()));
        let window = segment_budget.window.lock().segments();
        let (first, second) = (segment_budget.share(), segment_budget.share());
        let held = [open_all(&first), open_all(&second)];
        assert_eq!(held.map(|held| held.len()), [window / 2; 2]);
        drop(second);
        assert_eq!(open_all(&first).len(), window);
    }

    #[test]
    fn on_a_slow_line_a_few_bodies_have_two_segments_each() {
        let usage = Arc::new(ServerUsage::default());
        *usage.rate.lock() = Some((1000.0, Instant::now()));
        let slow = Arc::new(SegmentBudget::new(usage));
        assert_eq!(slow.window.lock().segments(), 2);
        let bodies: Vec<_> = (0..4).map(|_| slow.share()).collect();
        let held: Vec<_> = bodies.iter().map(open_all).collect();
        assert!(held.iter().all(|held| held.len() == 2), "{held:?}");
    }

    #[test]
    fn a_body_that_is_not_read_leaves_the_window_to_the_others() {
        let segment_budget = Arc::new(SegmentBudget::new(Arc::default()));
        let window = segment_budget.window.lock().segments();
        let mut stopped = segment_budget.share();
        let _held = open_all(&stopped);
        for _ in 0..2 {
            stopped.set_reading(false);
        }
        let other = segment_budget.share();
        assert_eq!(open_all(&other).len(), window);
        stopped.set_reading(true);
        assert_eq!(open_all(&other).len(), window / 2);
        drop(stopped);
        assert_eq!(open_all(&other).len(), window);
    }

    #[test]
    fn the_bodies_of_another_server_do_not_share_the_window() {
        let client = Arc::default();
        let budget = || Arc::new(SegmentBudget::new(Arc::new(ServerUsage::new(Arc::clone(&client)))));
        let [first, second] = [budget(), budget()].map(|budget| budget.share());
        let window = first.budget.window.lock().segments();
        let held = [open_all(&first), open_all(&second)];
        assert_eq!(held.map(|held| held.len()), [window; 2]);
    }

    #[test]
    fn bodies_that_are_not_read_leave_segments_to_the_next() {
        let usage = Arc::new(ServerUsage::default());
        *usage.rate.lock() = Some((1e9, Instant::now()));
        let budget = Arc::new(SegmentBudget::new(usage));
        let mut held = Vec::new();
        for least in [SEGMENTS_MAX / 2, SEGMENTS_MAX / 8, SEGMENTS_MAX / 32] {
            let mut body = budget.share();
            body.observe(Path { rtt: Duration::from_millis(300), ..Path::default() });
            let segments = open_all(&body);
            assert!(segments.len() >= least, "{}", segments.len());
            body.set_reading(false);
            held.push((body, segments));
        }
    }

    #[test]
    fn all_segments_are_bounded_and_each_body_gets_one() {
        let usage = Arc::new(ServerUsage::default());
        // That of a connection that was lost.
        *usage.rate.lock() = Some((1e9, Instant::now()));
        let lost = Arc::new(SegmentBudget::new(Arc::clone(&usage))).share();
        lost.observe(Path { rtt: Duration::from_millis(300), ..Path::default() });
        let mut held = open_all(&lost);
        // As many bodies have one each as are left.
        held.extend((held.len()..SEGMENTS_MAX).map(|_| lost.open(0).unwrap()));
        drop(lost);
        let next = Arc::new(SegmentBudget::new(usage)).share();
        let first = next.open(0);
        assert!(first.is_some() && next.open(1).is_none());
        drop(held);
        assert!(next.open(1).is_some());
    }
}
