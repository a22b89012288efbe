//! The links that were joined: where they are stored, and which of them are used.

pub(super) mod places;
pub(super) mod source;
pub(super) mod store;
