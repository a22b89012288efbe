//! Gives a session on trial the parts of a body that are far ahead of its reader, so that both legs carry it at once.
//!
//! Must never slow the reader down: what is before those parts goes on over the session in use.

use super::part::{AheadTask, Content, Part};
use super::resume::{ResumableBody, Source};
use crate::tunnel::Session;
use crate::tunnel::leg::Carriers;
use docxy_protocol::limits::SEGMENT_BYTES;
use std::ops::Range;
use tokio_util::task::AbortOnDropHandle;

/// Bytes of a part that is requested ahead: 0.7 s of 100 Mbit/s, so that the round trip of its request counts little.
const PART_BYTES: u64 = 16 * SEGMENT_BYTES as u64;

/// Parts that are on their way at the same time: while one is requested, the other one arrives.
const PARTS_AT_ONCE: usize = 2;

/// Bytes that may be ahead of the reader, at most: 2 s of 100 Mbit/s. TCP beside a policed QUIC wins within 1.7 s, its
/// start included. A client holds so much during a trial, and a transfer is to take less than 64 MiB of memory in all
/// (with twice as much ahead, it took 79).
const AHEAD_BYTES_MAX: u64 = 3 * PART_BYTES;

/// The time for which the session in use keeps the next bytes: until a leg that stops is known as such.
const LEAD_SECONDS: f64 = 4.5;

/// The same in bytes, at least. It is also the least rest that is worth a request of its own.
const LEAD_BYTES_MIN: u64 = 4 * SEGMENT_BYTES as u64;

impl ResumableBody {
    /// Requests parts ahead, if a session is on trial. Cheap if none is.
    pub(super) fn share_with_trial(&mut self) {
        let Some(source) = self.source.as_deref() else { return };
        let Some((trial, carriers)) = source.session.as_ref().and_then(Session::trial) else { return };
        if !source.range_request.supports_ranges() {
            return;
        }
        let rate = trial.segment_budget().rate().unwrap_or_default();
        let lead = ((rate * LEAD_SECONDS) as u64).max(LEAD_BYTES_MIN);
        if self.parts.len() == 1
            && let Some(rest) = self.end_first_part(lead)
        {
            self.parts.push_back(Part::missing(rest));
        }
        if carriers == Carriers::TrialOnly
            && let Some(rest) = self.end_first_part(0)
            && let Some(source) = self.source.as_deref()
        {
            let content = source.request(&trial, self.parts[0].end..rest).unwrap_or(Content::Missing);
            self.parts.insert(1, Part { end: rest, content });
        }
        self.request_ahead(&trial);
    }

    /// Ends the first part after at least `lead` bytes, or in the middle of a short body. Returns its former end.
    fn end_first_part(&mut self, lead: u64) -> Option<u64> {
        let Part { end, content: Content::Arriving(arriving) } = self.parts.front_mut()? else { return None };
        let left = *end - self.position;
        if *end == u64::MAX || left < 2 * LEAD_BYTES_MIN {
            return None;
        }
        let shorter = arriving.shorten(left, lead.min(left / 2))?;
        Some(std::mem::replace(end, self.position + shorter))
    }

    /// Requests the first bytes of what is missing at the end.
    fn request_ahead(&mut self, trial: &Session) {
        loop {
            let Some(source) = self.source.as_deref() else { return };
            let [.., before, Part { end, content: Content::Missing }] = self.parts.make_contiguous() else {
                return;
            };
            let (start, end) = (before.end, *end);
            let first = self.parts.front().map_or(start, |first| first.end);
            let is_running =
                |part: &&Part| matches!(&part.content, Content::Ahead(task) if !task.is_finished());
            let running = self.parts.iter().filter(is_running).count();
            if running >= PARTS_AT_ONCE || start - first >= AHEAD_BYTES_MAX {
                return;
            }
            let bytes = start..end.min(start + PART_BYTES);
            let Some(task) = receive(source, trial, bytes.clone()) else { return };
            let index = self.parts.len() - 1;
            self.parts.insert(index, Part { end: bytes.end, content: Content::Ahead(task) });
            if bytes.end == end {
                self.parts.pop_back();
            }
        }
    }
}

/// Receives these bytes over the session on trial. `None` without a permit.
fn receive(source: &Source, trial: &Session, bytes: Range<u64>) -> Option<AheadTask> {
    let fetch = source.fetch(trial, bytes.clone())?;
    Some(AbortOnDropHandle::new(tokio::spawn(async move { Part::receive(bytes, fetch.await?).await })))
}
