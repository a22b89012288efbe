//! Sends the streaming body of a response: on the response's own stream, or on segment streams.
//!
//! Must never read more from upstream than the client has room for.

use super::{Outgoing, Resources};
use crate::admission::Permit;
use crate::admission::budget::BudgetShare;
use crate::exchange::streams::{ChunkWriter, ResponseStream, Undelivered};
use crate::upstream::{Download, UpstreamError};
use bytes::Bytes;
use docxy_protocol::congestion::Measured;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::limits::SEGMENT_BYTES;
use docxy_protocol::segment::SegmentLayout;
use docxy_transport::SendError;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Why a body was not sent to its end.
#[derive(Debug, derive_more::From)]
pub(super) enum BodyError {
    /// It failed upstream. The client receives the fault, after all bytes before it.
    #[from]
    Upstream(UpstreamError),
    /// The client has read nothing for too long, and other exchanges wait for its permit or its slot.
    Reclaimed,
    /// The client has cancelled the exchange.
    Cancelled,
}

/// A body of at most this many bytes is a small response: it waits for no slot of the send budget. It is a config,
/// and few layers.
const SMALL_BODY_BYTES_MAX: u64 = 16 * 1024;

/// What a session holds for sending, at most, in bandwidth-delay products of its path: the window of a client that knows
/// the rate (see [`docxy_protocol::bulk_window`]), and half as much more, since the client may take it for higher. While the
/// rate grows, the client's window is 16, and the server would only fetch early what it cannot send yet. (Measured at 100
/// Mbit/s and 200 ms: the server's memory is 42 in place of 62 MiB at most.)
const HELD_BDPS: f64 = 9.0;

/// The same in bytes, at least: a client's window on a fast and short path.
const HELD_BYTES_MIN: f64 = 16.0 * 1024.0 * 1024.0;

/// How long a registry may be silent while the stream of its body occupies a slot. In this time the client has most
/// likely received what was written.
const SILENCE_MAX: Duration = Duration::from_millis(500);

/// Sends a body on the response's stream. Returns its length in bytes.
pub(super) async fn send_whole(
    download: &mut Download,
    writer: &mut ChunkWriter,
    outgoing: &Outgoing<'_>,
    permit: &Permit,
) -> Result<u64, BodyError> {
    let is_small = download.length().is_some_and(|length| length <= SMALL_BODY_BYTES_MAX);
    let mut turns = outgoing.resources.queue.add(outgoing.resources.is_in_background);
    let (mut sent, mut turn_ends) = (0, u64::from(SEGMENT_BYTES));
    if outgoing.resources.is_in_background {
        turns.next_turn().apply_to(writer.stream());
    }
    while let Some(chunk) = next_chunk(download, writer.stream()).await? {
        if !is_small {
            ensure_slot(writer.stream(), outgoing.resources, outgoing.undelivered, permit).await?;
        }
        sent += chunk.len() as u64;
        if sent > turn_ends {
            // It is not small, and takes turns as segments do.
            turns.next_turn().apply_to(writer.stream());
            turn_ends += u64::from(SEGMENT_BYTES);
        }
        let length = chunk.len() as u64;
        write_body(permit, outgoing.resources.budget, writer.write(chunk)).await?;
        outgoing.resources.sent.fetch_add(length, Ordering::Relaxed);
    }
    Ok(sent)
}

/// Sends a body in segments, in order, on the streams that the client opened. Returns its length in bytes.
pub(super) async fn send_segments(
    download: &mut Download,
    layout: SegmentLayout,
    outgoing: &mut Outgoing<'_>,
    permit: &Permit,
) -> Result<u64, BodyError> {
    let mut turns = outgoing.resources.queue.add(outgoing.resources.is_in_background);
    let mut body = SegmentedBody::new(download, outgoing.resources, outgoing.undelivered, permit);
    for n in 0..layout.count() {
        // While the client has opened no stream for this segment, nothing more is read from the CDN.
        let mut segment = write_in_time(permit, async { Ok(outgoing.segments.take(n).await) }).await?;
        let turn = turns.next_turn();
        turn.apply_to(&mut segment);
        let range = layout.range(n);
        match body.send(&mut segment, range.end - range.start).await {
            Err(BodyError::Upstream(error)) => {
                // It ends short, so that the client reads its bytes, and then the fault on the response's stream.
                let _ = outgoing.undelivered.finish(segment, Some(turn));
                return Err(error.into());
            }
            sent => sent?,
        }
        outgoing.undelivered.finish(segment, Some(turn)).map_err(|_| BodyError::Cancelled)?;
    }
    body.end().await?;
    Ok(layout.length())
}

/// A body that is sent in segments, in order.
pub(super) struct SegmentedBody<'a> {
    download: &'a mut Download,
    buffered: Bytes,
    resources: Resources<'a>,
    undelivered: &'a Undelivered,
    permit: &'a Permit,
}

impl<'a> SegmentedBody<'a> {
    pub(super) const fn new(
        download: &'a mut Download,
        resources: Resources<'a>,
        undelivered: &'a Undelivered,
        permit: &'a Permit,
    ) -> Self {
        Self { download, buffered: Bytes::new(), resources, undelivered, permit }
    }

    /// Sends its next `remaining` bytes on a segment's stream.
    pub(super) async fn send(
        &mut self,
        segment: &mut ResponseStream,
        mut remaining: u64,
    ) -> Result<(), BodyError> {
        while remaining > 0 {
            if self.buffered.is_empty() {
                self.buffered = next_chunk(self.download, segment).await.and_then(or_ended_early)?;
            }
            ensure_slot(segment, self.resources, self.undelivered, self.permit).await?;
            let length = self.buffered.len().min(usize::try_from(remaining).unwrap_or(usize::MAX));
            let chunk = self.buffered.split_to(length);
            remaining -= chunk.len() as u64;
            write_body(self.permit, self.resources.budget, segment.send(chunk)).await?;
            self.resources.sent.fetch_add(length as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Only the end of the upstream body proves that it was whole.
    async fn end(self) -> Result<(), UpstreamError> {
        match self.download.next().await? {
            None if self.buffered.is_empty() => Ok(()),
            _ => {
                let detail = "the body is longer than announced";
                Err(UpstreamError::new(Hop::Cdn, FaultKind::MalformedResponse, detail))
            }
        }
    }
}

/// Waits for a write, until the permit is reclaimed.
pub(super) async fn write_in_time<T>(
    permit: &Permit,
    write: impl Future<Output = Result<T, SendError>>,
) -> Result<T, BodyError> {
    tokio::select! {
        // In this order, so that a write that is ready sets no timer.
        biased;
        done = write => done.map_err(|_| BodyError::Cancelled),
        () = permit.reclaimed() => Err(BodyError::Reclaimed),
    }
}

/// Waits for a write of a body, until its permit or its slot is reclaimed.
async fn write_body(
    permit: &Permit,
    budget: &BudgetShare,
    write: impl Future<Output = Result<(), SendError>>,
) -> Result<(), BodyError> {
    tokio::select! {
        biased;
        written = write_in_time(permit, write) => written,
        () = budget.reclaimed() => Err(BodyError::Reclaimed),
    }
}

/// The next bytes of a body. Releases the slot of its stream while none come: bodies whose registry stalls must not
/// use up the budget of the others.
async fn next_chunk(
    download: &mut Download,
    stream: &mut ResponseStream,
) -> Result<Option<Bytes>, UpstreamError> {
    let next = download.next();
    tokio::pin!(next);
    if stream.slot.is_some() {
        match tokio::time::timeout(SILENCE_MAX, &mut next).await {
            Ok(next) => return next,
            Err(_) => stream.slot = None,
        }
    }
    next.await
}

/// Waits for a slot of the send budget, unless the stream has one.
async fn ensure_slot(
    stream: &mut ResponseStream,
    resources: Resources<'_>,
    undelivered: &Undelivered,
    permit: &Permit,
) -> Result<(), BodyError> {
    if stream.slot.is_none() {
        // A body goes on, whatever the others hold.
        let most = if undelivered.is_empty() { None } else { held_segments(resources.congestion.measured()) };
        let most = most.unwrap_or(usize::MAX);
        // Content for which no engine waits is sent last, and leaves half of the budget to the others meanwhile.
        let most = if resources.is_in_background { most.div_ceil(2) } else { most };
        let slot = resources.budget.slot(most);
        stream.slot = Some(write_in_time(permit, async { Ok(slot.await) }).await?);
    }
    Ok(())
}

/// How many segments a session holds on this path, at most. `None` if too little is known of it.
fn held_segments(measured: Measured) -> Option<usize> {
    let bdp = measured.rate?.bytes_per_second() * measured.min_rtt?.as_secs_f64();
    Some(((bdp * HELD_BDPS).max(HELD_BYTES_MIN) / f64::from(SEGMENT_BYTES)).ceil() as usize)
}

/// The bytes of a body that has not ended yet.
fn or_ended_early(chunk: Option<Bytes>) -> Result<Bytes, UpstreamError> {
    chunk.ok_or_else(|| UpstreamError::new(Hop::Cdn, FaultKind::Truncated, "the body ended early"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::congestion::Rate;

    #[test]
    fn a_session_holds_nine_bandwidth_delay_products() {
        let held = |mbit: u64, ms: u64| {
            let rate = Rate::from_bits_per_second(mbit * 1_000_000).ok();
            held_segments(Measured { rate, min_rtt: Some(Duration::from_millis(ms)), ..Measured::default() })
        };
        assert_eq!([held(100, 200), held(300, 200), held(1000, 1)], [Some(43), Some(129), Some(32)]);
        assert_eq!(held_segments(Measured::default()), None);
    }
}
