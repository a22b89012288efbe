//! One registry: which credential a request is sent with, what its response is, and what proves that content is
//! public.

mod anonymous_request;
pub(super) mod authorized_registry;
pub(super) mod blob_source;
pub(super) mod cacheable_request;
pub(super) mod dispatch;
mod page_links;
pub(super) mod public_proof;
pub(super) mod response;
