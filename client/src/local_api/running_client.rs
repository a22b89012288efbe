//! The command's end: finds a running client, and sends it calls.
//!
//! Must never take an end without a message for the end of a body: the running client may have been killed.

use super::{Call, Message, Operation, PATH, SILENCE_TIMEOUT, VERSION, VERSION_FIELD};
use crate::gateway::TransferEvent;
use crate::settings::GivenSettings;
use bytes::{Bytes, BytesMut};
use docxy_host::private_socket;
use docxy_protocol::fault::Fault;
use docxy_protocol::frame;
use docxy_protocol::limits::MANIFEST_BYTES_MAX;
use docxy_protocol::request::Request;
use futures_util::stream::{BoxStream, Stream, StreamExt as _, TryStreamExt as _, try_unfold};
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{error::Elapsed, timeout};
use tokio_util::io::StreamReader;
use tokio_util::task::AbortOnDropHandle;

/// How long a running client may take to accept a call. One that is stopped, or has too much to do, is not worth a wait.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(5);

/// A body, up to the first event after [`MANIFEST_BYTES_MAX`] bytes: whoever asks refuses more.
pub(crate) async fn manifest_bytes<E>(
    events: impl Stream<Item = Result<TransferEvent, E>>,
) -> Result<Bytes, E> {
    let (mut bytes, mut events) = (BytesMut::new(), pin!(events));
    while bytes.len() <= MANIFEST_BYTES_MAX
        && let Some(event) = events.try_next().await?
    {
        if let TransferEvent::Bytes(chunk) = event {
            bytes.extend_from_slice(&chunk);
        }
    }
    Ok(bytes.freeze())
}

/// A running client of this user.
#[derive(Debug)]
pub(crate) struct RunningClient {
    socket: PathBuf,
    settings: GivenSettings,
}

/// Why a body ended early.
#[derive(Debug)]
pub(crate) enum Interruption {
    /// A hop failed for good.
    Fault(Fault),
    /// The running client ended, or does not respond any more.
    Lost,
}

impl From<frame::FrameError> for Interruption {
    fn from(_: frame::FrameError) -> Self {
        Self::Lost
    }
}

impl From<Elapsed> for Interruption {
    fn from(_: Elapsed) -> Self {
        Self::Lost
    }
}

impl From<io::Error> for Interruption {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

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

    /// The registry's response to a request. Of a body with more than [`MANIFEST_BYTES_MAX`] bytes, not all.
    pub(crate) async fn send(&self, request: Request) -> Result<Response<Bytes>, Interruption> {
        let mut messages = self.call(Operation::Send(request)).await?;
        let mut response = Response::new(());
        match messages.next().await? {
            Message::Head { status, headers } => {
                *response.status_mut() = StatusCode::from_u16(status).map_err(|_| Interruption::Lost)?;
                *response.headers_mut() = headers.into();
            }
            Message::Fault(fault) => return Err(Interruption::Fault(fault)),
            _ => return Err(Interruption::Lost),
        }
        let body = manifest_bytes(messages.events()).await?;
        Ok(response.map(|()| body))
    }

    /// These bytes of the blob that the request is for.
    pub(crate) async fn blob(
        &self,
        request: Request,
        bytes: Range<u64>,
    ) -> Result<BoxStream<'static, Result<TransferEvent, Interruption>>, Interruption> {
        Ok(self.call(Operation::Blob(request, bytes)).await?.events())
    }

    async fn call(&self, operation: Operation) -> io::Result<Messages> {
        let call = Call { settings: self.settings.clone(), operation };
        let call = frame::encode(&call).map_err(io::Error::other)?;
        timeout(ACCEPT_TIMEOUT, self.post(call)).await?
    }

    async fn post(&self, call: Vec<u8>) -> io::Result<Messages> {
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
        Ok(Messages(Box::pin(StreamReader::new(body))))
    }
}

/// The messages that respond to a call.
struct Messages(Pin<Box<dyn AsyncRead + Send>>);

impl Messages {
    /// The next one that says something.
    async fn next(&mut self) -> Result<Message, Interruption> {
        loop {
            match timeout(SILENCE_TIMEOUT, frame::read(&mut self.0)).await?? {
                Message::Alive => {}
                message => return Ok(message),
            }
        }
    }

    async fn bytes(&mut self, count: u32) -> Result<Bytes, Interruption> {
        let mut bytes = BytesMut::new();
        let mut rest = (&mut self.0).take(count.into());
        while timeout(SILENCE_TIMEOUT, rest.read_buf(&mut bytes)).await?? > 0 {}
        if bytes.len() < count as usize { Err(Interruption::Lost) } else { Ok(bytes.freeze()) }
    }

    /// The body that they carry.
    fn events(self) -> BoxStream<'static, Result<TransferEvent, Interruption>> {
        let next = async |mut messages: Self| match messages.next().await? {
            Message::Bytes(count) => Ok(Some((TransferEvent::Bytes(messages.bytes(count).await?), messages))),
            Message::Waits(reason) => Ok(Some((TransferEvent::Waits(reason), messages))),
            Message::End => Ok(None),
            Message::Fault(fault) => Err(Interruption::Fault(fault)),
            Message::Head { .. } | Message::Alive => Err(Interruption::Lost),
        };
        try_unfold(self, next).boxed()
    }
}
