//! How much content has crossed the link, by what the link has counted.
//! Must never ask client or server: what they think they sent is what is to be found out.

use crate::wan::Counters;

/// What every packet takes beside content, in bytes: IP (20), UDP (8), QUIC's short header with a connection id of 8 and
/// a packet number of 2 (11), the tag (16), and a stream frame's type, id and offset (1, 2 and 4; its length is left out
/// where it ends the packet). A control pull, in which nothing goes wrong, shows how server_end off that is.
const HEADER_BYTES: u64 = 20 + 8 + 11 + 16 + 7;

/// Bytes of content that arrived between two counts. Packets without any are as long as their headers, nearly.
pub(super) fn payload_bytes(before: Counters, after: Counters) -> u64 {
    let delivered = after.delivered - before.delivered;
    delivered.bytes.saturating_sub(delivered.packets * HEADER_BYTES)
}
