//! How much of a disk the blobs may use.
//!
//! Pure: the caller asks the file system.

/// The default of the space for blobs.
const BYTES_DEFAULT_MIN: u64 = 1_000_000_000;
const BYTES_DEFAULT_MAX: u64 = 20_000_000_000;

/// Bytes of the file system that are left free, however small it is.
const FREE_BYTES_MIN: u64 = 1_000_000_000;

/// How much of a disk the blobs may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlobLimits {
    /// Bytes of all blobs; `None` is a tenth of the file system, from 1 to 20 GB.
    pub bytes_max: Option<u64>,
    /// Bytes of the file system that are left free at least; `None` is 5 %, and no less than 1 GB.
    pub free_bytes_min: Option<u64>,
}

/// What the file system says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Space {
    pub(super) total: u64,
    pub(super) free: u64,
    pub(super) is_read_only: bool,
}

impl BlobLimits {
    /// Bytes of all blobs on a file system with this space, of which they use `used` now.
    pub(super) fn bytes_max(self, space: Space, used: u64) -> u64 {
        let default = (space.total / 10).clamp(BYTES_DEFAULT_MIN, BYTES_DEFAULT_MAX);
        let limit = self.bytes_max.unwrap_or(default);
        limit.min((used + space.free).saturating_sub(self.free_bytes_min(space)))
    }

    /// Bytes of the file system that are left free.
    pub(super) fn free_bytes_min(self, space: Space) -> u64 {
        self.free_bytes_min.unwrap_or((space.total / 20).max(FREE_BYTES_MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_leave_room_for_others() {
        const GB: u64 = 1_000_000_000;
        for (limit, total, free, used, expected) in [
            (None, 100, 50, 0, 10),
            (None, 1000, 500, 0, 20),
            (None, 5, 4, 0, 1),
            (Some(200), 1000, 500, 0, 200),
            // 5 % are 50 GB, less than which are free, so some must go.
            (None, 1000, 45, 10, 5),
            (None, 1000, 30, 10, 0),
            (None, 1000, 55, 0, 5),
            // A file system that is too small.
            (Some(20), 1, 1, 0, 0),
        ] {
            let limits = BlobLimits { bytes_max: limit.map(|limit| limit * GB), free_bytes_min: None };
            let space = Space { total: total * GB, free: free * GB, is_read_only: false };
            assert_eq!(limits.bytes_max(space, used * GB), expected * GB, "{total} {free} {used}");
        }
    }
}
