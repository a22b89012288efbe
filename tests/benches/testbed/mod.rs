//! What benches run on: the processes and where they run, and the source of the bytes.

pub(crate) mod bulk_source;
pub(crate) mod topology;
