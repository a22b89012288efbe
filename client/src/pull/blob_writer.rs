//! Writes the bytes of a blob on a thread of its own.
//!
//! The queue is short, so that a slow disk slows the transfer.

use super::staged_image::EntryWriter;
use bytes::Bytes;
use std::io;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Maximum number of reads in the queue, of at most 64 KiB each.
const QUEUE_CAPACITY: usize = 8;

/// Writes one blob.
pub(super) struct BlobWriter {
    queue: mpsc::Sender<Bytes>,
    thread: JoinHandle<io::Result<EntryWriter>>,
}

/// The thread has ended early; [`BlobWriter::finish`] returns the error.
#[derive(Debug)]
pub(super) struct WriterStopped;

impl BlobWriter {
    /// Starts to write into `writer`.
    pub(super) fn start(writer: EntryWriter) -> Self {
        let (queue, reads) = mpsc::channel(QUEUE_CAPACITY);
        Self { queue, thread: tokio::task::spawn_blocking(move || write(writer, reads)) }
    }

    /// Adds bytes. Waits while the queue is full. [`Self::finish`] reports a disk error.
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), WriterStopped> {
        self.queue.send(bytes).await.map_err(|_| WriterStopped)
    }

    /// Waits until all bytes are written.
    pub(super) async fn finish(self) -> io::Result<EntryWriter> {
        drop(self.queue);
        // The thread panicked, or the runtime ends.
        self.thread.await.map_err(io::Error::other)?
    }
}

fn write(writer: EntryWriter, mut queue: mpsc::Receiver<Bytes>) -> io::Result<EntryWriter> {
    let mut position = 0;
    let mut reads = Vec::with_capacity(QUEUE_CAPACITY);
    let mut buffer = Vec::new();
    // All reads in the queue become one write: packets are much smaller than good disk writes.
    while queue.blocking_recv_many(&mut reads, QUEUE_CAPACITY) > 0 {
        for bytes in reads.drain(..) {
            buffer.extend_from_slice(&bytes);
        }
        writer.write(position, &buffer)?;
        position += buffer.len() as u64;
        buffer.clear();
    }
    Ok(writer)
}
