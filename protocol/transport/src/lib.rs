//! The tunnel's transport: sessions and their streams.
//!
//! The only code of the product that names `quinn` and `h2`. A [`Session`] is one leg's connections to the peer; what is
//! above knows sessions, streams, why they ended, and plain numbers about the path. It must never see which
//! leg carries a stream, how many connections a leg has, or the number that a leg gives to a stream.
//!
//! The client opens every stream, with a header that the server reads first. A stream whose sender is dropped
//! before its end is reset, so truncation is never silent.

/// Does the same on each leg.
macro_rules! on_leg {
    ($leg:expr, $bound:pat => $work:expr) => {
        match $leg {
            Leg::Quic($bound) => $work,
            Leg::Tcp($bound) => $work,
            #[cfg(feature = "test-legs")]
            Leg::Memory($bound) => $work,
        }
    };
}

mod connector;
mod dial;
mod error;
mod leg;
mod listener;
mod path;
pub mod quic;
mod rate_limit;
mod session;
mod streams;
pub mod tcp;
#[cfg(feature = "test-legs")]
pub mod test_legs;

pub use connector::{Connector, Permit, Purpose};
pub use dial::{DialError, Peer, dial};
pub use error::{ReadError, SendError, SessionError};
pub use leg::{Leg, LegError};
pub use listener::{Incoming, ListenError, Listener};
pub use path::Path;
pub use rate_limit::RateLimit;
pub use session::Session;
pub use streams::{Body, FinishedStream, ReceiveStream, SendStream};
#[cfg(feature = "test-legs")]
use test_legs::memory;
