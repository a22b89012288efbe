//! Pulls as the page, `status` and `/health` show them.

use super::pull::{Blob, Pull};
use super::{Moment, Progress};
use crate::status::reason::Cause;
use crate::transfer::WaitsFor;
use docxy_protocol::text::CleanText;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A running pull, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PullReport {
    /// Its number. No other has it, not even one of another start of the client.
    pub id: u64,
    /// `registry/repository:tag`, or without a tag.
    pub image: String,
    /// Who pulls, if that is known.
    pub engine: Option<String>,
    /// The platform of the image, if it has several.
    pub platform: Option<String>,
    /// When it began.
    pub since: Timestamp,
    /// Bytes of config and layers that have arrived.
    pub bytes: u64,
    /// Those of all config and layers; `None` before the manifest is known.
    pub length: Option<u64>,
    /// The current rate.
    pub bytes_per_second: u64,
    /// The time that the rest takes at this rate.
    pub seconds_left: Option<u64>,
    /// Its layers, the lowest first.
    pub layers: Vec<LayerReport>,
    /// What all of its transfers wait for.
    pub waits_for: Option<WaitsFor>,
    /// Since when they do.
    pub waits_since: Option<Timestamp>,
    /// Why, if something failed.
    pub reason: Option<CleanText>,
    /// The same as a value.
    pub cause: Option<Cause>,
}

/// A layer of a running pull.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerReport {
    /// The first twelve hexadecimal digits of its digest, as engines show it.
    pub id: String,
    /// How far it is.
    pub state: LayerState,
    /// The bytes that have arrived.
    pub bytes: u64,
    /// Its size in bytes, if that is known.
    pub length: Option<u64>,
}

/// How far a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(derive_more::TryFrom), try_from(repr), repr(u8))]
#[serde(rename_all = "lowercase")]
pub enum LayerState {
    /// It was not requested: its turn comes, or the engine has it.
    Pending,
    /// It arrives.
    Running,
    /// It stopped before its end.
    Stopped,
    /// It has arrived.
    Done,
}

/// How a pull ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(derive_more::TryFrom), try_from(repr), repr(u8))]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The engine got all that it asked for.
    Done,
    /// Something failed.
    Failed,
    /// The engine stopped.
    Stopped,
}

/// A pull that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// See [`PullReport`].
    pub id: u64,
    /// See [`PullReport`].
    pub image: String,
    /// See [`PullReport`].
    pub engine: Option<String>,
    /// See [`PullReport`].
    pub platform: Option<String>,
    /// When it ended.
    pub at: Timestamp,
    /// How.
    pub outcome: Outcome,
    /// Why, if it failed.
    pub reason: Option<CleanText>,
    /// The same as a value.
    pub cause: Option<Cause>,
    /// How long it took.
    pub milliseconds: u64,
    /// The layers that were fetched, and all.
    pub layers: (usize, usize),
    /// Bytes that came through the tunnel.
    pub from_tunnel: u64,
    /// Bytes that came from what this client has kept.
    pub from_cache: u64,
    /// Bytes that another client in this network brought.
    pub from_neighbour: u64,
    /// How often a transfer was interrupted, and went on.
    pub interruptions: u32,
}

impl Pull {
    pub(super) fn report(&self, now: Moment, progress: &impl Fn(u64) -> Option<Progress>) -> PullReport {
        let mut arriving = vec![None; self.blobs.len()];
        let (mut bytes_per_second, mut waits, mut moves) = (0, Vec::new(), false);
        for (transfer, blob) in &self.transfers {
            let Some(Progress { bytes, bytes_per_second: rate, wait }) = progress(*transfer) else {
                continue;
            };
            bytes_per_second += rate;
            if let Some(blob) = blob {
                *arriving[*blob].get_or_insert(0) += bytes;
            }
            match wait {
                Some(wait) => waits.push(wait),
                None => moves = true,
            }
        }
        // What moves is shown as moving, although another part of it waits for its turn.
        let wait = waits.into_iter().min_by_key(|(_, since, _)| *since).filter(|_| !moves);
        let bytes_of = |n: usize, blob: &Blob| {
            let bytes = blob.received + arriving[n].unwrap_or(0);
            blob.size.map_or(bytes, |size| bytes.min(size))
        };
        let bytes = self.blobs.iter().enumerate().map(|(n, blob)| bytes_of(n, blob)).sum();
        let length =
            self.blobs.iter().map(|blob| blob.size).sum::<Option<u64>>().filter(|_| !self.blobs.is_empty());
        let layer = |(n, blob): (usize, &Blob)| LayerReport {
            id: short(blob.digest.hex()),
            state: match (blob.is_whole, arriving[n].is_some(), blob.is_requested) {
                (true, ..) => LayerState::Done,
                (_, true, _) => LayerState::Running,
                (.., true) => LayerState::Stopped,
                _ => LayerState::Pending,
            },
            bytes: bytes_of(n, blob),
            length: blob.size,
        };
        let rest = length.map(|length| length.saturating_sub(bytes));
        let reason = wait.as_ref().and_then(|(.., reason)| reason.as_ref()).or(self.failure.as_ref());
        PullReport {
            id: self.id,
            image: self.image.clone(),
            engine: self.engine.map(str::to_owned),
            platform: self.platform.as_ref().map(ToString::to_string),
            since: self.began.wall,
            bytes,
            length,
            bytes_per_second,
            seconds_left: rest.and_then(|rest| rest.checked_div(bytes_per_second)),
            layers: self.blobs.iter().enumerate().filter(|(_, blob)| !blob.is_config).map(layer).collect(),
            waits_for: wait.as_ref().map(|(waits_for, ..)| *waits_for),
            waits_since: wait.as_ref().and_then(|(_, since, _)| now.wall_of(*since)),
            reason: reason.map(|reason| reason.text.clone()),
            cause: reason.and_then(|reason| reason.cause),
        }
    }

    pub(super) fn finished(&self) -> Option<Finished> {
        let (end, outcome) = self.ended?;
        let took = end.at.saturating_duration_since(self.began.at);
        let layers = || self.blobs.iter().filter(|blob| !blob.is_config);
        Some(Finished {
            id: self.id,
            image: self.image.clone(),
            engine: self.engine.map(str::to_owned),
            platform: self.platform.as_ref().map(ToString::to_string),
            at: end.wall,
            outcome,
            reason: self.failure.as_ref().map(|failure| failure.text.clone()),
            cause: self.failure.as_ref().and_then(|failure| failure.cause),
            milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            layers: (layers().filter(|blob| blob.is_whole).count(), layers().count()),
            from_tunnel: self.from_tunnel,
            from_cache: self.from_cache,
            from_neighbour: self.from_neighbour,
            interruptions: self.interruptions,
        })
    }
}

fn short(hex: &str) -> String {
    hex.chars().take(12).collect()
}
