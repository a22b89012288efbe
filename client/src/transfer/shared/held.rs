//! Receives a blob of which nothing is here from a neighbour, and holds it back from its readers until its digest was
//! compared: they cannot give wrong bytes back.
//!
//! Each byte is hashed once, in order: from one neighbour, from the next one if that fails, and the rest from the tunnel if
//! it is the smaller part. Otherwise nothing of it is used, and the readers fetch it all as usual.
//!
//! Must never let a reader have a byte of a neighbour before, nor hold one up for longer than twice `HELD_MAX`.

use super::shared_blob::SharedBlob;
use super::{Found, SharedBlobs, SharedReader};
use crate::transfer::TransferContext;
use crate::transfer::neighbours::{DownloadError, Neighbour, WRONG_PAUSE};
use crate::transfer::running::TransferRegistry;
use docxy_protocol::digester::Digester;
use docxy_protocol::name::Digest;
use docxy_protocol::request::Request;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long readers wait for the turn of a blob, and then while it arrives. After 5 minutes without a byte, Kubernetes gives up.
const HELD_MAX: Duration = Duration::from_secs(60);

/// The time after which the rate of a neighbour is compared, again and again.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// Neighbours that one blob is requested from.
const TRIES_MAX: usize = 3;

impl SharedBlobs {
    /// Receives the blob of this size, of which nothing is here, from a neighbour; `None` if none has it. Everybody must be
    /// able to see its digest.
    pub(crate) async fn receive_from_neighbour(
        &self,
        context: &TransferContext,
        request: &Request,
        size: u64,
    ) -> Option<Found> {
        let key = self.key(request)?;
        let neighbour = context.neighbours.find(&key.digest, size).await?;
        let blob = self.open(&key, size).await?;
        // Otherwise it is on its way already.
        if let Some(held) = HeldBlob::begin(context, &blob, request) {
            tokio::spawn(held.run(neighbour));
        }
        Some(self.found(blob))
    }
}

/// A blob that is held back until this is dropped. It is then removed, unless it is right.
struct HeldBlob {
    context: TransferContext,
    blob: Arc<SharedBlob>,
    request: Request,
    /// The end of what neighbours have sent.
    brought: u64,
    senders: Vec<Neighbour>,
    is_right: bool,
}

impl HeldBlob {
    fn begin(context: &TransferContext, blob: &Arc<SharedBlob>, request: &Request) -> Option<Self> {
        if !blob.stored.hold() {
            return None;
        }
        if !blob.flights.lock().hold() {
            blob.stored.release();
            return None;
        }
        let (context, blob, request) = (context.clone(), Arc::clone(blob), request.clone());
        Some(Self { context, blob, request, brought: 0, senders: Vec::new(), is_right: false })
    }

    fn digest(&self) -> &Digest {
        &self.blob.stored.key().digest
    }

    async fn run(mut self, neighbour: Neighbour) {
        let neighbours = self.context.neighbours.clone();
        let Ok(_turn) = timeout(HELD_MAX, neighbours.turn(self.blob.size())).await else { return };
        let until = Instant::now() + HELD_MAX;
        match timeout(HELD_MAX, self.receive(neighbour, until)).await {
            Ok(Some(found)) if found == *self.digest() => self.is_right = true,
            Ok(Some(found)) => {
                for sender in &self.senders {
                    let (address, digest) = (sender.address(), self.digest());
                    tracing::warn!(%address, %digest, %found, "a neighbour has sent another blob; it is ignored for an hour");
                    neighbours.ignore(*sender, WRONG_PAUSE);
                }
            }
            Ok(None) => {}
            Err(_) => tracing::debug!(digest = %self.digest(), "a neighbour's blob takes too long"),
        }
    }

    /// The digest of the whole. `None` if it is better to fetch it as usual.
    async fn receive(&mut self, first: Neighbour, until: Instant) -> Option<Digest> {
        let size = self.blob.size();
        let mut digester = Digester::matching(self.digest());
        let mut next = Some(first);
        while let Some(neighbour) = next.take() {
            self.senders.push(neighbour);
            let Err(reason) = self.receive_from(neighbour, until, &mut digester).await else { break };
            let (address, digest, missing) = (neighbour.address(), self.digest(), size - self.brought);
            tracing::debug!(%address, %digest, missing, %reason, "a neighbour does not bring a layer");
            let neighbours = &self.context.neighbours;
            neighbours.failed(neighbour, &reason);
            if self.senders.len() < TRIES_MAX {
                next = neighbours.find(digest, size).await;
            }
        }
        if self.brought < size {
            if self.brought < size / 2 {
                return None;
            }
            self.receive_rest(&mut digester).await?;
        }
        Some(digester.finish())
    }

    async fn receive_from(
        &mut self,
        neighbour: Neighbour,
        until: Instant,
        digester: &mut Digester,
    ) -> Result<(), DownloadError> {
        let size = self.blob.size();
        let mut download = neighbour.download(self.digest(), self.brought..size).await?;
        let (mut waited, mut received) = (Duration::ZERO, 0);
        while self.brought < size {
            self.blob.stored.written().await;
            let asked = Instant::now();
            let Some(bytes) = download.next().await? else { return Err(DownloadError::OtherBytes) };
            // Not the time for which this client itself was busy.
            waited += asked.elapsed();
            received += bytes.len() as u64;
            digester.update(&bytes);
            let length = bytes.len() as u64;
            self.blob.stored.write(self.brought, bytes);
            self.brought += length;
            if waited >= RATE_WINDOW {
                let rate = received as f64 / waited.as_secs_f64();
                let left = until.saturating_duration_since(Instant::now());
                if is_slow(rate, self.tunnel_rate(), size - self.brought, left) {
                    return Err(DownloadError::Slow(rate as u64));
                }
                (waited, received) = (Duration::ZERO, 0);
            }
        }
        Ok(())
    }

    /// The rest from the tunnel. `None` if that fails, or no reader waits any more.
    async fn receive_rest(&self, digester: &mut Digester) -> Option<()> {
        let (mut at, size) = (self.brought, self.blob.size());
        let (blob, request) = (Arc::clone(&self.blob), self.request.clone());
        let reader = SharedReader::new(&self.context, blob, request, at..size);
        reader.set_holder();
        let guard = TransferRegistry::default().begin(&self.request, None);
        while at < size && self.blob.flights.lock().has_other_readers() {
            let bytes = reader.next(at, size - at, &guard).await.ok()?;
            digester.update(&bytes);
            at += bytes.len() as u64;
        }
        (at == size).then_some(())
    }

    /// The measured rate of the line in use, in bytes per second; 0 if it is not known.
    fn tunnel_rate(&self) -> f64 {
        let in_use = self.context.tunnel.in_use();
        let session = in_use.as_ref().and_then(crate::tunnel::ServerState::session);
        session.and_then(|session| session.segment_budget().rate()).unwrap_or_default()
    }
}

/// Whether the tunnel is faster, or the missing bytes do not arrive in time. Rates are in bytes per second.
fn is_slow(rate: f64, tunnel_rate: f64, missing: u64, left: Duration) -> bool {
    rate < tunnel_rate || rate * left.as_secs_f64() < missing as f64
}

impl Drop for HeldBlob {
    fn drop(&mut self) {
        let stored = &self.blob.stored;
        if self.is_right {
            stored.verified();
            stored.release();
        } else {
            stored.discard_held(self.brought);
        }
        self.blob.flights.lock().release(if self.is_right { self.brought } else { 0 });
        self.blob.progress.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_must_beat_the_tunnel_and_bring_all_in_time() {
        let (mega, minute) = (1e6, Duration::from_secs(60));
        assert!(!is_slow(mega, 0.0, 60_000_000, minute), "the rate of the tunnel is not known");
        assert!(!is_slow(mega, mega, 60_000_000, minute));
        assert!(is_slow(mega, 1.01 * mega, 1, minute));
        assert!(is_slow(mega, 0.0, 60_000_001, minute));
    }
}
