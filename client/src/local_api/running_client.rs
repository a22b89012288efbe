//! The command's end: finds a running client, and sends it calls.
//!
//! Must never take an end without a message for the end of a body: the running client may have been killed.

use super::{
    CacheCall, CacheMessage, Call, Message, Operation, PATH, SILENCE_TIMEOUT, VERSION, VERSION_FIELD,
};
use crate::exchange::ExchangeError;
use crate::images::warm::{WarmImage, WarmMessage};
use crate::settings::GivenSettings;
use bytes::{Bytes, BytesMut};
use docxy_host::net::private_socket;
use docxy_protocol::frame;
use docxy_protocol::name::Registry;
use docxy_protocol::request::Request;
use futures_util::stream::TryStreamExt as _;
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use std::fmt::Display;
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
    /// Whether the command has a link of its own.
    has_link: bool,
}

/// The body of a response, as the running client passes it on.
pub(crate) struct LocalBody(Pin<Box<dyn AsyncRead + Send>>);

impl RunningClient {
    /// The first client at one of these sockets that has these settings, for a command that has a link of its own, or none.
    pub(crate) async fn find(sockets: Vec<PathBuf>, settings: GivenSettings, has_link: bool) -> Option<Self> {
        for socket in sockets {
            let running = Self { socket, settings: settings.clone(), has_link };
            match running.call(Operation::Check).await {
                Ok(_) => return Some(running),
                Err(reason) => {
                    tracing::debug!(socket = %running.socket.display(), %reason, "no running client to use");
                }
            }
        }
        None
    }

    /// The registries that its servers serve; none if it is not connected.
    ///
    /// # Errors
    /// [`ExchangeError::RunningClientLost`] if the running client has ended.
    pub(crate) async fn registries(&self) -> Result<Vec<Registry>, ExchangeError> {
        match self.call(Operation::Registries).await.map_err(lost)?.message(drop).await? {
            Message::Registries(registries) => Ok(registries),
            _ => Err(lost(UNEXPECTED)),
        }
    }

    /// The registry's response to a request. Calls `waits` with the reason if it waits, and with `None` if it continues.
    ///
    /// # Errors
    /// [`ExchangeError::RunningClientLost`] if the running client has ended. Any other error is final: it has tried again
    /// itself.
    pub(crate) async fn send(
        &self,
        request: Request,
        waits: impl Fn(Option<String>),
    ) -> Result<Response<LocalBody>, ExchangeError> {
        let mut body = self.call(Operation::Send(request)).await.map_err(lost)?;
        match body.message(waits).await? {
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
    /// [`ExchangeError::RunningClientLost`] if the running client has ended.
    pub(crate) async fn blob(&self, request: Request, bytes: Range<u64>) -> Result<LocalBody, ExchangeError> {
        self.call(Operation::Blob(request, bytes)).await.map_err(lost)
    }

    /// Does something with the blobs on the disk. Calls `tell` with each part of the answer.
    ///
    /// # Errors
    /// [`ExchangeError::RunningClientLost`] if the running client has ended.
    pub(crate) async fn cache(
        &self,
        call: CacheCall,
        mut tell: impl FnMut(CacheMessage),
    ) -> Result<(), ExchangeError> {
        let mut body = self.call(Operation::Cache(call)).await.map_err(lost)?;
        loop {
            match body.message(drop).await? {
                Message::Cache(message) => tell(message),
                Message::End => return Ok(()),
                _ => return Err(lost(UNEXPECTED)),
            }
        }
    }

    /// Brings an image to its disk. Calls `tell` with what happens.
    ///
    /// # Errors
    /// [`ExchangeError::RunningClientLost`] if the running client has ended.
    pub(crate) async fn warm(
        &self,
        image: WarmImage,
        mut tell: impl FnMut(WarmMessage),
    ) -> Result<(), ExchangeError> {
        let mut body = self.call(Operation::Warm(image)).await.map_err(lost)?;
        loop {
            match body.message(drop).await? {
                Message::Warm(message) => tell(message),
                Message::End => return Ok(()),
                _ => return Err(lost(UNEXPECTED)),
            }
        }
    }

    async fn call(&self, operation: Operation) -> io::Result<LocalBody> {
        let call = Call { settings: self.settings.clone(), has_link: self.has_link, operation };
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
        match self.message(waits).await? {
            Message::Bytes(count) => self.bytes(count).await.map(Some).map_err(lost),
            Message::End => Ok(None),
            Message::Fault(fault) => Err(fault.into()),
            _ => Err(lost(UNEXPECTED)),
        }
    }

    /// The next message that does not only say that the response waits.
    async fn message(&mut self, waits: impl Fn(Option<String>)) -> Result<Message, ExchangeError> {
        loop {
            let read = timeout(SILENCE_TIMEOUT, frame::read(&mut self.0)).await.map_err(lost)?;
            match read.map_err(lost)? {
                Message::Alive => {}
                Message::Waits(reason) => waits(reason),
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
fn lost(cause: impl Display) -> ExchangeError {
    tracing::info!(%cause, "the running client is lost");
    ExchangeError::RunningClientLost
}
