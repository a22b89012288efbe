//! Other clients in this network, which have public layers on their disks: who they are, and who is not asked for a while.
//!
//! What each part does:
//! - `local_networks`: which addresses are in this network.
//! - `discovery`: multicast DNS.
//! - `download`: one request to a neighbour.
//! - `share`: what this client serves to them.
//!
//! Must never ask one for a digest that is not public, nor ask a machine beyond this network that the user has not
//! named. What they send may be wrong: [`transfer`](crate::transfer) holds it back until its digest was compared.

mod discovery;
mod download;
mod local_networks;
mod share;

pub(crate) use download::{Download, DownloadError, Timeouts};
#[cfg(test)]
pub(crate) use share::serve;
pub(crate) use share::start;

use docxy_host::random::random_fraction;
use docxy_protocol::backoff::{Backoff, Schedule};
use docxy_protocol::name::Digest;
use futures_util::future::select_ok;
use local_networks::LocalNetworks;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long one is ignored whose bytes had the wrong digest.
pub(crate) const WRONG_PAUSE: Duration = Duration::from_secs(3600);

/// How long one is ignored that cannot be reached, or stopped, or is slow.
const FAILED_PAUSE: Duration = Duration::from_secs(60);

/// How long one is ignored that has not answered in time, again and again. The first pause is short: a busy machine is late
/// now and then, and the next layer of the same pull may come from it.
const LATE_PAUSES: Schedule = Schedule::exponential(Duration::from_millis(500), 2.0, FAILED_PAUSE);

/// Neighbours that are asked for one blob.
const ASKED_MAX: usize = 16;

/// Announcements that are kept: any machine may make as many as it likes.
const ANNOUNCED_MAX: usize = 64;

/// Addresses of one announcement that are kept.
const ADDRESSES_MAX: usize = 4;

/// The first port that programs may have without being root's. Others are no docxy-client's.
const PORT_MIN: u16 = 1024;

/// Blobs up to this size do not wait for others that arrive.
const SMALL_BYTES: u64 = 4 << 20;

/// The neighbours. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Neighbours(Arc<Known>);

#[derive(Debug)]
struct Known {
    /// By the user.
    named: Vec<SocketAddr>,
    /// By announcement.
    announced: Mutex<HashMap<String, Vec<SocketAddr>>>,
    ignored: Mutex<HashMap<IpAddr, Pause>>,
    /// Large blobs arrive one after the other, so that an engine gets the first one while the second one arrives.
    turn: Semaphore,
    timeouts: Timeouts,
    /// Where this client serves them.
    shares_at: OnceLock<SocketAddr>,
}

/// How long one is ignored.
#[derive(Debug)]
struct Pause {
    until: Instant,
    /// The next pause if it is late again.
    late: Backoff,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            named: Vec::new(),
            announced: Mutex::default(),
            ignored: Mutex::default(),
            turn: Semaphore::new(1),
            timeouts: Timeouts::default(),
            shares_at: OnceLock::new(),
        }
    }
}

/// One that has a blob.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neighbour(SocketAddr, Timeouts);

impl Neighbour {
    pub(crate) const fn address(self) -> SocketAddr {
        self.0
    }

    /// Requests these bytes, to its end, of a blob.
    ///
    /// # Errors
    /// If it does not answer in time, or has something else.
    pub(crate) async fn download(
        self,
        digest: &Digest,
        bytes: Range<u64>,
    ) -> Result<Download, DownloadError> {
        Download::begin(self.0, digest, bytes, self.1).await
    }
}

impl Neighbours {
    /// Those that the user names.
    #[must_use]
    pub fn named(named: Vec<SocketAddr>) -> Self {
        Self(Arc::new(Known { named, ..Known::default() }))
    }

    /// Those of a test, which may run on a busy machine.
    #[cfg(test)]
    pub(crate) fn of_test(named: Vec<SocketAddr>, timeouts: Timeouts) -> Self {
        Self(Arc::new(Known { named, timeouts, ..Known::default() }))
    }

    /// Whether there is one to ask.
    pub(crate) fn are_known(&self) -> bool {
        !self.0.named.is_empty() || !self.0.announced.lock().is_empty()
    }

    /// The first one that answers that it has this blob of this size, which is public.
    pub(crate) async fn find(&self, digest: &Digest, size: u64) -> Option<Neighbour> {
        let timeouts = self.0.timeouts;
        let asked = self.to_ask().into_iter().map(|address| {
            Box::pin(async move {
                let answer = download::has(address, digest, size, timeouts).await;
                match &answer {
                    Ok(()) => self.answered(address, Instant::now()),
                    Err(error) => self.failed(Neighbour(address, timeouts), error),
                }
                answer.map(|()| address)
            })
        });
        let asked: Vec<_> = asked.collect();
        if asked.is_empty() {
            return None;
        }
        select_ok(asked).await.ok().map(|(address, _)| Neighbour(address, timeouts))
    }

    /// Asks it for nothing for this time.
    pub(crate) fn ignore(&self, neighbour: Neighbour, time: Duration) {
        let now = Instant::now();
        self.pause(neighbour.0, now, |pause| pause.until = pause.until.max(now + time));
    }

    /// Asks it for nothing for a while, because it has failed. That it does not have a blob is no failure.
    pub(crate) fn failed(&self, neighbour: Neighbour, error: &DownloadError) {
        match error {
            DownloadError::Refused(_) => {}
            DownloadError::NoAnswer => self.late(neighbour.0, Instant::now(), random_fraction()),
            _ => self.ignore(neighbour, FAILED_PAUSE),
        }
    }

    /// The requests of one moment, for the layers of one image, are late once.
    fn late(&self, address: SocketAddr, now: Instant, random: f64) {
        self.pause(address, now, |pause| {
            if pause.until <= now {
                pause.until = now + pause.late.next_delay(Duration::ZERO, random);
            }
        });
    }

    fn answered(&self, address: SocketAddr, now: Instant) {
        let ip = address.ip().to_canonical();
        self.0.ignored.lock().retain(|ignored, pause| *ignored != ip || pause.until > now);
    }

    fn pause(&self, address: SocketAddr, now: Instant, change: impl FnOnce(&mut Pause)) {
        let mut ignored = self.0.ignored.lock();
        let none = || Pause { until: now, late: Backoff::new(LATE_PAUSES) };
        change(ignored.entry(address.ip().to_canonical()).or_insert_with(none));
    }

    /// Waits until a blob of this size may arrive.
    pub(crate) async fn turn(&self, size: u64) -> Option<SemaphorePermit<'_>> {
        if size <= SMALL_BYTES { None } else { self.0.turn.acquire().await.ok() }
    }

    /// Their number, for `/health`.
    pub(crate) fn to_json(&self) -> Value {
        let known = self.0.named.len() + self.0.announced.lock().len();
        json!({ "shares_at": self.0.shares_at.get(), "known": known, "ignored": self.ignored(Instant::now()).len() })
    }

    fn announced(&self, name: &str, addresses: Vec<SocketAddr>) {
        let of_neighbour = |address: &SocketAddr| address.port() >= PORT_MIN && !address.ip().is_loopback();
        let addresses = addresses.into_iter().filter(of_neighbour).take(ADDRESSES_MAX).collect();
        let mut announced = self.0.announced.lock();
        if announced.len() < ANNOUNCED_MAX || announced.contains_key(name) {
            tracing::debug!(?addresses, "a neighbour");
            announced.insert(name.to_owned(), addresses);
        }
    }

    fn gone(&self, name: &str) {
        self.0.announced.lock().remove(name);
    }

    fn is_named(&self, address: IpAddr) -> bool {
        self.0.named.iter().any(|named| named.ip().to_canonical() == address.to_canonical())
    }

    fn to_ask(&self) -> Vec<SocketAddr> {
        if !self.are_known() {
            return Vec::new();
        }
        let networks = LocalNetworks::now();
        let announced = self.0.announced.lock();
        // Of each the first that can be reached: most have an IPv4 and an IPv6 address.
        let announced =
            announced.values().filter_map(|all| all.iter().find(|one| networks.contain(one.ip())));
        let ignored = self.ignored(Instant::now());
        let all = self.0.named.iter().chain(announced).copied();
        all.filter(|address| !ignored.contains(&address.ip().to_canonical())).take(ASKED_MAX).collect()
    }

    fn ignored(&self, now: Instant) -> HashSet<IpAddr> {
        let mut ignored = self.0.ignored.lock();
        // For longer, so that a pause after one that is just over is the next one.
        ignored.retain(|_, pause| pause.until + FAILED_PAUSE > now);
        ignored.iter().filter(|(_, pause)| pause.until > now).map(|(ip, _)| *ip).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_late_once_is_asked_again_soon() {
        let address: SocketAddr = "192.0.2.1:5090".parse().unwrap();
        let (neighbours, mut now) = (Neighbours::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let began = now;
            for _ in 0..5 {
                neighbours.late(address, now, 1.0);
            }
            while !neighbours.ignored(now).is_empty() {
                now += Duration::from_millis(500);
            }
            pauses.push((now - began).as_secs_f64());
        }
        assert_eq!(pauses, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]);
        neighbours.answered(address, now);
        neighbours.late(address, now, 1.0);
        assert!(neighbours.ignored(now + LATE_PAUSES.first).is_empty());

        neighbours.ignore(Neighbour(address, Timeouts::default()), WRONG_PAUSE);
        neighbours.answered(address, now);
        assert_eq!(neighbours.ignored(now).len(), 1, "it has sent wrong bytes");
    }
}
