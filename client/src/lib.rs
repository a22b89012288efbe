//! The client of Docxy: container images for a machine that cannot reach the registries.
//!
//! [`command`] parses the command line and loads the [`settings`]. Then either [`frontend`] serves engines, or
//! [`images`] fetches images without one. Both send their requests to [`gateway`], with the user's [`accounts`], and only
//! [`tunnel`] connects to servers. A pull beside a running client uses the gateway of that one, by [`local_api`]. What
//! happens is recorded in [`status`], for the page and the commands.
//! [`command::setup`] edits engines' own files, and [`command::doctor`] finds out what is wrong.
//!
//! How a blob travels, with the module of each step. Each layer is read on demand, so an engine that stops
//! reading stops the CDN; a dropped layer resets the streams below it.
//!
//! ```text
//!  engine                                                                          server
//!    │ GET /v2/…/blobs/DIGEST ─▶ frontend::handler   checks host and origin, parses the path
//!    │                           gateway             answers from metadata (cache, challenge), or
//!    │                                               waits for a tunnel::Session and a permit
//!    │                           exchange            ── Request, and streams for segments ───▶ │
//!    │                                               ◀── Response head, segments ───────────── │
//!    │                           exchange::segments  reads the segments in order, and opens the
//!    │                                               next ones within tunnel::SegmentBudget
//!    │                           transfer::resume    keeps what arrived if the connection is lost,
//!    │                                               and requests the missing ranges on the next
//!    │                           transfer::verify    holds back 64 KiB until the digest matches
//!    │ ◀── 200, bytes ────────── frontend            ends the response only if it is complete
//! ```
//!
//! `tunnel::supervisor` keeps a session with each server up meanwhile: it dials, watches the session, and
//! replaces it when the path is silent. A small body follows its response head on the same stream. After a manifest, prefetched
//! content may follow there too: `prefetch::receiver` puts it into the cache.

pub mod accounts;
pub mod command;
mod exchange;
pub mod frontend;
pub mod gateway;
pub mod images;
pub mod local_api;
pub mod metadata;
pub mod settings;
pub mod status;
pub mod transfer;
pub mod tunnel;
