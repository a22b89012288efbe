//! Hashes and writes the bytes of a blob on a thread of its own.
//!
//! The queue is short, so that a slow disk slows the transfer.

use super::staged_image::EntryWriter;
use bytes::Bytes;
use docxy_protocol::digester::Digester;
use docxy_protocol::name::Digest;
use std::io;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The most commands in the queue. Each holds the bytes of one read, at most 64 KiB.
const QUEUE_CAPACITY: usize = 8;

/// A command for the thread.
enum WriteCommand {
    Data(Bytes),
    /// Start again: the blob is received from its first byte.
    Restart,
}

/// Writes one blob.
pub(super) struct BlobWriter {
    commands: mpsc::Sender<WriteCommand>,
    thread: JoinHandle<io::Result<(EntryWriter, Digest)>>,
    position: u64,
}

impl BlobWriter {
    /// Starts to write into `writer`, and hashes with the algorithm of `wanted`.
    pub(super) fn start(writer: EntryWriter, wanted: &Digest) -> Self {
        let (commands, queue) = mpsc::channel(QUEUE_CAPACITY);
        let wanted = wanted.clone();
        let thread = tokio::task::spawn_blocking(move || write(writer, &wanted, queue));
        Self { commands, thread, position: 0 }
    }

    /// The bytes received so far.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// Adds bytes. Waits while the queue is full. [`Self::finish`] reports a disk error.
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), WriterStopped> {
        self.position += bytes.len() as u64;
        self.commands.send(WriteCommand::Data(bytes)).await.map_err(|_| WriterStopped)
    }

    /// Starts again at the first byte.
    pub(super) async fn restart(&mut self) -> Result<(), WriterStopped> {
        self.position = 0;
        self.commands.send(WriteCommand::Restart).await.map_err(|_| WriterStopped)
    }

    /// Waits until all bytes are written. Returns the writer and the digest.
    pub(super) async fn finish(self) -> io::Result<(EntryWriter, Digest)> {
        drop(self.commands);
        // The thread panicked, or the runtime ends.
        self.thread.await.map_err(io::Error::other)?
    }
}

/// The thread has ended early; [`BlobWriter::finish`] returns the error.
#[derive(Debug)]
pub(super) struct WriterStopped;

fn write(
    writer: EntryWriter,
    wanted: &Digest,
    mut queue: mpsc::Receiver<WriteCommand>,
) -> io::Result<(EntryWriter, Digest)> {
    let mut digester = Digester::matching(wanted);
    let mut position = 0;
    let mut commands = Vec::with_capacity(QUEUE_CAPACITY);
    let mut buffer = Vec::new();
    // All commands in the queue become one write: packets are much smaller than good disk writes.
    while queue.blocking_recv_many(&mut commands, QUEUE_CAPACITY) > 0 {
        for command in commands.drain(..) {
            match command {
                WriteCommand::Data(bytes) => buffer.extend_from_slice(&bytes),
                WriteCommand::Restart => {
                    digester = Digester::matching(wanted);
                    position = 0;
                    buffer.clear();
                }
            }
        }
        digester.update(&buffer);
        writer.write(position, &buffer)?;
        position += buffer.len() as u64;
        buffer.clear();
    }
    Ok((writer, digester.finish()))
}
