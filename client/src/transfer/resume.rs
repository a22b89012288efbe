//! A body that outlives its connection: what has arrived is kept, and only the holes are asked for
//! again over the next one.
//!
//! Must never pass a byte on twice, or leave one out. Holds no more than the open segments held.

use super::again::{Again, Continued};
use super::holes::missing;
use super::means::{AskError, Means};
use crate::exchange::{Broken, Salvaged, TunnelBody};
use crate::tunnel::{Line, OpenSegment, Patience};
use crate::waiting::Wait;
use bytes::Bytes;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::request::Operation;
use futures_util::FutureExt as _;
use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};
use tokio_util::task::AbortOnDropHandle;

/// The pause before a server that answered badly is asked again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// A body under way, over as many lines as it takes.
pub(super) struct Resumable {
    means: Means,
    again: Again,
    /// What it is called in the log.
    name: String,
    /// The next byte for the reader, and the end.
    left: Range<u64>,
    /// What comes next, in order and without a gap up to the end.
    ahead: VecDeque<Stretch>,
    /// The line that is in use.
    line: Line,
    /// Why it broke off, the last time that it did.
    broke: Option<Fault>,
    /// Since nothing comes any more, until a byte does.
    stuck: Option<Stuck>,
}

/// Some bytes in a row.
enum Stretch {
    /// They are here.
    Kept { chunks: VecDeque<Bytes>, _place: Option<OpenSegment> },
    /// They are on the way.
    Coming(Box<Coming>),
    /// They were asked for.
    Asked { bytes: Range<u64>, asking: AbortOnDropHandle<Result<Box<Coming>, AskError>> },
    /// Nobody has asked for them yet.
    Hole(Range<u64>),
}

/// Bytes on the way.
struct Coming {
    bytes: Range<u64>,
    body: TunnelBody,
    /// Where the body's next byte is. Before `bytes` where the server sends more than was asked for.
    at: u64,
    /// Whether the body ends where `bytes` do.
    ends: bool,
}

/// A transfer that isn't getting on.
struct Stuck {
    wait: Wait,
    why: Fault,
}

impl Resumable {
    /// `body` brings `bytes`, which are what `again` can be asked for, over `line`.
    pub(super) fn new(means: Means, again: Again, bytes: Range<u64>, body: TunnelBody, line: Line) -> Self {
        let operation = &again.request.operation;
        let name = match operation {
            Operation::Blob { digest, .. } => digest.to_string(),
            other => other.name().to_owned(),
        };
        let coming = Coming { bytes: bytes.clone(), body, at: bytes.start, ends: true };
        let ahead = VecDeque::from([Stretch::Coming(Box::new(coming))]);
        Self { means, again, name, left: bytes, ahead, line, broke: None, stuck: None }
    }

    /// The next bytes, `None` at the end.
    ///
    /// # Errors
    /// Where there is no hope any more.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let bytes = match self.ahead.front_mut() {
                None => return Ok(None),
                Some(Stretch::Kept { chunks, .. }) => chunks.pop_front(),
                Some(Stretch::Coming(coming)) => match coming.next().await {
                    Ok(bytes) => bytes,
                    Err(Broken::Failed(fault)) => return Err(fault),
                    Err(Broken::Lost(fault)) => {
                        self.salvage(fault);
                        continue;
                    }
                },
                Some(Stretch::Asked { bytes, asking }) => {
                    let bytes = bytes.clone();
                    let next = match asking.await {
                        Ok(Ok(coming)) => Stretch::Coming(coming),
                        // Asked for again at leisure, which tells a passing reason from a final one.
                        Ok(Err(_)) | Err(_) => Stretch::Hole(bytes),
                    };
                    self.ahead[0] = next;
                    continue;
                }
                Some(Stretch::Hole(bytes)) => {
                    let bytes = bytes.clone();
                    self.fill(bytes).await?;
                    continue;
                }
            };
            match bytes {
                Some(bytes) => {
                    self.left.start += bytes.len() as u64;
                    self.stuck = None;
                    return Ok(Some(bytes));
                }
                None => drop(self.ahead.pop_front()),
            }
        }
    }

    /// Turns everything under way into what has arrived of it and the holes between.
    fn salvage(&mut self, why: Fault) {
        let mut pieces = Vec::new();
        let mut at = self.left.start;
        for stretch in std::mem::take(&mut self.ahead) {
            match stretch {
                Stretch::Kept { chunks, _place: place } => {
                    let piece = Salvaged { at, chunks, place };
                    at = end_of(&piece);
                    pieces.push(piece);
                }
                Stretch::Coming(coming) => {
                    at = coming.bytes.end;
                    pieces.extend(coming.salvage());
                }
                Stretch::Asked { bytes, asking } => {
                    at = bytes.end;
                    if let Some(Ok(Ok(coming))) = asking.now_or_never() {
                        pieces.extend(coming.salvage());
                    }
                }
                Stretch::Hole(bytes) => at = bytes.end,
            }
        }
        if !self.again.has_parts() {
            pieces.clear();
        }
        let kept: Vec<_> = pieces.iter().map(|piece| piece.at..end_of(piece)).collect();
        let holes = missing(self.left.clone(), &kept);
        self.ahead = arrange(pieces, &holes);
        let missing: u64 = holes.iter().map(|hole| hole.end - hole.start).sum();
        let (byte, end) = (self.left.start, self.left.end);
        tracing::info!(
            content = self.name, byte, end, missing, holes = holes.len(), reason = %why,
            patience_s = self.means.patience.get().as_secs(), "a transfer broke off; holding on"
        );
        self.means.counters.interruptions.increment();
        self.broke = Some(why);
    }

    /// Asks for the front, which is a hole, for as long as there is hope; and for other holes once
    /// it comes, where there is room for that.
    async fn fill(&mut self, bytes: Range<u64>) -> Result<(), Fault> {
        let mut spent = self.line.connection().close_reason().is_some().then(|| self.line.clone());
        let mut attempts = 0;
        loop {
            let stuck = self.stuck();
            let (since, why) = (stuck.wait.since(), stuck.why.clone());
            let until = since + self.means.patience.get();
            tokio::time::sleep_until(until.min(Instant::now() + pause(attempts)).into()).await;
            if Instant::now() >= until {
                return Err(self.gave_up(&why));
            }
            self.line = self.means.tunnel.line(spent.as_ref(), Patience::ending(until)).await?;
            let asked = tokio::time::timeout_at(until.into(), self.ask(&bytes)).await;
            match asked.map_err(|_| self.gave_up(&why))? {
                Ok(coming) => {
                    let waited = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                    tracing::info!(
                        content = self.name,
                        byte = bytes.start,
                        waited_ms = waited,
                        "the transfer goes on"
                    );
                    self.ahead[0] = Stretch::Coming(coming);
                    self.ask_ahead();
                    return Ok(());
                }
                Err(AskError::Final(fault)) => return Err(fault),
                Err(AskError::LineLost) => spent = Some(self.line.clone()),
                Err(AskError::Passing(fault)) => {
                    tracing::info!(content = self.name, reason = %fault, "asking again");
                    attempts += 1;
                    self.stuck().why = fault;
                }
            }
        }
    }

    async fn ask(&mut self, bytes: &Range<u64>) -> Result<Box<Coming>, AskError> {
        let operation = &self.again.request.operation;
        let place = match self.line.free_place(operation) {
            Some(place) => Some(place),
            None => {
                // Waiting with places in hand, one could wait for each other.
                self.hand_back();
                self.line.place(&self.again.request.operation).await
            }
        };
        let asked = self.means.ask(&self.line, place, &self.again, bytes).await;
        asked.map(|continued| Coming::new(bytes.clone(), continued))
    }

    /// Begins to ask for the holes behind the front as far as there are places for requests.
    fn ask_ahead(&mut self) {
        for stretch in &mut self.ahead {
            let Stretch::Hole(bytes) = stretch else { continue };
            let Some(place) = self.line.free_place(&self.again.request.operation) else { break };
            let (means, line, again) = (self.means.clone(), self.line.clone(), self.again.clone());
            let wanted = bytes.clone();
            let asking = async move {
                let asked = means.ask(&line, Some(place), &again, &wanted).await;
                asked.map(|continued| Coming::new(wanted, continued))
            };
            let asking = AbortOnDropHandle::new(tokio::spawn(asking));
            *stretch = Stretch::Asked { bytes: bytes.clone(), asking };
        }
    }

    /// Gives up the requests behind the front. What they have brought so far is little, and simply
    /// asked for again.
    fn hand_back(&mut self) {
        for stretch in &mut self.ahead {
            let bytes = match stretch {
                Stretch::Asked { bytes, .. } => bytes.clone(),
                Stretch::Coming(coming) => coming.bytes.clone(),
                Stretch::Kept { .. } | Stretch::Hole(_) => continue,
            };
            *stretch = Stretch::Hole(bytes);
        }
    }

    /// Since when it isn't getting on: now, if it was until now.
    fn stuck(&mut self) -> &mut Stuck {
        let Self { means, name, left, broke, stuck, .. } = self;
        stuck.get_or_insert_with(|| {
            let why = broke.clone().unwrap_or_else(ended_early);
            let wait = means.waiting.begin(name, Some((left.start, left.end)), why.to_string());
            Stuck { wait, why }
        })
    }

    fn gave_up(&self, why: &Fault) -> Fault {
        let detail = format!("no byte came for {} s: {}", self.means.patience.get().as_secs(), why.detail);
        Fault::new(why.hop, FaultKind::TimedOut, detail)
    }
}

impl Coming {
    fn new(bytes: Range<u64>, continued: Continued) -> Box<Self> {
        let at = bytes.start - continued.skip;
        let ends = continued.body.length() == Some(bytes.end - at);
        Box::new(Self { bytes, body: continued.body, at, ends })
    }

    /// The next of its bytes, `None` behind the last.
    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            if self.bytes.is_empty() && !self.ends {
                return Ok(None);
            }
            let mut chunk = match self.body.next().await {
                Ok(Some(chunk)) => chunk,
                // That it was everything shows by its length, too.
                Ok(None) | Err(Broken::Lost(_)) if self.bytes.is_empty() => return Ok(None),
                Ok(None) => return Err(Broken::Failed(ended_early())),
                Err(broken) => return Err(broken),
            };
            let first = self.at;
            self.at += chunk.len() as u64;
            clip(&mut chunk, first, &self.bytes);
            if !chunk.is_empty() {
                self.bytes.start += chunk.len() as u64;
                return Ok(Some(chunk));
            }
        }
    }

    /// What has arrived of it.
    fn salvage(self) -> Vec<Salvaged> {
        if self.at < self.bytes.start {
            // Still on the way to where it gets interesting.
            return Vec::new();
        }
        // Pieces count from the body's beginning.
        let Some(length) = self.body.length() else { return Vec::new() };
        let origin = if self.ends { self.bytes.end - length } else { 0 };
        let mut pieces = self.body.salvage();
        for piece in &mut pieces {
            piece.at += origin;
            let mut at = piece.at;
            for chunk in &mut piece.chunks {
                let length = chunk.len() as u64;
                clip(chunk, at, &self.bytes);
                at += length;
            }
            piece.chunks.retain(|chunk| !chunk.is_empty());
        }
        pieces.retain(|piece| !piece.chunks.is_empty());
        pieces
    }
}

/// Cuts from `chunk`, whose first byte is at `at`, what isn't in `wanted`.
fn clip(chunk: &mut Bytes, at: u64, wanted: &Range<u64>) {
    let end = at + chunk.len() as u64;
    let length = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).min(chunk.len());
    let (before, behind) = (length(wanted.start.saturating_sub(at)), length(end.saturating_sub(wanted.end)));
    chunk.truncate(chunk.len() - behind);
    let _ = chunk.split_to(before.min(chunk.len()));
}

/// What is kept and the holes, in the order in which they are read. What lies within a hole is
/// given up.
fn arrange(pieces: Vec<Salvaged>, holes: &[Range<u64>]) -> VecDeque<Stretch> {
    let mut ahead = VecDeque::new();
    let mut holes = holes.iter().peekable();
    let mut reached = 0;
    for piece in pieces {
        while let Some(hole) = holes.next_if(|hole| hole.start <= piece.at) {
            reached = hole.end;
            ahead.push_back(Stretch::Hole(hole.clone()));
        }
        if piece.at >= reached {
            ahead.push_back(Stretch::Kept { chunks: piece.chunks, _place: piece.place });
        }
    }
    ahead.extend(holes.map(|hole| Stretch::Hole(hole.clone())));
    ahead
}

fn end_of(piece: &Salvaged) -> u64 {
    piece.at + piece.chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>()
}

fn pause(attempts: u32) -> Duration {
    match attempts.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => (FIRST_PAUSE * 2_u32.pow(doublings.min(10))).min(LONGEST_PAUSE),
    }
}

fn ended_early() -> Fault {
    Fault::new(Hop::Tunnel, FaultKind::Truncated, "the body ended early")
}
