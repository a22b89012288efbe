//! Takes a blob's bytes off the network task: hashes and writes them on a thread of its own.
//!
//! The queue in front of it is short, so that a slow disk slows the transfer and nothing piles up.

use super::draft::Slot;
use bytes::Bytes;
use docxy_protocol::digester::Digester;
use docxy_protocol::name::Digest;
use std::io;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Pieces that may wait. Each is what had come when it was read, at most 64 KiB.
const QUEUE: usize = 8;

/// What the thread is told.
enum Piece {
    Data(Bytes),
    /// Forget everything: what was written so far will come again.
    Restart,
}

/// A blob being written.
pub(super) struct Writer {
    pieces: mpsc::Sender<Piece>,
    thread: JoinHandle<io::Result<(Slot, Digest)>>,
    position: u64,
}

impl Writer {
    /// Begins to write into `slot`, to be compared with `wanted`.
    pub(super) fn start(slot: Slot, wanted: &Digest) -> Self {
        let (pieces, queue) = mpsc::channel(QUEUE);
        let wanted = wanted.clone();
        let thread = tokio::task::spawn_blocking(move || write(slot, &wanted, queue));
        Self { pieces, thread, position: 0 }
    }

    /// How many bytes it was given.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// Gives it more, waiting while it is busy. A disk that fails is told by [`Self::finish`].
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), Stopped> {
        self.position += bytes.len() as u64;
        self.pieces.send(Piece::Data(bytes)).await.map_err(|_| Stopped)
    }

    /// Begins again at the beginning.
    pub(super) async fn restart(&mut self) -> Result<(), Stopped> {
        self.position = 0;
        self.pieces.send(Piece::Restart).await.map_err(|_| Stopped)
    }

    /// Waits until everything is written; gives the digest of it, and the slot back.
    pub(super) async fn finish(self) -> io::Result<(Slot, Digest)> {
        drop(self.pieces);
        // A panic there, or a runtime that ends under it.
        self.thread.await.map_err(io::Error::other)?
    }
}

/// The writer has ended early; [`Writer::finish`] knows why.
#[derive(Debug)]
pub(super) struct Stopped;

fn write(slot: Slot, wanted: &Digest, mut queue: mpsc::Receiver<Piece>) -> io::Result<(Slot, Digest)> {
    let mut checksum = Digester::matching(wanted);
    let mut position = 0;
    let mut pieces = Vec::with_capacity(QUEUE);
    let mut buffer = Vec::new();
    // All that waits is written at once: packets are far smaller than what disks like.
    while queue.blocking_recv_many(&mut pieces, QUEUE) > 0 {
        for piece in pieces.drain(..) {
            match piece {
                Piece::Data(bytes) => buffer.extend_from_slice(&bytes),
                Piece::Restart => {
                    checksum = Digester::matching(wanted);
                    position = 0;
                    buffer.clear();
                }
            }
        }
        checksum.update(&buffer);
        slot.write(position, &buffer)?;
        position += buffer.len() as u64;
        buffer.clear();
    }
    Ok((slot, checksum.finish()))
}
