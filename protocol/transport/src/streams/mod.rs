//! The two directions of a stream, over any leg.
//!
//! Must never let a stream look complete whose sender was dropped before its end: it is reset.

mod receive;
mod send;

pub use receive::ReceiveStream;
pub use send::{Body, FinishedStream, SendStream};
