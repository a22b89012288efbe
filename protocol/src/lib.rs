//! What client and server of Docxy send each other, as plain values.
//!
//! This crate must never open a socket, read a clock or spawn a task: it takes values and returns values,
//! so that everything in it can be tested and fuzzed. No other crate knows the wire format.
//!
//! One exchange, on the streams of one session. The client opens every stream:
//!
//! ```text
//!  client                                                          server
//!    │ control    the wire's version, Hello ─────────────────────▶ │ checks name and secret
//!    │            ◀─────────────────────── ControlMessage::Welcome │ (stays open for later messages)
//!    │ request    StreamHeader::Request { 7, … }, FIN ───────────▶ │ sends the request to the registry
//!    │ segment    StreamHeader::Segment { 7, 0 }, FIN ───────────▶ │
//!    │ segment    StreamHeader::Segment { 7, 1 }, FIN ───────────▶ │
//!    │ request    ◀───────────────────────────────── Reply         │
//!    │ segment    ◀──────────── first bytes of the body, FIN       │
//!    │ segment    ◀────────────────────── next bytes, FIN          │
//!    │ request    ◀───────────────────────── ChunkHeader::End, FIN │
//! ```
//!
//! A small body follows the reply on the same stream, in [chunks](chunk), and the segment streams are reset
//! unused. If a body is aborted, [`ChunkHeader::Aborted`](chunk::ChunkHeader::Aborted) and a fault follow
//! instead of the end, and the segment that was being sent ends early.
//!
//! After a manifest's response, the server may send prefetched items and segments of layers: see [`prefetch`].

mod auth;
pub mod backoff;
pub mod congestion;
mod exchange;
mod fields;
pub mod limits;
mod oci;
pub mod text;
mod tunnel;

// Other crates name a module, not its folder.
pub use auth::{authorization, challenge, scope, secret, token, token_response};
pub use exchange::{
    bulk_window, chunk, error_body, fault, gaps, patience, prefetch, reply, request, route, segment,
    token_origins,
};
pub use fields::{
    accept, byte_range, content_range, headers, rate_limit, requested_bytes, retry_after, uri, user_agent,
    web_link,
};
pub use oci::{digester, image_name, listing_query, manifest, name, platform};
pub use tunnel::{control, frame, identity, link, tls, version};
