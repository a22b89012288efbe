//! What the stand-in holds. Must never know who requests it.

pub(crate) mod artifact;
pub(crate) mod blob;
pub(crate) mod image;
pub(crate) mod layer;
pub(crate) mod store;
