//! How much of an open-ended range each engine reads.
//!
//! containerd fetches a layer by parallel ranges (`bytes=N-`), and closes each after a few MiB. What is requested
//! beyond that crosses the path for nothing. Must never limit what an engine can read, only what is requested
//! before it reads that far.

use docxy_protocol::headers::Headers;
use http::{HeaderValue, header};
use parking_lot::Mutex;
use std::collections::VecDeque;

/// Engines that are remembered. One machine has a few.
const ENGINES_MAX: usize = 16;

/// How many segments of an open-ended range each engine has read, those that closed one last at the front. An engine
/// is known by its `User-Agent`.
#[derive(Debug, Default)]
pub(crate) struct RangeHabits(Mutex<VecDeque<(HeaderValue, u32)>>);

impl RangeHabits {
    /// The engine that sends such a range; `None` for any other request.
    pub(crate) fn engine(headers: &Headers) -> Option<HeaderValue> {
        let range = headers.get_str(&header::RANGE)?.trim();
        let is_open_ended = range.starts_with("bytes=") && range.ends_with('-') && !range.contains(',');
        is_open_ended.then(|| headers.get(header::USER_AGENT).cloned())?
    }

    /// The segments that the engine read of its last range.
    pub(crate) fn segments(&self, engine: &HeaderValue) -> Option<u32> {
        self.0.lock().iter().find(|known| known.0 == engine).map(|known| known.1)
    }

    /// The engine closed a range after this many segments.
    pub(crate) fn closed(&self, engine: HeaderValue, segments: u32) {
        let mut engines = self.0.lock();
        engines.retain(|known| known.0 != engine);
        engines.push_front((engine, segments));
        engines.truncate(ENGINES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn engine(range: &'static str, agent: &'static str) -> Option<HeaderValue> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static(range));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        RangeHabits::engine(&Headers::filter_request(&headers))
    }

    #[test]
    fn the_last_range_of_each_engine_counts() {
        let habits = RangeHabits::default();
        let (containerd, other) =
            (engine("bytes=0-", "containerd/2.1").unwrap(), engine("bytes=5-", "x").unwrap());
        for segments in [20, 8] {
            habits.closed(containerd.clone(), segments);
        }
        assert_eq!((habits.segments(&containerd), habits.segments(&other)), (Some(8), None));
        for n in 0..ENGINES_MAX {
            habits.closed(HeaderValue::from(n), 1);
        }
        assert_eq!(habits.segments(&containerd), None, "the memory is bounded");
    }

    #[test]
    fn only_open_ended_ranges_have_a_habit() {
        for range in ["bytes=0-5", "bytes=-5", "bytes=0-,7-", "lines=0-", "bytes=0-4,7-"] {
            assert_eq!(engine(range, "x"), None, "{range}");
        }
    }
}
