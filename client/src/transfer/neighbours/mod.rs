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

use docxy_protocol::name::Digest;
use futures_util::future::select_ok;
use local_networks::LocalNetworks;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long one is ignored whose bytes had the wrong digest.
pub(crate) const WRONG_PAUSE: Duration = Duration::from_secs(3600);

/// How long one is ignored that did not answer, or stopped, or is slow.
pub(crate) const FAILED_PAUSE: Duration = Duration::from_secs(60);

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
    /// Until when.
    ignored: Mutex<HashMap<IpAddr, Instant>>,
    /// Large blobs arrive one after the other, so that an engine gets the first one while the second one arrives.
    turn: Semaphore,
    timeouts: Timeouts,
    /// Where this client serves them.
    shares_at: OnceLock<SocketAddr>,
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
                if answer.as_ref().is_err_and(|error| !matches!(error, DownloadError::Refused(_))) {
                    self.ignore(Neighbour(address, timeouts), FAILED_PAUSE);
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
        let until = Instant::now() + time;
        let mut ignored = self.0.ignored.lock();
        let entry = ignored.entry(neighbour.0.ip().to_canonical()).or_insert(until);
        *entry = until.max(*entry);
    }

    /// Waits until a blob of this size may arrive.
    pub(crate) async fn turn(&self, size: u64) -> Option<SemaphorePermit<'_>> {
        if size <= SMALL_BYTES { None } else { self.0.turn.acquire().await.ok() }
    }

    /// Their number, for `/health`.
    pub(crate) fn to_json(&self) -> Value {
        let known = self.0.named.len() + self.0.announced.lock().len();
        json!({ "shares_at": self.0.shares_at.get(), "known": known, "ignored": self.ignored().len() })
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
        let ignored = self.ignored();
        let all = self.0.named.iter().chain(announced).copied();
        all.filter(|address| !ignored.contains_key(&address.ip().to_canonical())).take(ASKED_MAX).collect()
    }

    fn ignored(&self) -> HashMap<IpAddr, Instant> {
        let mut ignored = self.0.ignored.lock();
        ignored.retain(|_, until| *until > Instant::now());
        ignored.clone()
    }
}
