//! The disk that a test fills.

pub(crate) mod mount;
