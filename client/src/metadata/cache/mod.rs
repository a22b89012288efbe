//! Small content that the client has seen, checked against its digest.
//!
//! Must never return content for another repository than the one in which it was seen. Knows no streams.

mod content_cache;
mod descriptor_index;
#[cfg(test)]
pub(crate) mod entry_tests;
pub(crate) mod response;
mod writer;

pub(crate) use content_cache::{CacheEntry, ContentCache};
pub(crate) use descriptor_index::{DescriptorIndex, Layer, Role, parse_manifest};
pub(crate) use docxy_host::store::{Key as CacheKey, Scope as CacheScope};
pub(crate) use writer::ManifestWriter;
