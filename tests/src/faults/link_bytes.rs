//! The content bytes that have crossed the link, from the link's counters.
//! Must never use what client or server count, as their counts are under test.

use crate::wan::Counters;

/// The bytes of each packet beside content: IP (20), UDP (8), QUIC's short header with a connection id of 8 and a
/// packet number of 2 (11), the AEAD tag (16), and a stream frame's type, id and offset (1, 2 and 4; the length is
/// omitted at the end of a packet). A pull without a fault shows the error of this estimate.
const HEADER_BYTES: u64 = 20 + 8 + 11 + 16 + 7;

/// Content bytes that arrived between two snapshots. A packet without content is about as long as its headers.
pub(super) fn payload_bytes(before: Counters, after: Counters) -> u64 {
    let delivered = after.delivered - before.delivered;
    delivered.bytes.saturating_sub(delivered.packets * HEADER_BYTES)
}
