//! The control stream of a session: the server's Welcome and its notices, and how the session ended.
//!
//! Must never decide what follows: the supervisor does.

use crate::status::counters::TunnelCounters;
use crate::tunnel::dial::protocol;
use crate::tunnel::leg::SessionLoss;
use crate::tunnel::reason::{LineCause, LineReason};
use crate::tunnel::session::Session;
use crate::tunnel::status::Refuser;
use docxy_protocol::control::{CloseCode, ControlMessage};
use docxy_protocol::version::upgrade_server;
use docxy_transport::{ReceiveStream, Session as Transport, SessionError};
use futures_util::poll;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

/// How long a server may take to respond to the Hello. On a path with a filter, the handshake may succeed and
/// nothing follows. A connection from another port may get through.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);

/// Waits until the server has accepted this client.
pub(in crate::tunnel) async fn read_welcome(
    control: &mut ReceiveStream,
    session: &Session,
    address: SocketAddr,
    counters: &TunnelCounters,
) -> Result<(), SessionEnd> {
    let transport = session.transport();
    match tokio::time::timeout(WELCOME_TIMEOUT, control.read_frame()).await {
        Ok(Ok(ControlMessage::Welcome(welcome))) => {
            counters.server_version.set(&welcome.version);
            tracing::info!(%address, leg = %transport.leg(), version = %welcome.version, "tunnel up");
            session.set_welcome(welcome, SystemTime::now());
            Ok(())
        }
        Ok(Ok(ControlMessage::Draining)) => Err(SessionEnd::NotAccepted(CloseCode::Draining.into())),
        Ok(Ok(ControlMessage::Sent { .. })) => Err(session_end(transport, SessionEnd::Failed).await),
        Ok(Err(_)) => Err(match session_end(transport, SessionEnd::Failed).await {
            SessionEnd::ServerEnded(reason) => SessionEnd::NotAccepted(reason),
            ended => ended,
        }),
        Err(_) => {
            transport.close(CloseCode::Done);
            let protocol = protocol(transport.leg());
            let reason =
                format_args!("{address}: handshake succeeded but no reply; {protocol} may be filtered");
            Err(SessionEnd::Failed(LineReason::new(LineCause::NoReply, reason)))
        }
    }
}

/// Reads the control stream until the session ends. Cancels `draining` when the server says that it drains, and calls
/// `begun` when what came with the Welcome is known: others would move to a server that drains and does not seem to.
pub(super) async fn watch_control_stream(
    mut control: ReceiveStream,
    session: &Session,
    draining: &CancellationToken,
    begun: impl FnOnce(),
) -> SessionEnd {
    let mut begun = Some(begun);
    loop {
        let mut message = pin!(control.read_frame());
        let message = match poll!(&mut message) {
            Poll::Ready(message) => message,
            Poll::Pending => {
                if let Some(begun) = begun.take() {
                    begun();
                }
                message.await
            }
        };
        match message {
            Ok(ControlMessage::Draining) => draining.cancel(),
            Ok(ControlMessage::Sent { packets, lost }) => session.set_sent(packets, lost),
            Ok(ControlMessage::Welcome(_)) | Err(_) => break,
        }
    }
    session_end(session.transport(), SessionEnd::Lost).await
}

/// How an attempt or a session ended.
pub(in crate::tunnel) enum SessionEnd {
    /// The session was up and is lost.
    Lost(LineReason),
    /// The session was up, and its server ends or has ended.
    ServerEnded(LineReason),
    /// The session never came up.
    Failed(LineReason),
    /// The session never came up, because the server shuts down.
    NotAccepted(LineReason),
    /// The server refuses this client. Only its operator can change that.
    Refused(LineReason),
    /// There was never a session, and only a person can change why.
    Hopeless(Refuser, LineReason),
    /// The server drains, and others serve this client.
    Left,
    /// Others serve this client, and this server is spare.
    Released,
}

impl SessionEnd {
    /// Why it ended.
    pub(in crate::tunnel) fn into_reason(self) -> LineReason {
        match self {
            Self::Lost(reason)
            | Self::ServerEnded(reason)
            | Self::Failed(reason)
            | Self::NotAccepted(reason)
            | Self::Refused(reason)
            | Self::Hopeless(_, reason) => reason,
            Self::Left | Self::Released => CloseCode::Done.into(),
        }
    }

    /// Whether the leg may be to blame.
    pub(super) const fn loss(&self) -> SessionLoss {
        match self {
            Self::Failed(_) => SessionLoss::Unanswered,
            Self::Lost(_) => SessionLoss::Broke,
            _ => SessionLoss::Ended,
        }
    }
}

/// The control stream ends only with the session, and the reason of that counts.
async fn session_end(transport: &Transport, otherwise: fn(LineReason) -> SessionEnd) -> SessionEnd {
    if transport.close_reason().is_none() {
        transport.close(CloseCode::ProtocolViolation);
    }
    let reason = transport.closed().await;
    match reason {
        // Only the server knows its version, and only this client its own.
        SessionError::ClosedByPeer { code: Some(code @ CloseCode::ClientOutdated), reason } => {
            SessionEnd::Refused(LineReason::new(code.into(), reason))
        }
        SessionError::ClosedByPeer { code: Some(code @ CloseCode::ServerOutdated), .. } => {
            SessionEnd::Refused(LineReason::new(code.into(), upgrade_server(env!("CARGO_PKG_VERSION"))))
        }
        SessionError::ClosedByPeer { code: Some(code), .. } if code.is_refusal() => {
            let remedy = "ask its operator for a new link, and join that";
            SessionEnd::Refused(LineReason::new(code.into(), format_args!("{}; {remedy}", code.reason())))
        }
        SessionError::ClosedByPeer { code: Some(code), .. } if code.is_shutdown() => {
            SessionEnd::ServerEnded(code.into())
        }
        SessionError::ClosedByPeer { code: Some(code), .. } => otherwise(code.into()),
        // The reason text of the server is part of this.
        reason => otherwise(LineReason::new(LineCause::from(&reason), reason)),
    }
}
