//! Congestion control of our own: what a sender may have in flight.
//!
//! Must never read a clock or touch a socket; time is an argument, so that tests replay networks.

mod algorithm;
mod auto;
mod choice;
mod fixed;
mod handle;
mod plug;
mod rate;

pub use algorithm::{Algorithm, Measured};
pub use auto::Auto;
pub use choice::{Choice, PathMemory};
pub use fixed::Fixed;
pub use handle::Handle;
pub use rate::{Rate, RateError};
