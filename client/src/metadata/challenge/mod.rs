//! The challenges of registries, so that the first request of an engine is answered without a round trip.
//!
//! Must never repeat a challenge that the registry did not send.

mod file;
mod store;

pub(crate) use store::ChallengeStore;
