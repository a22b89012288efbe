//! The prefetched items, and how many of them an engine then requested, from the client's `/health`.
//! Must never count by itself: the client knows which request an item answered.

use anyhow::Result;
use docxy_tests::docxy::{self, Client};
use serde::Serialize;

/// Items and bytes that were prefetched.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct PrefetchUsage {
    pub(super) items: u64,
    pub(super) bytes: u64,
    /// Items that no engine requested before the end, or before they were prefetched again.
    pub(super) unused_items: u64,
    pub(super) unused_bytes: u64,
}

impl PrefetchUsage {
    /// The client's usage since its start.
    pub(super) fn of(client: &Client) -> Result<Self> {
        let health = client.health()?;
        let count = |name: &str| docxy::count(&health, &format!("prefetch/{name}"));
        let (items, bytes) = (count("items")?, count("bytes")?);
        let (unused_items, unused_bytes) = (items - count("used_items")?, bytes - count("used_bytes")?);
        Ok(Self { items, bytes, unused_items, unused_bytes })
    }
}
