//! A body that outlives its session: what has arrived stays, and only the missing ranges are requested again
//! over the next one. For a command beside a running client, that one comes before all sessions.
//!
//! The only place that counts positions, and that tries again. Must never return a byte twice, or leave one
//! out. Buffers at most the bytes of the segments that were open.

mod source;
mod stall;

pub(super) use source::Source;

use super::missing_ranges::missing;
use super::part::{Content, KeptRange, Part, arrange};
use super::range_request::Continuation;
use super::running::{TransferGuard, WaitsFor};
use crate::exchange::ExchangeError;
use crate::local_api::LocalBody;
use crate::status::reason::Reason;
use crate::tunnel::{Deadline, Need};
use bytes::Bytes;
use docxy_protocol::fault::Fault;
use stall::Stall;
use std::collections::VecDeque;
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// A body, over as many sessions as needed.
pub(super) struct ResumableBody {
    /// The position of the next byte.
    pub(super) position: u64,
    /// The bytes from there on, without a gap.
    pub(super) parts: VecDeque<Part>,
    /// How missing bytes are requested. `None` if they cannot be.
    pub(super) source: Option<Box<Source>>,
    /// Since when no byte was returned, until one is.
    stall: Option<Stall>,
    /// The last failure, until bytes arrive after it.
    last_fault: Option<Fault>,
    guard: Arc<TransferGuard>,
}

impl ResumableBody {
    /// A body that begins at `position`, with this part as the whole of it; `None` if it is empty.
    pub(super) fn new(
        position: u64,
        part: Option<Part>,
        source: Option<Box<Source>>,
        guard: Arc<TransferGuard>,
    ) -> Self {
        Self { position, parts: part.into_iter().collect(), source, stall: None, last_fault: None, guard }
    }

    pub(super) fn guard(&self) -> &TransferGuard {
        &self.guard
    }

    /// The position of the next byte.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// The next bytes, `None` at the end.
    ///
    /// # Errors
    /// If no other attempt can succeed, or none did in time.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        loop {
            self.share_with_trial();
            let until = self.stall_end();
            let Some(part) = self.parts.front_mut() else { return Ok(None) };
            let bytes = match &mut part.content {
                Content::Buffered { chunks, .. } => chunks.pop_front(),
                Content::Arriving(arriving) => {
                    let next = arriving.next(part.end - self.position);
                    let next = match until {
                        Some(until) => match tokio::time::timeout_at(until.into(), next).await {
                            Ok(next) => next,
                            Err(_) => return Err(self.timed_out()),
                        },
                        None => next.await,
                    };
                    match next {
                        Ok(bytes) => {
                            self.last_fault = None;
                            bytes
                        }
                        Err(error) => {
                            self.interrupted(error)?;
                            continue;
                        }
                    }
                }
                Content::Local(body) => {
                    let left = part.end - self.position;
                    let waits = |reason: Option<String>| match reason {
                        Some(_) => self.guard.wait(WaitsFor::Server, reason.map(Reason::from)),
                        None => self.guard.proceed(),
                    };
                    match body.next(waits).await {
                        Ok(None) if left > 0 => return Err(ExchangeError::mismatch("the body ended early")),
                        Ok(Some(bytes)) if bytes.len() as u64 > left => {
                            return Err(ExchangeError::mismatch("the body is longer than announced"));
                        }
                        Ok(bytes) => {
                            self.last_fault = None;
                            bytes
                        }
                        Err(error @ ExchangeError::RunningClientLost) => {
                            self.interrupted(error)?;
                            continue;
                        }
                        // The running client itself has tried again while there was hope.
                        Err(error) => return Err(error),
                    }
                }
                Content::Shared(_) if part.end == self.position => None,
                Content::Shared(reader) => {
                    Some(reader.next(self.position, part.end - self.position, &self.guard).await?)
                }
                Content::Ahead(task) => {
                    let end = part.end;
                    *part = match task.await {
                        Ok(Ok(chunks)) => Part { end, content: Content::Buffered { chunks, _permit: None } },
                        // It is requested over the session in use.
                        Ok(Err(_)) | Err(_) => Part::missing(end),
                    };
                    continue;
                }
                Content::Requested(task) => {
                    let bytes = self.position..part.end;
                    *part = match task.await {
                        Ok(Ok(continuation)) => Part::arriving(&bytes, continuation),
                        // It is requested again below, which distinguishes transient from permanent errors.
                        Ok(Err(_)) | Err(_) => Part::missing(bytes.end),
                    };
                    continue;
                }
                Content::Missing => {
                    self.fetch_front().await?;
                    continue;
                }
            };
            let Some(bytes) = bytes else {
                self.parts.pop_front();
                continue;
            };
            if let Some(source) = &self.source
                && !matches!(part.content, Content::Local(_))
            {
                source.context.counters.bytes_crossed.add(bytes.len() as u64);
            }
            self.position += bytes.len() as u64;
            self.guard.receive(bytes.len() as u64);
            if let Some(stall) = self.stall.take() {
                self.guard.proceed();
                self.tell_end(&stall);
            }
            return Ok(Some(bytes));
        }
    }

    /// Whether all bytes were returned.
    pub(super) fn is_at_end(&self) -> bool {
        self.parts.back().is_none_or(|last| last.end == self.position)
    }

    /// Ends the body before this position, or soon after it: what is requested already still comes.
    pub(super) fn end_before(&mut self, end: u64) {
        while let [.., before, _] = self.parts.make_contiguous()
            && before.end >= end
        {
            self.parts.pop_back();
        }
        let is_first = self.parts.len() == 1;
        let Some(last) = self.parts.back_mut().filter(|last| last.end > end) else { return };
        match &mut last.content {
            Content::Missing => last.end = end,
            Content::Arriving(arriving) if is_first => {
                let left = last.end - self.position;
                if let Some(shorter) = arriving.shorten(left, end.saturating_sub(self.position)) {
                    last.end = self.position + shorter;
                }
            }
            _ => {}
        }
    }

    /// What has arrived and was not returned, with its position.
    pub(super) fn into_arrived(self) -> impl Iterator<Item = (u64, Bytes)> {
        let mut start = self.position;
        let kept = self.parts.into_iter().flat_map(move |part| {
            let end = part.end;
            part.into_kept(mem::replace(&mut start, end))
        });
        kept.filter_map(KeptRange::into_arrived).flat_map(|(mut at, chunks)| {
            chunks.into_iter().map(move |bytes| {
                let end = at + bytes.len() as u64;
                (mem::replace(&mut at, end), bytes)
            })
        })
    }

    /// Keeps what has arrived if the rest can be requested again.
    fn interrupted(&mut self, error: ExchangeError) -> Result<(), ExchangeError> {
        self.failed(error)?;
        let (Some(source), Some(end)) = (&self.source, self.parts.back().map(|part| part.end)) else {
            return Ok(());
        };
        let mut ranges = Vec::new();
        let mut start = self.position;
        for part in mem::take(&mut self.parts) {
            let end = part.end;
            ranges.extend(part.into_kept(start));
            start = end;
        }
        if !source.range_request.supports_ranges() {
            ranges.clear();
        }
        let buffered: Vec<_> = ranges.iter().map(|range| range.bytes.clone()).collect();
        let gaps = missing(self.position..end, &buffered);
        self.parts = arrange(ranges, &gaps);
        let missing: u64 = gaps.iter().map(|gap| gap.end - gap.start).sum();
        let stall_timeout_s = source.context.stall_timeout.read().as_secs();
        // At `info`, the loss of the tunnel and a registry that fails have lines of their own.
        let told = self.stall.as_mut().map(|stall| &mut stall.is_told);
        if let Some(is_told @ false) = told {
            *is_told = true;
            let content = self.guard.name();
            let reason = self.last_fault.as_ref().map(tracing::field::display);
            let (byte, gaps, trace_id) = (self.position, gaps.len(), self.guard.trace());
            tracing::debug!(content, byte, end, missing, gaps, reason, stall_timeout_s, %trace_id, "a transfer was interrupted");
        }
        source.context.counters.interruptions.increment();
        self.guard.interrupted();
        Ok(())
    }

    /// Requests the first part, which is missing, until it arrives or the timeout passes. Then requests other
    /// missing parts as permits allow.
    async fn fetch_front(&mut self) -> Result<(), ExchangeError> {
        let bytes = self.position..self.parts.front().map_or(self.position, |part| part.end);
        if let Some(body) = self.ask_running_client(&bytes).await {
            self.parts[0].content = Content::Local(body);
            // The running client ends its own stalls.
            self.stall = None;
            self.guard.proceed();
            return Ok(());
        }
        loop {
            let delay = self.stall.get_or_insert_with(Stall::begin).delay;
            let Some(until) = self.stall_end() else { return Err(self.timed_out()) };
            let reason = self.last_fault.as_ref().map(Reason::from);
            self.guard.wait(WaitsFor::Server, reason.clone());
            tokio::time::sleep_until(until.min(Instant::now() + delay).into()).await;
            if Instant::now() >= until {
                return Err(self.timed_out());
            }
            let Some(source) = &mut self.source else { return Err(self.timed_out()) };
            self.guard.wait(WaitsFor::Tunnel, reason);
            let need = Need::of(&source.range_request.request);
            // It does not count at its server any more, so that this one can be selected as any other.
            source.session = None;
            let (tunnel, lost) = (&source.context.tunnel, source.lost.as_ref());
            let deadline = match source.asked_at {
                // The tunnel starts in the middle of the transfer.
                Some(_) => Deadline::including_first_connect(until.saturating_duration_since(Instant::now())),
                None => Deadline::at(until),
            };
            let session = match tunnel.session(need, lost, deadline).await {
                // It has no link of its own.
                Err(_) if source.asked_at.is_some() && tunnel.servers().is_empty() => {
                    return Err(ExchangeError::RunningClientLost);
                }
                session => session?,
            };
            self.guard.set_server(&session);
            source.session = Some(session);
            let fetched = tokio::time::timeout_at(until.into(), self.fetch(&bytes)).await;
            match fetched {
                Ok(Ok(continuation)) => {
                    if let Some(source) = &mut self.source {
                        source.has_responded = true;
                    }
                    self.parts[0] = Part::arriving(&bytes, continuation);
                    self.request_missing();
                    return Ok(());
                }
                Ok(Err(error)) => {
                    tracing::debug!(content = self.guard.name(), reason = %error, "requesting again");
                    self.failed(error)?;
                }
                // The check above ends it.
                Err(_) => {}
            }
        }
    }

    /// Requests these bytes from the running client, if there is one: the first one, or one that replaced it. Not twice from
    /// one position: a client that ends again and again must not keep the transfer from its end.
    async fn ask_running_client(&mut self, bytes: &Range<u64>) -> Option<LocalBody> {
        let source = self.source.as_deref_mut()?;
        let running = source.context.running_client()?;
        if source.asked_at.replace(bytes.start) == Some(bytes.start) {
            return None;
        }
        self.guard.wait(WaitsFor::Server, self.last_fault.as_ref().map(Reason::from));
        running.blob(source.range_request.request.clone(), bytes.clone()).await.ok()
    }

    /// Requests these bytes over the session in use.
    async fn fetch(&mut self, bytes: &Range<u64>) -> Result<Continuation, ExchangeError> {
        let Some(Source { context, range_request, session: Some(session), .. }) = self.source.as_deref()
        else {
            return Err(self.timed_out());
        };
        let reason = self.last_fault.as_ref().map(Reason::from);
        let operation = &range_request.request.operation;
        let permit = match session.try_permit(operation) {
            Some(permit) => Some(permit),
            None => {
                // Two transfers that hold permits and wait for more could block each other.
                release_permits(&mut self.parts);
                self.guard.wait(WaitsFor::Permit, reason.clone());
                session.permit(operation).await
            }
        };
        self.guard.wait(WaitsFor::Server, reason);
        context.fetch(session, permit, range_request, bytes).await
    }

    /// Requests the other missing parts as far as permits are free.
    fn request_missing(&mut self) {
        let Some(source) = self.source.as_deref() else { return };
        let Some(session) = &source.session else { return };
        let mut start = self.position;
        for part in &mut self.parts {
            let bytes = mem::replace(&mut start, part.end)..part.end;
            if !matches!(part.content, Content::Missing) {
                continue;
            }
            let Some(requested) = source.request(session, bytes) else { break };
            part.content = requested;
        }
    }
}

/// Drops the requests after the first part. They have received little, and it is requested again.
fn release_permits(parts: &mut VecDeque<Part>) {
    for part in parts {
        if matches!(part.content, Content::Requested(_) | Content::Arriving(_)) {
            part.content = Content::Missing;
        }
    }
}
