//! Every bound of the tunnel, each with its reason.
//!
//! A limit that both sides must agree on, or that bounds what a stranger can cost us, lives here
//! and nowhere else.

use std::time::Duration;

/// Most bytes of one frame (a request's or a reply's head).
///
/// Registries accept header blocks of 8–32 KiB, and a bearer token of Docker Hub is 2–5 KiB; four
/// times the largest common block leaves room without letting a peer make us allocate much.
pub const FRAME_MAX: usize = 64 * 1024;

/// Most header lines in one head. Engines send about ten, registries and CDNs about thirty.
pub const FIELD_LINES_MAX: usize = 100;

/// Bytes of one segment of a large body.
///
/// Big enough that a stream's own cost (its frames, its wake-ups) vanishes, small enough that a
/// lost connection costs little, and far below the length at which quinn's reassembly could meet
/// its limit of 1024 gaps: half a MiB is 430 packets of 1200 bytes, and n packets have at most
/// n/2 gaps between them. (Measured at 200 ms and 5 % loss: with half of it the first 12 s carry 82.5
/// instead of 82.9 % of 100 Mbit/s, and 76.3 instead of 78.6 % of 300.)
pub const SEGMENT_SIZE: u32 = 512 * 1024;

/// Packets that may wait for an acknowledgement: the next has one sent at once. One for about ten is less work
/// for both ends and for the way back; who may send fewer waits for the receiver's timer.
pub const ACK_THRESHOLD: u32 = 10;

/// Bytes that the server may have under way on one stream: a segment always fits, so that the
/// outstanding segments are the only window of a large body.
pub const RESPONSE_STREAM_WINDOW: u32 = 1024 * 1024;

/// Bytes that a client may have under way on one stream. It sends heads and nothing else.
pub const REQUEST_STREAM_WINDOW: u32 = FRAME_MAX as u32 + 4;

/// Bytes that a client may have under way on all streams together: heads are read as they come,
/// so more would only be memory for a client that sends what nobody reads.
pub const AUTHENTICATED_RECEIVE_WINDOW: u32 = 4 * 1024 * 1024;

/// The same for a connection whose Hello has not been accepted yet: the Hello and a few requests
/// behind it.
pub const UNAUTHENTICATED_RECEIVE_WINDOW: u32 = 2 * FRAME_MAX as u32;

/// Bytes of large bodies that a client asks for ahead at least, all together. What a line carries is
/// known two round trips after it was sent, in which a start grows fivefold and lost packets hold the
/// reader up: with less, the start of a fat line waited for its reader. (Measured at 300 Mbit/s, 200 ms
/// and 5 % loss: with 4 MiB the first 12 s carried six points less.)
pub const BULK_WINDOW_MIN: u64 = 16 * 1024 * 1024;

/// And at most: six bandwidth-delay products (see [`crate::bulk_window`]) of 500 Mbit/s at 300 ms. It is
/// what an engine that stops reading can make a client hold on such a line, and the server no more
/// than that.
pub const BULK_WINDOW_MAX: u64 = 108 * 1024 * 1024;

/// Segments opened together with a blob's request at least, before its length is known: enough to
/// keep the line busy for the round trip until the client has seen the length. They cost a few bytes
/// each if the blob turns out to be small.
pub const INITIAL_SEGMENTS_MIN: u32 = 8;

/// And at most: a bandwidth-delay product of the fattest line.
pub const INITIAL_SEGMENTS_MAX: u32 = 40;

/// Bytes written but not yet acknowledged that a sender may hold for a whole connection: all that
/// a client may have asked for, and enough besides for small replies, which must never wait until
/// bulk has been acknowledged.
pub const SEND_WINDOW: u64 = BULK_WINDOW_MAX + 16 * 1024 * 1024;

/// Blobs that a client fetches at a time. Each holds a request's stream and at least one segment's,
/// and what waits for its turn must not hold either: see [`STREAMS_PER_CLIENT_MAX`].
pub const BLOBS_PER_CLIENT_MAX: usize = 192;

/// Other requests of a client at a time. They take a moment each and never wait for blobs.
pub const SMALL_REQUESTS_PER_CLIENT_MAX: usize = 64;

/// Streams of one client at a time: what its requests and segments can add up to, and a quarter
/// more. quinn gives back the credit of ended streams in lots of an eighth, so a client that held
/// nearly all of them could wait for ever for one more.
pub const STREAMS_PER_CLIENT_MAX: u32 = 1024;

/// Streams that a connection may open before its client is authenticated: the Hello, and requests and
/// segments that follow it without waiting. quinn keeps 84 bytes for each stream that may be opened, so
/// this bounds what a half-open connection costs; a client that goes on with a pull of more than 60 MiB
/// under way opens the rest a round trip later, while those are sent.
pub const UNAUTHENTICATED_STREAMS_MAX: u32 = 128;

/// Requests of one client that the server works on at a time, over all its connections: what a
/// client asks for at most. Each may hold a registry connection, so this keeps one client from using
/// up the server's descriptors.
pub const EXCHANGES_PER_CLIENT_MAX: usize = BLOBS_PER_CLIENT_MAX + SMALL_REQUESTS_PER_CLIENT_MAX;

/// Connections of one client at a time: a link that is used in a few places, and the connections
/// that a client on the move leaves behind until they are found dead. The newest are kept.
pub const CONNECTIONS_PER_CLIENT_MAX: usize = 8;

/// Connections without an authenticated client from which on a new one must prove its address before
/// it costs a handshake. A server that is restarted meets all of its clients at once; more than a
/// small server has, and fewer than would hurt one.
pub const UNAUTHENTICATED_CONNECTIONS_BEFORE_RETRY: usize = 256;

/// Connections without an authenticated client at most. Anybody can open one, and each costs up to
/// 260 KiB: what TLS and QUIC need, and [`UNAUTHENTICATED_RECEIVE_WINDOW`].
pub const UNAUTHENTICATED_CONNECTIONS_MAX: usize = 1024;

/// The same for one network (a /24 of IPv4, a /48 of IPv6): as many as a server of 500 clients meets
/// from one address when it is restarted and all of them are behind the same gateway.
pub const UNAUTHENTICATED_CONNECTIONS_PER_NETWORK_MAX: usize = UNAUTHENTICATED_CONNECTIONS_MAX / 2;

/// Requests of all clients together for which the server talks to registries at a time: the
/// default limit of 1024 descriptors less what the server needs for itself. No client may hold more
/// of them than are left for the others.
pub const UPSTREAM_REQUESTS_MAX: usize = 768;

/// How long a stream may take to say what it is for. A head is one or two packets; on a line that
/// loses every second one that is still done within a few probe timeouts.
pub const STREAM_HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may take until its client is authenticated: the handshake and the `Hello`
/// together. Three round trips; with 300 ms and every second packet lost they take a few seconds.
pub const AUTHENTICATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Silence after which a connection is dead. Pings (see [`KEEP_ALIVE_INTERVAL`]) keep a living one from
/// ever reaching it; it also has to outlast the longest blackout worth bridging without a redial.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Time between pings of the client when nothing comes. A server keeps sending to an old address
/// until it hears from a client that moved, and a path that is dead is known by a ping that isn't
/// acknowledged: both within seconds. NAT bindings for UDP live for 15 s and more.
///
/// It is also how long an idle client of a server that was restarted may go without being told, and
/// all of them are to be back within 3 s: the rest is for the reset and a handshake at 300 ms. Pings
/// every second would leave a second more, and double what idleness costs: 60 bytes each way a ping
/// are 2.6 MB a day for each client, and for 500 of them on one server 40 GB a month.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);

/// How long the server waits for a registry, its token service or a CDN to accept a connection.
pub const UPSTREAM_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the server waits for an answer's head from upstream. Manifests that a registry has to
/// fetch from cold storage take a few seconds; `dockerd` gives tokens 15 s in all.
pub const UPSTREAM_HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the server works on `/v2/` or on a token: engines give up after 15 s, and an answer
/// of ours that names the culprit is worth more than their time-out.
pub const AUTH_PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an upstream body may be silent before it counts as broken and is asked for again.
/// Shorter than the patience of any engine, and longer than a CDN needs to fetch what it hasn't got.
pub const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// Most redirects that the server follows for one request. Docker Hub needs one, some registries
/// two.
pub const REDIRECTS_MAX: usize = 5;

/// Most bytes of an upstream error's body, which is read whole.
pub const SMALL_BODY_MAX: usize = 256 * 1024;

/// Most bytes of a token: four times the longest that registries are known to issue. It has to fit into a
/// request's head, and the server keeps many.
pub const TOKEN_MAX: usize = 16 * 1024;

/// Most bytes of a token service's answer: a token under either of its names, a refresh token, and what
/// stands between them.
pub const TOKEN_RESPONSE_MAX: usize = 4 * TOKEN_MAX;

/// Most bytes of a manifest: what the distribution spec makes registries accept ("Pushing
/// Manifests").
pub const MANIFEST_MAX: usize = 4 * 1024 * 1024;

/// Most bytes of a manifest whose parts may come [ahead](crate::prefetch). Reading one takes time in
/// proportion, and whoever reads it has others to serve: this much is done in a millisecond. It is
/// the manifest of an image of 2,000 layers, where engines stop at 127.
pub const PREFETCH_MANIFEST_MAX: usize = 256 * 1024;

/// Most bytes of a blob that comes [ahead](crate::prefetch): a config, or a layer that takes longer to
/// ask for than to send.
pub const PREFETCH_BLOB_MAX: usize = 64 * 1024;

/// Most items that come ahead behind one answer. Index, manifest and config are three; the others
/// are tiny layers.
pub const PREFETCH_ITEMS_MAX: usize = 32;

/// Most bytes of them together: any one manifest fits, and a client that keeps none of it has lost
/// a third of a second on a line of 100 Mbit/s.
pub const PREFETCH_BYTES_MAX: usize = MANIFEST_MAX;

/// How long a draining server lets running exchanges finish.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an engine may take to send a request's head.
pub const ENGINE_HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Most bytes of a form that an engine posts to the token endpoint.
pub const TOKEN_FORM_MAX: usize = 64 * 1024;

/// Connections of engines at a time. dockerd opens a handful per pull, containerd up to a dozen,
/// and a process may have 1024 descriptors. Beyond them, the one that has waited longest for its engine to
/// say something makes room.
pub const ENGINE_CONNECTIONS_MAX: usize = 768;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_may_have_under_way_leaves_an_eighth_of_its_streams_free() {
        let segments = BULK_WINDOW_MAX.div_ceil(u64::from(SEGMENT_SIZE)) as usize + BLOBS_PER_CLIENT_MAX;
        let control = 1;
        let most = control + EXCHANGES_PER_CLIENT_MAX + segments + INITIAL_SEGMENTS_MAX as usize;
        let usable = STREAMS_PER_CLIENT_MAX as usize * 7 / 8;
        assert!(most < usable, "{most} of {usable}");
    }
}
