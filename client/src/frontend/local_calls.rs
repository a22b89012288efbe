//! The running client's end of the [local API](crate::local_api): answers the calls of commands.

use crate::gateway::{Gateway, Transfer, TransferEvent};
use crate::images::warm::{self, WarmImage};
use crate::local_api::{
    ALIVE_INTERVAL, CacheCall, CacheMessage, Call, Message, Operation, VERSION, VERSION_FIELD,
};
use bytes::Bytes;
use docxy_host::blob_store::BlobStore;
use docxy_protocol::fault::Fault;
use docxy_protocol::frame;
use docxy_protocol::headers::Headers;
use docxy_protocol::limits::FRAME_BYTES_MAX;
use futures_util::FutureExt as _;
use futures_util::stream::{BoxStream, Stream, StreamExt as _, iter, once, unfold};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use std::convert::Infallible;
use std::ops::ControlFlow;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// The body of a response.
pub(super) type Messages = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// Answers a call. The status is 200 if it is served, whatever its outcome. A command with a link of its own is left to
/// that from `drain` on, and when the servers refuse this client.
pub(super) async fn respond(
    gateway: &Gateway,
    request: Request<Incoming>,
    drain: CancellationToken,
) -> Response<Messages> {
    let (status, chunks) = match accept(gateway, request).await {
        Ok(Call { operation, has_link: false, .. }) => (StatusCode::OK, serve(gateway.clone(), operation)),
        Ok(Call { operation, .. }) => {
            let (serving, refused) = (serve(gateway.clone(), operation), gateway.clone());
            // An end without a message.
            let leave = async move {
                tokio::select! {
                    () = drain.cancelled_owned() => {}
                    () = refused.is_refused() => {}
                }
            };
            (StatusCode::OK, serving.take_until(leave).boxed())
        }
        Err(status) => (status, iter([]).boxed()),
    };
    let body = StreamBody::new(with_signs_of_life(chunks).map(|chunk| Ok(Frame::data(chunk))).boxed());
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// The chunks, with a message in each long pause. There is none between a message and its bytes, which come together.
fn with_signs_of_life(chunks: BoxStream<'static, Bytes>) -> impl Stream<Item = Bytes> + Send {
    unfold(chunks, async |mut chunks| {
        let next = timeout(ALIVE_INTERVAL, chunks.next()).await;
        Some((next.unwrap_or_else(|_| Some(message(&Message::Alive)))?, chunks))
    })
}

/// Reads a call. Returns the status of the refusal if it cannot be served.
async fn accept(gateway: &Gateway, request: Request<Incoming>) -> Result<Call, StatusCode> {
    if request.method() != Method::POST || request.headers().get(&VERSION_FIELD).is_none_or(|v| v != VERSION)
    {
        return Err(StatusCode::UPGRADE_REQUIRED);
    }
    let body = Limited::new(request.into_body(), 4 + FRAME_BYTES_MAX).collect().await;
    let body = body.map_err(|_| StatusCode::BAD_REQUEST)?.to_bytes();
    let (call, _): (Call, _) = frame::decode_prefix(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    if let Operation::Blob(_, bytes) = &call.operation
        && bytes.start > bytes.end
    {
        return Err(StatusCode::BAD_REQUEST);
    }
    if call.has_link && gateway.is_refused().now_or_never().is_some() {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    if gateway.has_settings(&call.settings) { Ok(call) } else { Err(StatusCode::CONFLICT) }
}

fn serve(gateway: Gateway, operation: Operation) -> BoxStream<'static, Bytes> {
    match operation {
        Operation::Check => iter([]).boxed(),
        Operation::Registries => iter([message(&Message::Registries(gateway.served_registries()))]).boxed(),
        Operation::Cache(call) => cache(gateway.blob_store(), call),
        Operation::Warm(image) => warm(gateway, image),
        Operation::Send(request) => {
            let guard = gateway.begin_own(&request);
            let reasons = Box::pin(guard.wait_reasons());
            let sending = Box::pin(async move { gateway.send_listed(request, guard).await });
            unfold(Some((sending, reasons)), async |waiting| {
                let (mut sending, mut reasons) = waiting?;
                Some(tokio::select! {
                    sent = &mut sending => (response(sent), None),
                    Some(reason) = reasons.next() => {
                        (iter([message(&Message::Waits(reason))]).boxed(), Some((sending, reasons)))
                    }
                })
            })
            .flatten()
            .boxed()
        }
        Operation::Blob(request, bytes) => {
            once(async move { messages(gateway.blob(request, bytes).await.events()) }).flatten().boxed()
        }
    }
}

/// The messages about the blobs on the disk.
fn cache(store: Result<BlobStore, String>, call: CacheCall) -> BoxStream<'static, Bytes> {
    let end = once(async { message(&Message::End) });
    let store = match store {
        Ok(store) => store,
        Err(reason) => return iter([message(&Message::Cache(CacheMessage::Off(reason)))]).chain(end).boxed(),
    };
    let (sender, receiver) = mpsc::channel(1);
    // Ends early if the command does.
    tokio::task::spawn_blocking(move || {
        call.perform(&store, |part| match sender.blocking_send(message(&Message::Cache(part))) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        });
    });
    unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver))).chain(end).boxed()
}

/// The messages about an image that is brought to the disk, until the command ends.
fn warm(gateway: Gateway, image: WarmImage) -> BoxStream<'static, Bytes> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let task = AbortOnDropHandle::new(tokio::spawn(async move {
        // The command is on this machine. If it does not read, there is a message for each 256 KiB.
        let tell = |part| drop(sender.send(message(&Message::Warm(part))));
        warm::warm(&gateway, &image, tell).await;
    }));
    let end = once(async { message(&Message::End) });
    let messages = unfold((receiver, task), async |(mut receiver, task)| {
        Some((receiver.recv().await?, (receiver, task)))
    });
    messages.chain(end).boxed()
}

/// The messages of a response.
fn response(sent: Result<Response<Transfer>, Fault>) -> BoxStream<'static, Bytes> {
    match sent {
        Ok(response) => {
            let (head, body) = response.into_parts();
            let headers = Headers::selected(&head.headers, &[header::CONTENT_TYPE]);
            let head = message(&Message::Head { status: head.status.as_u16(), headers });
            iter([head]).chain(messages(body.events())).boxed()
        }
        Err(fault) => iter([message(&Message::Fault(fault))]).boxed(),
    }
}

/// The messages of a body, each with its bytes.
fn messages(
    events: impl Stream<Item = Result<TransferEvent, Fault>> + Send + 'static,
) -> impl Stream<Item = Bytes> + Send {
    let end = once(async { Ok(None) });
    // Nothing is read after a fault.
    events
        .map(|event| event.map(Some))
        .chain(end)
        .scan(false, |failed, event| {
            let parts = match event {
                _ if *failed => None,
                Ok(Some(TransferEvent::Bytes(bytes))) => {
                    // A chunk is at most a manifest.
                    let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                    Some(vec![message(&Message::Bytes(count)), bytes])
                }
                Ok(Some(TransferEvent::Waits(reason))) => Some(vec![message(&Message::Waits(reason))]),
                Ok(None) => Some(vec![message(&Message::End)]),
                Err(fault) => {
                    *failed = true;
                    Some(vec![message(&Message::Fault(fault))])
                }
            };
            std::future::ready(parts.map(iter))
        })
        .flatten()
}

/// A frame. Header fields and texts are bounded by the frames in which they came; a message that is too long all the
/// same has none, so that the caller reports an end without a message.
fn message(message: &Message) -> Bytes {
    frame::encode(message).unwrap_or_default().into()
}
