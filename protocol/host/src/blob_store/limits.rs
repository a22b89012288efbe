//! How much of a disk the blobs may use.

/// How much of a disk the blobs may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlobLimits {
    /// Bytes of all blobs; `None` is a tenth of the file system, from 1 to 20 GB.
    pub bytes_max: Option<u64>,
    /// Bytes of the file system that are left free at least; `None` is 5 %, and no less than 1 GB.
    pub free_bytes_min: Option<u64>,
}
