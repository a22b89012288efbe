//! The HTTP/2 settings of client and server, each with its reason.

use docxy_protocol::limits::{RESPONSE_STREAM_WINDOW, STREAMS_PER_CLIENT_MAX, UNAUTHENTICATED_STREAMS_MAX};
use h2::{client, server};

/// Bytes of a DATA frame: with larger ones, small responses wait longer for their turn, and bulk is not faster.
pub(super) const FRAME_BYTES: usize = 16 * 1024;

/// Bytes that h2 holds for sending. It sends its streams in turn, so what it holds has lost its order: see
/// [`super::outbox`].
pub(super) const BATCH_BYTES: usize = 64 * 1024;

/// Bytes of all responses together that the server may have in flight: more than all streams of a client can use. So
/// each stream's window is the only one, and an engine that stops reading blocks no other.
const CONNECTION_WINDOW: u32 = STREAMS_PER_CLIENT_MAX * RESPONSE_STREAM_WINDOW;

/// Streams whose end the peer may not know yet. h2 ends the connection when more are reset within a moment, which it
/// takes for an attack; a client that cancels its pulls resets all that it has.
const RESET_STREAMS_MAX: usize = 2 * STREAMS_PER_CLIENT_MAX as usize;

/// Bytes of overhead of small frames that were received and not read: h2 counts 256 for each. Every stream of a
/// client may end with a small one.
const SMALL_FRAMES_BUDGET: usize = 512 * STREAMS_PER_CLIENT_MAX as usize;

pub(super) fn client() -> client::Builder {
    let mut builder = client::Builder::new();
    builder
        .initial_window_size(RESPONSE_STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_BYTES as u32)
        .enable_push(false)
        // Until the server has said how many streams it takes.
        .initial_max_send_streams(UNAUTHENTICATED_STREAMS_MAX as usize)
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .max_local_error_reset_streams(Some(RESET_STREAMS_MAX))
        .max_send_buffer_size(BATCH_BYTES);
    builder
}

/// The windows are HTTP/2's defaults, as most web servers have them: less than a Hello and a few requests need. The
/// server reads the Hello as it arrives, and raises the connection's window when it has accepted it.
pub(super) fn server() -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .max_frame_size(FRAME_BYTES as u32)
        // h2 cannot change it later. The driver ends a connection that has too many before its Hello is accepted.
        .max_concurrent_streams(STREAMS_PER_CLIENT_MAX)
        .max_header_list_size(FRAME_BYTES as u32)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .data_frame_budget(SMALL_FRAMES_BUDGET)
        .max_send_buffer_size(BATCH_BYTES);
    builder
}
