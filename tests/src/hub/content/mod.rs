//! What the stand-in holds. Must never know who requests it.

pub(in crate::hub) mod artifact;
pub(in crate::hub) mod blob;
pub(in crate::hub) mod image;
pub(in crate::hub) mod layer;
pub(in crate::hub) mod store;
