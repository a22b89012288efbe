//! Pull limits: how many manifests an address or an account may GET within a window. A HEAD reports the limit and
//! is free; blobs are not counted.
//! Must never count anything but the GET of a manifest.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue};

/// A number of manifest GETs within a window.
#[derive(Clone, Copy, Debug)]
pub struct PullLimit {
    /// The number of GETs.
    pub pulls: u32,
    /// The length of the window, which starts with the first GET.
    pub window: Duration,
}

/// Limits by kind of client; `None` is unlimited, and then the rate-limit fields are not sent.
#[derive(Clone, Copy, Debug)]
pub struct PullLimits {
    /// For each address without an account.
    pub anonymous: Option<PullLimit>,
    /// For each account.
    pub account: Option<PullLimit>,
}

const SIX_HOURS: Duration = Duration::from_secs(21_600);

impl Default for PullLimits {
    /// Docker Hub's limits.
    fn default() -> Self {
        let of = |pulls| Some(PullLimit { pulls, window: SIX_HOURS });
        Self { anonymous: of(100), account: of(200) }
    }
}

/// The account or address that a request counts against.
pub(crate) struct QuotaAccount {
    /// An address or an account name: the value of `docker-ratelimit-source`.
    pub(crate) name: String,
    pub(crate) anonymous: bool,
}

/// The state of an account's limit, for the response's rate-limit fields.
pub(crate) struct RateLimitStatus {
    limit: PullLimit,
    remaining: u32,
    source: String,
    /// The limit was used up before this request.
    pub(crate) exhausted: bool,
}

pub(crate) struct PullCounter {
    limits: Mutex<PullLimits>,
    used: Mutex<HashMap<(bool, String), (Instant, u32)>>,
}

impl PullCounter {
    pub(crate) fn new(limits: PullLimits) -> Self {
        Self { limits: Mutex::new(limits), used: Mutex::default() }
    }

    pub(crate) fn set_limits(&self, limits: PullLimits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Takes `pulls` (0 or 1) from the account's limit; `None` if there is no limit.
    pub(crate) fn charge(&self, account: &QuotaAccount, pulls: u32) -> Option<RateLimitStatus> {
        let limits = *self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = if account.anonymous { limits.anonymous } else { limits.account }?;
        let mut all = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (since, used) = all.entry((account.anonymous, account.name.clone())).or_insert((now, 0));
        if now.duration_since(*since) >= limit.window {
            (*since, *used) = (now, 0);
        }
        let exhausted = *used + pulls > limit.pulls;
        if !exhausted {
            *used += pulls;
        }
        Some(RateLimitStatus {
            limit,
            remaining: limit.pulls.saturating_sub(*used),
            source: account.name.clone(),
            exhausted,
        })
    }
}

impl RateLimitStatus {
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let window = self.limit.window.as_secs();
        let of = |pulls: u32| format!("{pulls};w={window}");
        let lines = [
            ("ratelimit-limit", of(self.limit.pulls)),
            ("ratelimit-remaining", of(self.remaining)),
            ("docker-ratelimit-source", self.source.clone()),
        ];
        for (name, value) in lines {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}
