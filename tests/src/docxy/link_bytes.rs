//! The content bytes that have crossed the link, from the link's counters.
//! Must never use what client or server count, as their counts are under test.

use crate::wan::Counters;

/// The bytes of each UDP packet beside content: IP (20), UDP (8), QUIC's short header with a connection id of 8 and a
/// packet number of 2 (11), the AEAD tag (16), and a stream frame's type, id and offset (1, 2 and 4; the length is
/// omitted at the end of a packet). A pull without a fault shows the error of this estimate.
const UDP_HEADER_BYTES: u64 = 20 + 8 + 11 + 16 + 7;

/// The bytes of each TCP packet beside content: IP (20), and TCP with timestamps (32).
const TCP_HEADER_BYTES: u64 = 20 + 32;

/// The bytes beside content in a full TLS record of 16 KiB: header, type and tag (22), and a frame's header (9).
const RECORD_HEADER_BYTES: u64 = 22 + 9;
const RECORD_BYTES: u64 = 16 * 1024;

/// Content bytes that arrived between two snapshots. A packet without content is about as long as its headers.
pub fn content_bytes(before: Counters, after: Counters) -> u64 {
    let tcp = after.delivered_tcp - before.delivered_tcp;
    let udp = after.delivered - before.delivered - tcp;
    let records = tcp.bytes.saturating_sub(tcp.packets * TCP_HEADER_BYTES);
    records - records / RECORD_BYTES * RECORD_HEADER_BYTES
        + udp.bytes.saturating_sub(udp.packets * UDP_HEADER_BYTES)
}
