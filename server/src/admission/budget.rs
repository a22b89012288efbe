//! Shares the slots of a budget among clients: the upstream requests, and the segments in memory.
//!
//! Must never let one client take the last slot: a client may hold at most as many as are free, so that a new
//! client always gets some (dynamic thresholds; Choudhury and Hahne, 1998). Beyond that, its sessions may hold a few more:
//! the share may be on a session whose path is dead, which the server knows only after the idle timeout.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// The second session of a client may hold this part of the free slots, whatever the first one holds: 8 MiB of the send
/// budget beside a dead session that holds all it may, which keep 100 Mbit/s at 300 ms busy. (Measured: without them, a
/// pull whose path died within its first seconds stood still for 15 to 18 s in five of twelve runs.) All sessions but one
/// share this part, so that a client gains nothing by many.
const SESSION_PART: usize = 4;

/// How long a client may accept nothing of a body that holds a slot before another body that waits gets the slot. An
/// engine that unpacks a layer pauses for about a minute, and our client gives a segment all its credit in advance.
const STALLED_TIMEOUT: Duration = Duration::from_secs(120);

/// How often a stalled body checks whether another one waits.
const RECLAIM_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The slots of all clients.
#[derive(Debug)]
pub(crate) struct Budget(Mutex<Slots>);

#[derive(Debug)]
struct Slots {
    free: usize,
    /// What waits, those that came first at the front.
    waiting: VecDeque<Waiter>,
}

/// What waits for a slot of its share.
#[derive(Debug)]
struct Waiter {
    share: Arc<BudgetShare>,
    /// How many slots the share may hold then.
    most: usize,
    sender: oneshot::Sender<Slot>,
}

/// The slots of one client, over all its sessions, or those of one of them.
#[derive(Debug)]
pub(crate) struct BudgetShare {
    all: Arc<Budget>,
    /// The client, for one of its sessions.
    client: Option<Arc<BudgetShare>>,
    /// Changed only under the lock of `all`.
    held: AtomicUsize,
}

/// One slot, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<BudgetShare>);

impl Budget {
    pub(crate) fn new(slots: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Slots { free: slots, waiting: VecDeque::new() })))
    }

    /// The number of slots that nothing holds.
    pub(crate) fn free(&self) -> usize {
        self.0.lock().free
    }

    /// The slots of one more client.
    pub(crate) fn client(self: &Arc<Self>) -> Arc<BudgetShare> {
        Arc::new(BudgetShare { all: Arc::clone(self), client: None, held: AtomicUsize::new(0) })
    }
}

impl BudgetShare {
    /// The slots of one more session of this client.
    pub(crate) fn session(self: &Arc<Self>) -> Arc<Self> {
        let (all, client) = (Arc::clone(&self.all), Some(Arc::clone(self)));
        Arc::new(Self { all, client, held: AtomicUsize::new(0) })
    }

    /// The sessions of this client but one, at least 1.
    fn further_sessions(self: &Arc<Self>) -> usize {
        // The client itself is with its connections, and each session has it too.
        Arc::strong_count(self).saturating_sub(2).max(1)
    }

    /// Waits for a slot with which the share holds `most` or fewer. A session gets its slots in the order in which it
    /// waits for them.
    pub(crate) async fn slot(self: &Arc<Self>, most: usize) -> Slot {
        let granted = {
            let mut slots = self.all.0.lock();
            // What waits already needs more free ones, or fewer that are held.
            if let Some(slot) = slots.take(self, most) {
                return slot;
            }
            let (sender, granted) = oneshot::channel();
            slots.waiting.push_back(Waiter { share: Arc::clone(self), most, sender });
            granted
        };
        match granted.await {
            Ok(slot) => slot,
            // The sender is kept until it has sent.
            Err(_) => std::future::pending().await,
        }
    }

    /// Resolves when a slot was held without progress for too long and another body waits for one. Call it again after
    /// each write.
    pub(crate) async fn reclaimed(&self) {
        tokio::time::sleep(STALLED_TIMEOUT).await;
        while !self.all.0.lock().has_waiters() {
            tokio::time::sleep(RECLAIM_POLL_INTERVAL).await;
        }
    }
}

impl Slots {
    /// Whether something lacks a free slot. What waits only until its share holds fewer does not.
    fn has_waiters(&self) -> bool {
        let lacks_one = |Waiter { share, most, sender }: &Waiter| {
            !sender.is_closed() && share.held.load(Ordering::Relaxed) < *most
        };
        self.waiting.iter().any(lacks_one)
    }

    fn take(&mut self, share: &Arc<BudgetShare>, most: usize) -> Option<Slot> {
        let held = |share: &BudgetShare| share.held.load(Ordering::Relaxed);
        let is_fair = match &share.client {
            Some(client) => {
                held(client) < self.free
                    || held(share) < self.free / (SESSION_PART * client.further_sessions())
            }
            None => held(share) < self.free,
        };
        (is_fair && held(share) < most).then(|| {
            self.free -= 1;
            for share in [Some(share), share.client.as_ref()].into_iter().flatten() {
                share.held.fetch_add(1, Ordering::Relaxed);
            }
            Slot(Arc::clone(share))
        })
    }

    /// The slots for those that have waited.
    fn grant(&mut self) -> Vec<(oneshot::Sender<Slot>, Slot)> {
        let mut granted = Vec::new();
        for waiter in std::mem::take(&mut self.waiting) {
            if waiter.sender.is_closed() {
                // It waits no more.
                continue;
            }
            match self.take(&waiter.share, waiter.most) {
                Some(slot) => granted.push((waiter.sender, slot)),
                None => self.waiting.push_back(waiter),
            }
        }
        granted
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let granted = {
            let mut slots = self.0.all.0.lock();
            slots.free += 1;
            for share in [Some(&self.0), self.0.client.as_ref()].into_iter().flatten() {
                share.held.fetch_sub(1, Ordering::Relaxed);
            }
            slots.grant()
        };
        for (sender, slot) in granted {
            // A slot that is not received is dropped, and granted again.
            drop(sender.send(slot));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    /// Takes all slots that are available at once.
    fn take_all(share: &Arc<BudgetShare>) -> Vec<Slot> {
        std::iter::from_fn(|| share.slot(usize::MAX).now_or_never()).collect()
    }

    #[test]
    fn every_new_client_gets_slots_and_all_are_returned() {
        let all = Budget::new(64);
        let clients: Vec<_> = (0..4).map(|_| all.client()).collect();
        let held: Vec<_> = clients.iter().map(take_all).collect();
        assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), [32, 16, 8, 4]);
        drop(held);
        assert_eq!(take_all(&clients[3]).len(), 32);
    }

    #[test]
    fn sessions_of_a_client_whose_others_hold_its_share_get_a_few() {
        let all = Budget::new(160);
        let (client, other) = (all.client(), all.client());
        // The eight of one client get about as much together as two.
        for (count, expected) in [(1, 80), (2, 96), (3, 97), (8, 94)] {
            let sessions: Vec<_> = (0..count).map(|_| client.session()).collect();
            let held: Vec<_> = sessions.iter().map(take_all).collect();
            assert!(held.iter().all(|slots| !slots.is_empty()), "{held:?}");
            assert_eq!(held.iter().map(Vec::len).sum::<usize>(), expected, "{count} sessions");
            let free = all.free();
            assert_eq!(take_all(&other.session()).len(), free.div_ceil(2), "half of the free ones");
        }
        assert_eq!((all.free(), take_all(&client.session()).len()), (160, 80));
    }

    #[tokio::test]
    async fn bodies_wait_in_order_and_those_that_ended_are_skipped() {
        let client = Budget::new(2).client();
        let held = take_all(&client);
        assert_eq!(held.len(), 1);
        let (mut ended, mut first, mut second) = (
            Box::pin(client.slot(usize::MAX)),
            Box::pin(client.slot(usize::MAX)),
            Box::pin(client.slot(usize::MAX)),
        );
        for waiting in [&mut ended, &mut first, &mut second] {
            assert!(waiting.now_or_never().is_none());
        }
        drop((ended, held));
        let slot = first.now_or_never().expect("the slot that was released");
        assert!((&mut second).now_or_never().is_none());
        drop(slot);
        second.await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_slot_is_reclaimed_only_for_a_body_that_waits() {
        let all = Budget::new(2);
        let (stalled, other) = (all.client(), all.client());
        let _held = take_all(&stalled);
        let unwanted = tokio::time::timeout(10 * STALLED_TIMEOUT, stalled.reclaimed()).await;
        assert!(unwanted.is_err(), "no body waits");
        let _others = take_all(&other);
        let started = tokio::time::Instant::now();
        tokio::select! {
            () = stalled.reclaimed() => assert_eq!(started.elapsed(), STALLED_TIMEOUT),
            _ = other.slot(usize::MAX) => panic!("no slot is free"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_holds_enough_waits_for_its_own_slots_and_takes_none_from_others() {
        let all = Budget::new(64);
        let (session, other) = (all.client().session(), all.client());
        let mut held: Vec<_> = std::iter::from_fn(|| session.slot(3).now_or_never()).collect();
        assert_eq!(held.len(), 3);
        let mut next = Box::pin(session.slot(3));
        assert!((&mut next).now_or_never().is_none() && session.slot(4).now_or_never().is_some());
        let unwanted = tokio::time::timeout(10 * STALLED_TIMEOUT, other.reclaimed()).await;
        assert!(unwanted.is_err(), "slots are free");
        held.pop();
        assert!(next.now_or_never().is_some());
    }

    #[test]
    fn a_released_slot_goes_to_a_client_that_may_have_it() {
        let all = Budget::new(4);
        let (greedy, modest) = (all.client(), all.client());
        let (mut held, other) = (take_all(&greedy), take_all(&modest));
        assert_eq!((held.len(), other.len()), (2, 1));
        let (mut more, mut modest_more) =
            (Box::pin(greedy.slot(usize::MAX)), Box::pin(modest.slot(usize::MAX)));
        assert!((&mut more).now_or_never().is_none() && (&mut modest_more).now_or_never().is_none());
        held.pop();
        let granted = more.now_or_never();
        assert!(granted.is_some() && modest_more.now_or_never().is_none());
    }
}
