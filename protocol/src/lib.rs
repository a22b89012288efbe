//! What client and server of Docxy say to each other, as plain values.
//!
//! This crate must never open a socket, read a clock or spawn a task: values in, values out, so
//! that everything here can be tested and fuzzed as such. It is also the only crate that knows
//! the wire format.
//!
//! One exchange, as the streams of one QUIC connection (the client opens every stream):
//!
//! ```text
//!  client                                                   server
//!    │ stream 0   StreamHeader::Hello ───────────────────────────▶ │ checks name and secret
//!    │            ◀──────────────────────── ControlMessage::Welcome   │ (stays open: later notices)
//!    │ stream 4   StreamHeader::Request, FIN ────────────────────▶ │ asks the registry
//!    │ stream 8   StreamHeader::Segment { 4, 0 }, FIN ───────────▶ │
//!    │ stream 12  StreamHeader::Segment { 4, 1 }, FIN ───────────▶ │
//!    │ stream 4   ◀───────────────────────────────── Reply    │
//!    │ stream 8   ◀──────────── first bytes of the body, FIN  │
//!    │ stream 12  ◀────────────────────── next bytes, FIN     │
//!    │ stream 4   ◀─────────────────────── ChunkHeader::End, FIN    │
//! ```
//!
//! A small body follows the reply on the reply's own stream, in [`chunk`]s, and the segment streams
//! that the client opened in hope are closed unused. A body that broke ends with a fault instead,
//! and the segment it broke in is shorter than it should be.
//!
//! Behind the end of a manifest's answer, the next pieces of its image may follow: see [`prefetch`].

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
pub mod transport;
pub mod udp_buffers;
