//! Congestion control: how many bytes a sender may have in flight.
//!
//! Must never read a clock or touch a socket. Time is an argument, so that tests can replay a network.

mod algorithm;
mod auto;
mod choice;
mod constants;
mod fixed;
mod handle;
mod rate;
mod token_bucket;

pub use algorithm::{Algorithm, Measured};
pub use auto::Auto;
pub use choice::{Choice, PathMemory};
pub use fixed::Fixed;
pub use handle::Handle;
pub use rate::{Rate, RateError};
pub use token_bucket::TokenBucket;
