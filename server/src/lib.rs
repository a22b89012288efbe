//! The server of Docxy: fetches from registries what its clients request.
//!
//! The command line starts in [`command`], which loads [`settings`] and [`state`]. Then [`listener`]
//! serves. Only `upstream` sends requests to registries.
//!
//! # How a blob travels
//!
//! ```text
//!  registry ─307─▶ CDN            a range request after a failure
//!                   │   ▲────────────────────────────────┐
//!                   ▼   │                                │
//!  upstream::http  HttpClient ─▶ upstream::blob::Download ──▶ exchange::body ──▶ streams ──▶ a leg
//!                 (one response)  (one body, resumed)          │  send_whole: ChunkWriter, one stream
//!                                                              └─ send_segments: SegmentStreams
//!  listener ─▶ exchange::run ─▶ admission (a permit) ─▶ upstream (status, header fields)
//! ```
//!
//! 1. `listener` accepts a stream and reads its request. `exchange` acquires a permit from `admission` and
//!    passes the request to `upstream`, which follows redirects to the CDN.
//! 2. The response's head goes to the client. A blob of more than one segment is sent on segment streams,
//!    which the client opens; a smaller body follows the head on the same stream.
//! 3. `exchange::body` reads the next bytes from the CDN only after the leg has accepted the last ones. While the
//!    client reads nothing or opens no segment stream, nothing more is read from the CDN: memory for each
//!    body is bounded.
//! 4. If the CDN's connection breaks or stalls, `Download` fetches the rest with a range request, starting
//!    at the registry. Only the exact continuation is accepted.
//! 5. The response ends with an explicit end or a fault, and a dropped stream is reset. Truncation is never
//!    silent.

mod access;
pub mod address;
mod admin;
mod admission;
pub mod command;
mod counters;
mod exchange;
pub mod lifecycle;
pub mod listener;
pub mod settings;
pub mod state;
mod upstream;
