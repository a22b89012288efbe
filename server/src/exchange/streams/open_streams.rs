//! The streams of all clients that are open.
//!
//! Must never end one: it counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Counts streams. Clones share the count.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenStreams(Arc<Streams>);

#[derive(Debug, Default)]
struct Streams {
    open: TaskTracker,
    /// How many were opened since the start.
    opened: AtomicU64,
}

impl OpenStreams {
    /// A stream counts as open until its token is dropped.
    pub(crate) fn add(&self) -> TaskTrackerToken {
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        self.0.open.token()
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.0.open.len()
    }

    /// Resolves when no stream has been open for this time.
    pub(crate) async fn unused_for(&self, time: Duration) {
        let Streams { open, opened } = &*self.0;
        // The tracker is waited for only after this. It goes on counting.
        open.close();
        loop {
            open.wait().await;
            let before = opened.load(Ordering::Relaxed);
            tokio::time::sleep(time).await;
            if open.is_empty() && opened.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, sleep};

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_opens_and_ends_meanwhile_counts_as_use() {
        let (streams, started) = (OpenStreams::default(), Instant::now());
        let use_it = async {
            let first = streams.add();
            sleep(Duration::from_secs(5)).await;
            drop(first);
            for _ in 0..4 {
                sleep(Duration::from_millis(600)).await;
                drop(streams.add());
            }
        };
        tokio::join!(use_it, streams.unused_for(Duration::from_secs(1)));
        let took = started.elapsed();
        let last_use = Duration::from_millis(7400);
        assert!(
            took >= last_use + Duration::from_millis(400) && took <= last_use + Duration::from_secs(2),
            "{took:?}"
        );
    }
}
