//! The only code that sends requests to registries, their token services and their CDNs.
//!
//! Must never reach anything but the registries on the operator's list and the hosts that they redirect
//! to: every URL is built here, from typed values.
//!
//! ```text
//!             ┌─▶ PublicManifests ─▶ ManifestSource ─▶ Store (requests without a credential)
//! Request ─▶ Upstream ─▶ dispatch ─▶ AuthorizedRegistry ─▶ ApiClient ─▶ HttpClient ─▶ registry ─307─▶ CDN
//!                          │             └─▶ RegistryTokens ─▶ token service
//!                          ▼                                            ▲
//!                       Response ─▶ Download ─▶ BlobSource: the rest of a body that was interrupted
//! ```
//!
//! - `registries`: the registries on the operator's list. `check` tries one of them, hop by hop.
//! - `registry/`: one registry: which credential a request is sent with, and the response.
//! - `http/`: one HTTP request, with the guard on the dialed address, redirects and retries.
//! - `token/`: tokens for requests without a credential, and which registry issued a user's token.
//! - `manifest/`: public manifests, fetched once and then served from the store.
//! - `blob/`: the body of a blob, resumed after a failure.
//! - `layer_cache/`: public blobs on the disk, if the operator wants that.

mod api_client;
mod blob;
mod check;
mod error;
mod http;
mod layer_cache;
mod manifest;
mod registries;
mod registry;
mod request_counts;
pub(crate) mod store;
mod token;

pub(crate) use check::HopCheck;
pub(crate) use error::UpstreamError;
pub(crate) use layer_cache::{Download, LayerCache};
pub(crate) use registries::{Changes, SetupError, Upstream};
pub(crate) use registry::public_proof::PublicProof;
pub(crate) use registry::response::{Response, ResponseBody};
