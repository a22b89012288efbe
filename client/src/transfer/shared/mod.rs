//! Blobs that several readers share: what is on the disk, and flights, each of which brings a missing range once.
//!
//! A flight reads on while a reader needs it, whichever: one that stops reading, or is cancelled, holds up no other. Each
//! reader follows the flights, or reads from the disk what they have passed. In the [pipeline](super), a flight is a
//! [`ResumableBody`](super::resume::ResumableBody) of its own, and its readers are at the place of the last two layers.
//!
//! What each part does:
//! - `shared_blobs`: finds the blob of a request, and whether it is public.
//! - `shared_blob`: one blob: the stored bytes, the flights and the readers.
//! - `flights`: which range is on its way, and who needs it. Pure.
//! - `flight`: brings one range.
//! - `held`: what a neighbour brings, until its digest was compared.
//! - `ahead`: what the server sends before a reader requests it.
//! - `expected`: which layers a reader will request next. Pure.
//! - `reader`: one reader's way through the blob.
//!
//! Must never make a reader wait for another reader. Knows no HTTP.

mod ahead;
mod expected;
mod flight;
mod flights;
mod held;
mod reader;
mod shared_blob;
mod shared_blobs;

pub(crate) use reader::SharedReader;
pub(crate) use shared_blobs::{Found, SharedBlobs};
