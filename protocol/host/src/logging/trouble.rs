//! Troubles that last: each is worth one line in the log when it begins and one when it is over, and none for each
//! attempt between.
//!
//! [`Trouble`] is a pure value with the time as an argument. [`Troubles`] has one for each subject and reads the clock.
//! Neither logs anything. A trouble that comes and goes must never fill the log: it is told as rarely as
//! [`log_rate_limit`](crate::logging::rate_limit) admits lines.

use crate::logging::rate_limit::RateLimiter;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Subjects with a trouble, at most. Others are not told.
const SUBJECTS_MAX: usize = 256;

/// One trouble.
#[derive(Debug, Default)]
pub struct Trouble {
    /// When it began, and whether that was told.
    since: Option<(Instant, bool)>,
    limiter: RateLimiter,
}

impl Trouble {
    /// Something has failed. Whether that is to be told: nothing had failed before.
    pub fn begin(&mut self, now: Instant) -> bool {
        if self.since.is_some() {
            return false;
        }
        let is_told = self.limiter.admit(now).is_some();
        self.since = Some((now, is_told));
        is_told
    }

    /// Something has worked. `Some` if that is to be told: how long nothing had worked.
    pub fn end(&mut self, now: Instant) -> Option<Duration> {
        let (since, is_told) = self.since.take()?;
        is_told.then(|| now.saturating_duration_since(since))
    }
}

/// The troubles of several subjects, such as registries.
#[derive(Debug)]
pub struct Troubles<K>(Mutex<HashMap<K, Trouble>>);

impl<K> Default for Troubles<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Troubles<K> {
    /// See [`Trouble::begin`].
    pub fn begin(&self, subject: K) -> bool {
        let mut troubles = self.0.lock();
        if troubles.len() >= SUBJECTS_MAX && !troubles.contains_key(&subject) {
            return false;
        }
        troubles.entry(subject).or_default().begin(Instant::now())
    }

    /// See [`Trouble::end`]. In whole milliseconds, as a field of a line.
    pub fn end(&self, subject: &K) -> Option<u64> {
        let lasted = self.0.lock().get_mut(subject)?.end(Instant::now())?;
        Some(u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_trouble_is_told_when_it_begins_and_when_it_is_over() {
        let (start, mut trouble) = (Instant::now(), Trouble::default());
        assert_eq!(trouble.end(start), None, "there was none");
        let told = (0..1000).filter(|n| trouble.begin(start + *n * SECOND * 5 / 2));
        assert_eq!(told.collect::<Vec<_>>(), [0], "one line, not one every 2.5 s");
        assert_eq!(trouble.end(start + 3000 * SECOND), Some(3000 * SECOND));
        assert_eq!(trouble.end(start + 3001 * SECOND), None);
        assert!(trouble.begin(start + 3002 * SECOND));
    }

    #[test]
    fn one_that_comes_and_goes_is_told_rarely_and_whole() {
        let (start, mut trouble) = (Instant::now(), Trouble::default());
        let (mut begun, mut ended) = (0, 0);
        for second in 0..3600 {
            begun += u32::from(trouble.begin(start + second * SECOND));
            ended += u32::from(trouble.end(start + second * SECOND + SECOND / 2).is_some());
        }
        assert_eq!((begun, ended), (10 + 359, 10 + 359));
    }

    #[test]
    fn each_subject_has_its_own_and_their_number_is_limited() {
        let troubles = Troubles::default();
        assert!(troubles.begin(0) && troubles.begin(1) && !troubles.begin(0));
        assert!(troubles.end(&0).is_some() && troubles.end(&0).is_none() && troubles.end(&1).is_some());
        assert_eq!((2..1000).filter(|n| troubles.begin(*n)).count(), SUBJECTS_MAX - 2);
    }
}
