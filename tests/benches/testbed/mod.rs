//! What benches run on: where the processes run, the two ends of a transfer, and the source of the bytes.

pub(crate) mod bulk_source;
pub(crate) mod peer;
pub(crate) mod topology;
