//! The content store: documents by digest, in memory and in files, for those who may see them.
//!
//! What each part does:
//! - `scope`: who may see content. Only public content is written to files.
//! - `content`: bytes that match their digest, which is checked once, before they are stored or when they are
//!   read.
//! - `writer`: collects content while it arrives. A dropped writer stores nothing.
//! - `memory`: the last used entries, within bytes and lifetimes.
//! - `disk`: one file for each entry. It knows no limit. A backend for large files would stand beside it.
//! - `eviction`: which files to remove. It touches no file.
//! - `format`: what a file has before the content.
//!
//! Files only save requests, so they are not flushed. A file that a crash leaves half written does not match
//! its digest, and is removed when it is read. Several processes may share a directory.
//!
//! Must never return content for another scope than the one in which it was stored, nor bytes that do not
//! match their digest, nor let a slow disk delay a response. Entries are returned as shared values, so an
//! eviction never affects a reader.

mod content;
mod content_store;
mod disk;
mod eviction;
mod format;
mod memory;
mod scope;
mod writer;

pub use content::{Content, DigestMismatch, Key};
pub use content_store::{Store, Usage};
pub use disk::remove_oldest;
pub use format::ContentHead;
pub use memory::Limits;
pub use scope::Scope;
pub use writer::{WriteError, Writer};

#[cfg(test)]
mod tests;
