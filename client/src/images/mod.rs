//! Whole images without an engine: into a file, or ahead of time onto the disk.
//!
//! Must never fetch by another path than engines do: each goes through the [gateway](crate::gateway).

pub mod pull;
pub mod warm;
