//! The command's end: finds a running client, and sends it calls.
//!
//! Must never take an end without a message for the end of a body: the running client may have been killed.

use super::{Call, Message, Operation, PATH, SILENCE_TIMEOUT, VERSION, VERSION_FIELD};
use crate::exchange::ExchangeError;
use crate::settings::GivenSettings;
use bytes::{Bytes, BytesMut};
use docxy_host::private_socket;
use docxy_protocol::frame;
use docxy_protocol::request::Request;
use futures_util::stream::TryStreamExt as _;
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;
use tokio_util::io::StreamReader;
use tokio_util::task::AbortOnDropHandle;

/// How long a running client may take to accept a call. One that is stopped, or has too much to do, is not worth a wait.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(5);

/// The message does not belong there: an implementation error of the other end.
const UNEXPECTED: &str = "it sent an unexpected message";

/// A running client of this user.
#[derive(Debug)]
pub(crate) struct RunningClient {
    socket: PathBuf,
    settings: GivenSettings,
}

/// The body of a response, as the running client passes it on.
pub(crate) struct LocalBody(Pin<Box<dyn AsyncRead + Send>>);

/// Why a call has no further message.
#[derive(Debug, thiserror::Error)]
#[error("the docxy-client that served it has ended, or does not respond")]
struct Lost(#[source] Box<dyn Error + Send + Sync>);

impl RunningClient {
    /// The first client at one of these sockets that has these settings.
    pub(crate) async fn find(sockets: Vec<PathBuf>, settings: GivenSettings) -> Option<Self> {
        for socket in sockets {
            let running = Self { socket, settings: settings.clone() };
            match running.call(Operation::Check).await {
                Ok(_) => return Some(running),
                Err(reason) => {
                    tracing::debug!(socket = %running.socket.display(), %reason, "no running client to use");
                }
            }
        }
        None
    }

    /// The registry's response to a request.
    ///
    /// # Errors
    /// [`ExchangeError::SessionLost`] if the running client has ended. Any other error is final: it has tried again itself.
    pub(crate) async fn send(&self, request: Request) -> Result<Response<LocalBody>, ExchangeError> {
        let mut body = self.call(Operation::Send(request)).await.map_err(lost)?;
        match body.message().await.map_err(lost)? {
            Message::Head { status, headers } => {
                let mut response = Response::new(body);
                *response.status_mut() = StatusCode::from_u16(status).map_err(lost)?;
                *response.headers_mut() = headers.into();
                Ok(response)
            }
            Message::Fault(fault) => Err(fault.into()),
            _ => Err(lost(UNEXPECTED)),
        }
    }

    /// These bytes of the blob that the request is for.
    ///
    /// # Errors
    /// [`ExchangeError::SessionLost`] if the running client has ended.
    pub(crate) async fn blob(&self, request: Request, bytes: Range<u64>) -> Result<LocalBody, ExchangeError> {
        self.call(Operation::Blob(request, bytes)).await.map_err(lost)
    }

    async fn call(&self, operation: Operation) -> io::Result<LocalBody> {
        let call = Call { settings: self.settings.clone(), operation };
        let call = frame::encode(&call).map_err(io::Error::other)?;
        timeout(ACCEPT_TIMEOUT, self.post(call)).await?
    }

    async fn post(&self, call: Vec<u8>) -> io::Result<LocalBody> {
        let stream = private_socket::connect(&self.socket).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let request = http::Request::post(PATH)
            .header(header::HOST, "localhost")
            .header(VERSION_FIELD, VERSION)
            .body(Full::new(Bytes::from(call)))
            .map_err(io::Error::other)?;
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        if response.status() != StatusCode::OK {
            return Err(io::Error::other(format!("it responded {}", response.status())));
        }
        let body = response.into_body().into_data_stream().map_err(move |error| {
            let _connection = &connection;
            io::Error::other(error)
        });
        Ok(LocalBody(Box::pin(StreamReader::new(body))))
    }
}

impl LocalBody {
    /// The next bytes, `None` at the end of a complete body. Calls `waits` with the reason if the body waits, and with `None`
    /// if it continues.
    ///
    /// # Errors
    /// As [`RunningClient::send`].
    pub(crate) async fn next(
        &mut self,
        waits: impl Fn(Option<String>),
    ) -> Result<Option<Bytes>, ExchangeError> {
        loop {
            match self.message().await.map_err(lost)? {
                Message::Bytes(count) => return self.bytes(count).await.map(Some).map_err(lost),
                Message::Waits(reason) => waits(reason),
                Message::End => return Ok(None),
                Message::Fault(fault) => return Err(fault.into()),
                _ => return Err(lost(UNEXPECTED)),
            }
        }
    }

    /// The next message that says something.
    async fn message(&mut self) -> Result<Message, Box<dyn Error + Send + Sync>> {
        loop {
            match timeout(SILENCE_TIMEOUT, frame::read(&mut self.0)).await?? {
                Message::Alive => {}
                message => return Ok(message),
            }
        }
    }

    async fn bytes(&mut self, count: u32) -> io::Result<Bytes> {
        let mut bytes = BytesMut::new();
        let mut rest = (&mut self.0).take(count.into());
        while timeout(SILENCE_TIMEOUT, rest.read_buf(&mut bytes)).await?? > 0 {}
        if bytes.len() < count as usize {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(bytes.freeze())
        }
    }
}

/// As an engine's transfer loses its session: the rest can be requested elsewhere.
fn lost(cause: impl Into<Box<dyn Error + Send + Sync>>) -> ExchangeError {
    ExchangeError::lost(Lost(cause.into()))
}
