//! Why a session ended, and why a stream could not be written or read.

use docxy_protocol::control::CloseCode;
use docxy_protocol::fault::Fault;
use docxy_protocol::frame::FrameError;
use docxy_protocol::text::CleanText;
use std::error::Error;
use std::sync::Arc;

/// Why a session ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SessionError {
    /// The peer closed it.
    #[error("closed by peer: {reason}")]
    ClosedByPeer {
        /// The peer's code, if it is known here.
        code: Option<CloseCode>,
        /// The peer's text.
        reason: CleanText,
    },
    /// The server speaks no version of the wire that this side speaks.
    #[error("the server speaks another version of the tunnel")]
    NoCommonVersion,
    /// The server takes no new connections: it is shutting down.
    #[error("the server takes no new connections: it is shutting down or restarting")]
    NotAccepting,
    /// This side closed it.
    #[error("closed")]
    Closed,
    /// The leg failed.
    #[error(transparent)]
    Failed(Arc<dyn Error + Send + Sync>),
}

impl SessionError {
    /// The code with which the peer closed the session.
    #[must_use]
    pub const fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::ClosedByPeer { code, .. } => *code,
            Self::NoCommonVersion | Self::NotAccepting | Self::Closed | Self::Failed(_) => None,
        }
    }
}

/// Why something could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The peer has stopped reading this stream.
    #[error("the peer has stopped reading")]
    Stopped,
    /// The session has ended.
    #[error(transparent)]
    Lost(#[from] SessionError),
    /// What was to be sent is no valid frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The peer reset the stream. That may discard bytes that it sent before.
    #[error(transparent)]
    Reset(Fault),
    /// The session has ended.
    #[error(transparent)]
    Lost(#[from] SessionError),
    /// The stream ended before the bytes that were requested.
    #[error("the stream ended early")]
    Ended,
    /// The bytes are not such a frame, or end within it.
    #[error(transparent)]
    Frame(FrameError),
}
