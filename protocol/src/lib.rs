//! What client and server of Docxy send each other, as plain values.
//!
//! This crate must never open a socket, read a clock or spawn a task: it takes values and returns values,
//! so that everything in it can be tested and fuzzed. No other crate knows the wire format.
//!
//! One exchange, on the streams of one QUIC connection. The client opens every stream:
//!
//! ```text
//!  client                                                          server
//!    │ stream 0   StreamHeader::Hello ───────────────────────────▶ │ checks name and secret
//!    │            ◀─────────────────────── ControlMessage::Welcome │ (stays open for later messages)
//!    │ stream 4   StreamHeader::Request, FIN ────────────────────▶ │ sends the request to the registry
//!    │ stream 8   StreamHeader::Segment { 4, 0 }, FIN ───────────▶ │
//!    │ stream 12  StreamHeader::Segment { 4, 1 }, FIN ───────────▶ │
//!    │ stream 4   ◀───────────────────────────────── Reply         │
//!    │ stream 8   ◀──────────── first bytes of the body, FIN       │
//!    │ stream 12  ◀────────────────────── next bytes, FIN          │
//!    │ stream 4   ◀───────────────────────── ChunkHeader::End, FIN │
//! ```
//!
//! A small body follows the reply on the same stream, in [chunks](chunk), and the segment streams are reset
//! unused. If a body is aborted, [`ChunkHeader::Aborted`](chunk::ChunkHeader::Aborted) and a fault follow
//! instead of the end, and the segment that was being sent ends early.
//!
//! After a manifest's response, the server may send prefetched items: see [`prefetch`].

pub mod authorization;
pub mod bulk_window;
pub mod challenge;
pub mod chunk;
pub mod congestion;
pub mod control;
pub mod digester;
pub mod error_body;
pub mod fault;
pub mod frame;
pub mod headers;
pub mod identity;
pub mod image_name;
pub mod limits;
pub mod link;
pub mod listing_query;
pub mod manifest;
pub mod name;
pub mod platform;
pub mod prefetch;
pub mod reply;
pub mod request;
pub mod route;
pub mod scope;
pub mod secret;
pub mod segment;
pub mod text;
pub mod tls;
pub mod token;
pub mod token_origins;
pub mod token_response;
pub mod transport;
pub mod udp_buffers;
