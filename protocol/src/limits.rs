//! Every limit of the tunnel, each with its reason.
//!
//! A limit that both sides must agree on, or that bounds what an unauthenticated peer can cost, must
//! stand here and nowhere else. A server with less than 1 GiB of memory has a part of some of them: see its
//! `memory_limits`.

use std::time::Duration;

// ---- Frames and header fields

/// Bytes of a frame (the head of a request or reply), at most.
///
/// Registries accept header sections of 8 to 32 KiB, and a bearer token of Docker Hub has 2 to 5 KiB. This
/// is at least twice as much, and a peer cannot make us allocate more.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Field lines in one head, at most. Engines send about ten, registries and CDNs about thirty.
pub const FIELD_LINES_MAX: usize = 100;

/// Registries that a server serves, at most: their names, of 259 bytes at most, fit into the frame of its Welcome.
pub const SERVED_REGISTRIES_MAX: usize = 128;

// ---- Streams and flow control

/// Bytes of one segment of a large body.
///
/// Large enough that the cost of a stream (its frames and wake-ups) does not matter, and small enough that
/// a lost connection loses little. The QUIC stack closes a connection when the reassembly of a stream has 1024 gaps:
/// 512 KiB are 430 packets of 1200 bytes, and n packets have at most n/2 gaps between them. (Measured at
/// 200 ms and 5 % loss: with 256 KiB the first 12 s carry 82.5 instead of 82.9 % of 100 Mbit/s, and 76.3
/// instead of 78.6 % of 300 Mbit/s.)
pub const SEGMENT_BYTES: u32 = 512 * 1024;

/// Packets that a receiver may leave unacknowledged; it acknowledges the next one at once. One
/// acknowledgement for about ten packets saves work on both sides and bytes on the way back. A sender that
/// may send fewer packets waits for the receiver's timer.
pub const ACK_THRESHOLD: u32 = 10;

/// Bytes of one stream that the server may have in flight. A segment always fits, so only the number of
/// outstanding segments limits a large body.
pub const RESPONSE_STREAM_WINDOW: u32 = 1024 * 1024;

/// Bytes of one stream that a client may have in flight: one frame, since a client sends nothing else.
pub const REQUEST_STREAM_WINDOW: u32 = FRAME_BYTES_MAX as u32 + 4;

/// Bytes of all streams together that an authenticated client may have in flight. The server reads heads as
/// they arrive, so a larger window would only cost memory.
pub const AUTHENTICATED_RECEIVE_WINDOW: u32 = 4 * 1024 * 1024;

/// Bytes of all streams together that an unauthenticated client may have in flight: the Hello and a few
/// requests that follow it.
pub const UNAUTHENTICATED_RECEIVE_WINDOW: u32 = 2 * FRAME_BYTES_MAX as u32;

/// Bytes of large bodies that a client requests in advance, at least, over all bodies: two segments, so that one
/// is on its way while the other is requested.
pub const BULK_WINDOW_MIN: u64 = 2 * SEGMENT_BYTES as u64;

/// Bytes of large bodies that a client requests in advance while it knows nothing of the path's rate. They keep a
/// path busy for the round trips until it does, and are a few seconds of a slow line.
pub const BULK_WINDOW_INITIAL: u64 = 4 * 1024 * 1024;

/// Bytes of large bodies that a client requests in advance, at most: six bandwidth-delay products (see
/// [`crate::bulk_window`]) of 500 Mbit/s at 300 ms. An engine that stops reading can make a client buffer
/// this much on such a path, and the server no more than this.
pub const BULK_WINDOW_MAX: u64 = 108 * 1024 * 1024;

/// Segments that a client opens together with a blob's request, at most: a bandwidth-delay product of the
/// fastest path. It does not know the length yet. They cost a few bytes each if the blob turns out to be small.
pub const INITIAL_SEGMENTS_MAX: u32 = 40;

/// Bytes that a sender may hold unacknowledged for a whole connection: all that a client may have
/// requested, and room for small replies, which must never wait for the acknowledgement of large bodies.
pub const SEND_WINDOW: u64 = BULK_WINDOW_MAX + 16 * 1024 * 1024;

/// Segments that a server holds for sending, over all clients, at most: 80 MiB. A client alone gets half of them: five
/// bandwidth-delay products of 300 Mbit/s at 200 ms, and two of 500 Mbit/s at 300 ms. (Measured: with 128 MiB and
/// twice the read buffer of a connection to a registry, 2,000 streams of 12 clients took 293 MiB in all.)
pub const SEND_BUDGET_SEGMENTS: usize = 80 * 1024 * 1024 / SEGMENT_BYTES as usize;

// ---- One client

/// Blobs that a client fetches at the same time. Each uses one stream for the request and at least one for
/// a segment; a blob that waits for its turn must use neither: see [`STREAMS_PER_CLIENT_MAX`].
pub const BLOBS_PER_CLIENT_MAX: usize = 192;

/// Other requests of a client at the same time. They are short and never wait for blobs.
pub const SMALL_REQUESTS_PER_CLIENT_MAX: usize = 64;

/// Streams of one client at the same time: all its requests and segments, and a quarter more. The QUIC stack returns
/// the credit of ended streams in batches of an eighth, so a client that used nearly all of them could wait
/// forever for one more.
pub const STREAMS_PER_CLIENT_MAX: u32 = 1024;

/// Segment streams of one connection that may wait for their request, which was lost on the path and is sent
/// again, or comes over another connection. More are reset, the oldest first.
pub const EARLY_SEGMENTS_MAX: usize = 128;

/// Requests of one client that the server handles at the same time, over all its connections: as many as a
/// client sends at most. Each may use a registry connection, so without this limit one client could use up
/// the server's file descriptors.
pub const EXCHANGES_PER_CLIENT_MAX: usize = BLOBS_PER_CLIENT_MAX + SMALL_REQUESTS_PER_CLIENT_MAX;

/// Bytes that a client may send to have as many sent back. Filters let the handshake and the first 15 to 20 KB of a TCP
/// connection pass, or the first 64 KiB of a UDP flow, so less would show nothing.
pub const ECHO_BYTES_MAX: usize = 64 * 1024;

/// Time for the server to receive them all: 64 KiB at 10 kbit/s.
pub const ECHO_TIMEOUT: Duration = Duration::from_secs(60);

/// Connections of one client at the same time. A link may be used on several machines, and a client that
/// changes its network leaves connections that end only at the idle timeout. The server keeps the newest.
pub const CONNECTIONS_PER_CLIENT_MAX: usize = 8;

/// TCP connections of one user to one server at the same time, by all programs of that user: some filters count them.
pub const TCP_CONNECTIONS_PER_SERVER_MAX: usize = 6;

// ---- Unauthenticated peers

/// Streams that an unauthenticated client may open: the Hello, and requests and segments that follow it
/// without waiting. The QUIC stack uses 84 bytes for each stream that may be opened, so this bounds the cost of a
/// half-open connection. A client that continues a pull with more than 60 MiB in flight opens the rest one
/// round trip later, while these are sent.
pub const UNAUTHENTICATED_STREAMS_MAX: u32 = 128;

/// Unauthenticated connections above which the server answers a new one with a Retry packet (RFC 9000,
/// section 8.1.2), before it spends a handshake on it. A restarted server gets connections from all its
/// clients at once: more than a small server has, and fewer than would harm one.
pub const UNAUTHENTICATED_CONNECTIONS_BEFORE_RETRY: usize = 256;

/// Unauthenticated connections at the same time. Anybody can open one, and each costs up to 260 KiB: the
/// state of TLS and QUIC, and [`UNAUTHENTICATED_RECEIVE_WINDOW`].
pub const UNAUTHENTICATED_CONNECTIONS_MAX: usize = 1024;

/// Unauthenticated connections of one network (a /24 of IPv4, a /48 of IPv6) at the same time: as many as a
/// restarted server of 500 clients gets from one address if all of them share a gateway.
pub const UNAUTHENTICATED_CONNECTIONS_PER_NETWORK_MAX: usize = UNAUTHENTICATED_CONNECTIONS_MAX / 2;

/// Time from a stream's start to its whole first frame. A frame is one or two packets; on a path that loses
/// every second packet, it arrives within a few probe timeouts.
pub const STREAM_HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Time from a connection's start until its client is authenticated: handshake and Hello, three round
/// trips. At 300 ms and with every second packet lost, they take a few seconds.
pub const AUTHENTICATION_TIMEOUT: Duration = Duration::from_secs(10);

// ---- The connection

/// Time without packets after which a connection is lost. Pings (see [`KEEP_ALIVE_INTERVAL`]) keep it open
/// otherwise. It must be longer than the longest outage that is worth surviving without a reconnect.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Time between pings of a client that receives nothing. They tell the server the address of a client that
/// moved, and an unacknowledged ping tells the client that the path is dead: both within seconds. NAT
/// bindings for UDP last 15 s and more.
///
/// It is also the time after which an idle client notices that the server was restarted, and all clients
/// must be connected again within 3 s: the rest is for the reset and a handshake at 300 ms. Pings each
/// second would leave one second more and double the idle traffic: 60 bytes in each direction per ping are
/// 2.6 MB a day per client, and 40 GB a month on a server with 500 clients.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);

/// Time that a draining server gives running exchanges to finish, before it hands back what is left.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Time that a server waits at its end until its clients have confirmed that it closed their sessions. One and a half
/// round trips of 300 ms, for a close that is lost and sent again. The next process cannot listen earlier, and clients
/// wait for it.
pub const CLOSE_CONFIRMATION_TIMEOUT: Duration = Duration::from_millis(500);

// ---- Registries, token services and CDNs

/// Requests of all clients together that the server sends to registries at the same time: the default limit
/// of 1024 file descriptors, less those that the server needs itself. A client may use no more than are
/// left for the others.
pub const UPSTREAM_REQUESTS_MAX: usize = 768;

/// Time for a registry, its token service or a CDN to accept a connection.
pub const UPSTREAM_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for an upstream response's header section if no engine waits for it. A host that is silent for longer
/// is probably broken.
pub const UPSTREAM_HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Time for the response head of a request whose engine has no limit of its own, at most. A blob in cold
/// storage, and one that a pull-through registry must fetch first, take a minute or two. A request that waits
/// holds a connection and a permit, so a hostile registry can hold them for this long.
pub const PATIENCE_MAX: Duration = Duration::from_secs(300);

/// The server answers so long before the client's patience ends: its fault, which names the slow hop, needs
/// half a round trip, and a retransmission if it is lost.
pub const PATIENCE_MARGIN: Duration = Duration::from_secs(1);

/// Time for the server to answer `/v2/` or a token request. Engines give up after 15 s, and our own error,
/// which names the hop that failed, helps more than their timeout.
pub const PING_AND_TOKEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Time without bytes after which an upstream body counts as broken and is requested again. Shorter than
/// the timeout of any engine, and longer than a CDN needs to fetch a blob that it has not cached. A body that
/// moves may take longer in all: a manifest as long as the patience of its engine.
pub const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// Redirects that the server follows for one request. Docker Hub needs one, some registries two; engines follow
/// ten at most, as all clients written in Go.
pub const REDIRECTS_MAX: usize = 10;

/// Bytes of an error's body, which is read whole.
pub const SMALL_BODY_BYTES_MAX: usize = 256 * 1024;

/// Bytes of a token: four times the longest that registries are known to issue. It must fit into a
/// request's head, and the server caches many.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a token service's response: a token under both of its names, a refresh token, and the JSON
/// around them.
pub const TOKEN_RESPONSE_BYTES_MAX: usize = 4 * TOKEN_BYTES_MAX;

/// Bytes of a manifest: what the distribution spec requires registries to accept ("Pushing Manifests").
pub const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of stored manifests that a server keeps in memory, at most: about 1,000 of usual size.
pub const STORED_MANIFEST_BYTES_MAX: usize = 8 * 1024 * 1024;

// ---- Prefetch

/// Bytes of a manifest whose children may be [prefetched](crate::prefetch). The time to parse it grows with
/// its size and delays other requests: this much takes a millisecond. It is the manifest of an image with
/// 2,000 layers; engines allow 127.
pub const PREFETCH_MANIFEST_BYTES_MAX: usize = 256 * 1024;

/// Bytes of a [prefetched](crate::prefetch) blob: a config, or a layer that takes longer to request than to
/// send.
pub const PREFETCH_BLOB_BYTES_MAX: usize = 64 * 1024;

/// Items that may follow one response. Index, manifest and config are three; the others are small layers.
pub const PREFETCH_ITEMS_MAX: usize = 32;

/// Bytes of all items that follow one response: any one manifest fits, and a client that uses none of them
/// has lost a third of a second at 100 Mbit/s.
pub const PREFETCH_BYTES_MAX: usize = MANIFEST_BYTES_MAX;

// ---- Engines

/// Time for an engine to send a request's header section.
pub const ENGINE_HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a form that an engine posts to the token endpoint.
pub const TOKEN_FORM_BYTES_MAX: usize = 64 * 1024;

/// Connections of engines at the same time. dockerd opens about five for a pull, containerd up to twelve,
/// and a process may have 1024 file descriptors. When all are in use, a new one replaces the one that has
/// waited longest for its engine's next request.
pub const ENGINE_CONNECTIONS_MAX: usize = 768;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_at_its_limits_leaves_an_eighth_of_its_streams_free() {
        let segments = BULK_WINDOW_MAX.div_ceil(u64::from(SEGMENT_BYTES)) as usize + BLOBS_PER_CLIENT_MAX;
        let control = 1;
        let early = EARLY_SEGMENTS_MAX;
        let used = control + EXCHANGES_PER_CLIENT_MAX + segments + INITIAL_SEGMENTS_MAX as usize + early;
        let usable = STREAMS_PER_CLIENT_MAX as usize * 7 / 8;
        assert!(used < usable, "{used} of {usable}");
    }
}
