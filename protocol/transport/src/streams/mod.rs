//! The two directions of a stream, over any leg.

mod receive;
mod send;

pub use receive::ReceiveStream;
pub use send::{Body, FinishedStream, SendStream};
