//! The handshake and the Hello: who the client is, or why its connection is closed.
//!
//! Must never tell a stranger what only a client may learn.

use super::{ListenerContext, wait_until_told};
use crate::listener::unauthenticated::Slot;
use crate::state::{ClientList, ClientWatch};
use docxy_protocol::control::{CloseCode, Hello, HelloBeginning};
use docxy_protocol::limits::AUTHENTICATION_TIMEOUT;
use docxy_protocol::link::{ClientName, ClientSecret};
use docxy_protocol::text::clean;
use docxy_protocol::version::{PREAMBLE_BYTES, parse_preamble, upgrade_client};
use docxy_transport::{Incoming, SendStream, Session};
use std::fmt::Display;
use std::sync::Arc;
use tokio::sync::watch;

/// A connection whose client is authenticated.
pub(super) struct Authenticated {
    pub(super) session: Session,
    pub(super) hello: Hello,
    pub(super) control: SendStream,
    /// Reports each change of the clients after the one that this client was authenticated with.
    pub(super) clients: watch::Receiver<Arc<ClientList>>,
}

/// Why a connection has no authenticated client.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    /// Its client has a link of this server, and learns the reason.
    Client(CloseCode),
    /// It is from a client without a link of this server, as far as is known.
    Stranger(CloseCode),
}

impl Refusal {
    const fn code(self) -> CloseCode {
        match self {
            Self::Client(code) | Self::Stranger(code) => code,
        }
    }
}

/// Authenticates the client, or closes the connection: at the deadline for handshake and Hello, when a newer
/// connection evicts it, or when the server ends. `None` also if it begins no session.
pub(super) async fn authenticate_in_time(
    incoming: Incoming,
    slot: Slot,
    shared: &ListenerContext,
) -> Option<Authenticated> {
    let deadline = tokio::time::Instant::now() + AUTHENTICATION_TIMEOUT;
    let mut opened = None;
    let refusal = tokio::select! {
        authenticated = authenticate(incoming, shared, &mut opened) => match authenticated {
            Ok(authenticated) => return authenticated,
            Err(refusal) => refusal,
        },
        () = tokio::time::sleep_until(deadline) => Refusal::Stranger(CloseCode::AuthenticationTimeout),
        () = slot.evicted() => Refusal::Stranger(CloseCode::TooManyUnauthenticated),
        () = shared.hand_back.cancelled() => Refusal::Stranger(CloseCode::Draining),
    };
    match opened {
        Some(session) => {
            close_unauthenticated(&session, refusal, shared);
            // A leg may go on as what strangers see, within the same limits.
            tokio::select! {
                () = session.lingers() => {}
                () = tokio::time::sleep_until(deadline) => {}
                () = slot.evicted() => {}
                () = shared.hand_back.cancelled() => {}
            }
            if shared.hand_back.is_cancelled() {
                wait_until_told(&session).await;
            }
        }
        // A connection that is dropped in its handshake is closed.
        None => tracing::debug!(reason = refusal.code().reason(), "closing in the handshake"),
    }
    None
}

/// Does the handshake and checks the Hello. Puts the connection into `opened` after the handshake, so that
/// the caller can close it. `None` if it begins no session.
async fn authenticate(
    incoming: Incoming,
    shared: &ListenerContext,
    opened: &mut Option<Session>,
) -> Result<Option<Authenticated>, Refusal> {
    let accepted = incoming.accept().await.map_err(|error| {
        tracing::debug!(error = %clean(error), "handshake failed");
        Refusal::Stranger(CloseCode::ProtocolViolation)
    })?;
    let Some(session) = accepted else { return Ok(None) };
    *opened = Some(session.clone());
    let other_version = session.wire_version().and_then(CloseCode::for_version);
    other_version.map_or(Ok(()), |code| Err(Refusal::Stranger(code)))?;
    let clients = shared.clients.subscribe();
    let (hello, control) = read_hello(&session, &shared.clients).await?;
    tracing::Span::current().record("client", hello.name.to_string());
    check_credentials(&shared.clients, &hello.name, &hello.secret).await.map_err(|code| match code {
        CloseCode::UnknownClient => Refusal::Stranger(code),
        code => Refusal::Client(code),
    })?;
    Ok(Some(Authenticated { session, hello, control, clients }))
}

/// Authenticates the sender of a Hello.
async fn check_credentials(
    clients: &ClientWatch,
    name: &ClientName,
    secret: &ClientSecret,
) -> Result<(), CloseCode> {
    let book = clients.subscribe();
    let result = || book.borrow().authenticate(name, secret);
    match result() {
        // The client may have been invited a moment ago, and after a refusal it waits for a minute. The list may also have
        // been replaced since it was looked at.
        Err(CloseCode::UnknownClient) => {
            if clients.is_outdated() {
                clients.next_poll().await;
            }
            result()
        }
        other => other,
    }
}

/// Reads the Hello, which must be on the first stream.
async fn read_hello(session: &Session, clients: &ClientWatch) -> Result<(Hello, SendStream), Refusal> {
    let invalid = |error: &dyn Display| {
        tracing::debug!(error = %clean(error), "no Hello");
        Refusal::Stranger(CloseCode::ProtocolViolation)
    };
    let (send, mut receive) = session.accept().await.map_err(|error| invalid(&error))?;
    let mut preamble = [0; PREAMBLE_BYTES];
    receive.read_exact(&mut preamble).await.map_err(|error| invalid(&error))?;
    let version = parse_preamble(preamble).ok_or_else(|| invalid(&"no version"))?;
    if let Some(code) = CloseCode::for_version(version) {
        return Err(match receive.read_frame_beginning().await {
            Ok(HelloBeginning { name, secret }) => match check_credentials(clients, &name, &secret).await {
                Err(CloseCode::UnknownClient) => Refusal::Stranger(code),
                _ => Refusal::Client(code),
            },
            Err(_) => Refusal::Stranger(code),
        });
    }
    let hello = receive.read_frame().await.map_err(|error| invalid(&error))?;
    Ok((hello, send))
}

/// Closes the connection of an unauthenticated client. Its attempts must not fill the disk, so the log lines are limited.
fn close_unauthenticated(session: &Session, refusal: Refusal, shared: &ListenerContext) {
    let code = refusal.code();
    match code {
        // It has a link, most likely.
        CloseCode::ClientOutdated | CloseCode::ServerOutdated => shared.counters.version_refused(),
        _ => shared.counters.connection_refused(),
    }
    if let Some(suppressed) = shared.unauthenticated_log_limits.admit(code.reason()) {
        tracing::info!(reason = code.reason(), suppressed, "closing the connection");
    }
    let upgrade = upgrade_client(env!("CARGO_PKG_VERSION"));
    let text = if code == CloseCode::ClientOutdated { &upgrade } else { code.reason() };
    match refusal {
        Refusal::Client(code) => session.close_with(code, text),
        Refusal::Stranger(code) => session.refuse(code, text),
    }
}
