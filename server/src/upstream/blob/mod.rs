//! The body of a blob: read as it arrives, and resumed with a range request after a failure.

pub(super) mod download;
