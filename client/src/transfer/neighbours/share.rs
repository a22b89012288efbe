//! The port for neighbours: whole public blobs that are on the disk, by digest.
//!
//! Must never fetch anything, nor serve a private blob, one whose digest was not compared, or one that was not proven to
//! be public lately; nor serve a machine beyond this network that the user has not named.

use super::Neighbours;
use super::discovery::Discovery;
use super::local_networks::LocalNetworks;
use crate::transfer::SharedBlobs;
use bytes::Bytes;
use docxy_host::blob_store::StoredBlob;
use docxy_protocol::byte_range::ByteRange;
use docxy_protocol::limits::{FIELD_LINES_MAX, FRAME_BYTES_MAX};
use docxy_protocol::name::Digest;
use futures_util::stream::{Stream, try_unfold};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body::Frame;
use http_body_util::{Either, Empty, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

const PREFIX: &str = "/blobs/";

/// Connections at once, and those of one machine.
const CONNECTIONS_MAX: usize = 64;
const CONNECTIONS_EACH_MAX: usize = 16;

/// How long a neighbour may take to send its request, and to receive a blob.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);

/// Bytes of one read: a chunk of the store.
const READ_BYTES: usize = 256 * 1024;

/// A port for neighbours, and its announcement, until this is dropped.
#[derive(Debug)]
pub(crate) struct Sharing {
    _serving: AbortOnDropHandle<()>,
    _discovery: Option<Discovery>,
}

/// Serves the blobs to neighbours at this address, announces the port, and listens for others. `None` if that is not
/// possible: engines need none of it.
pub(crate) async fn start(
    address: SocketAddr,
    neighbours: &Neighbours,
    blobs: Option<SharedBlobs>,
) -> Option<Sharing> {
    let Some(blobs) = blobs else {
        tracing::warn!("nothing is shared with neighbours, since no layers are kept on the disk");
        return None;
    };
    let listener = match bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%address, %error, "nothing is shared with neighbours: set share to another address");
            return None;
        }
    };
    let address = listener.local_addr().ok()?;
    tracing::info!(%address, "sharing public layers with neighbours");
    let _ = neighbours.0.shares_at.set(address);
    let discovery = if address.ip().is_loopback() {
        None
    } else {
        let started = Discovery::start(address.port(), neighbours.clone());
        started.inspect_err(|error| tracing::warn!(%error, "only neighbours that are named are asked")).ok()
    };
    let serving = tokio::spawn(serve(listener, neighbours.clone(), blobs));
    Some(Sharing { _serving: AbortOnDropHandle::new(serving), _discovery: discovery })
}

/// The path of a blob.
pub(super) fn blob_path(digest: &Digest) -> Uri {
    format!("{PREFIX}{digest}").parse().expect("a digest is letters, digits and punctuation")
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        // Where IPv6 is off.
        Err(error) if address.ip().is_unspecified() && error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

/// Serves until the task is dropped, with all its connections.
pub(crate) async fn serve(listener: TcpListener, neighbours: Neighbours, blobs: SharedBlobs) {
    let connections = Arc::new(Mutex::new(HashMap::<IpAddr, usize>::new()));
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let Ok((stream, peer)) = listener.accept().await else {
            // Probably out of file descriptors. Wait until some are closed.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let address = peer.ip().to_canonical();
        if !neighbours.is_named(address) && !LocalNetworks::now().contain(address) {
            continue;
        }
        let Some(slot) = Slot::take(&connections, address) else { continue };
        let blobs = blobs.clone();
        tasks.spawn(async move {
            let _slot = slot;
            let _ = timeout(CONNECTION_TIMEOUT, connection(stream, blobs)).await;
        });
    }
}

/// A connection of a machine.
struct Slot(Arc<Mutex<HashMap<IpAddr, usize>>>, IpAddr);

impl Slot {
    fn take(connections: &Arc<Mutex<HashMap<IpAddr, usize>>>, address: IpAddr) -> Option<Self> {
        let mut open = connections.lock();
        if open.values().sum::<usize>() >= CONNECTIONS_MAX {
            return None;
        }
        let own = open.entry(address).or_default();
        (*own < CONNECTIONS_EACH_MAX).then(|| {
            *own += 1;
            Self(Arc::clone(connections), address)
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.0.lock();
        if let Some(own) = open.get_mut(&self.1) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.1);
            }
        }
    }
}

async fn connection(stream: TcpStream, blobs: SharedBlobs) -> Result<(), hyper::Error> {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: Request<Incoming>| {
        let blobs = blobs.clone();
        async move { Ok::<_, Infallible>(respond(&request, &blobs).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(FRAME_BYTES_MAX)
        .max_headers(FIELD_LINES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

type Frames = std::pin::Pin<Box<dyn Stream<Item = io::Result<Frame<Bytes>>> + Send>>;
type Body = Either<StreamBody<Frames>, Empty<Bytes>>;

async fn respond<B>(request: &Request<B>, blobs: &SharedBlobs) -> Response<Body> {
    let is_get = request.method() == Method::GET;
    if !is_get && request.method() != Method::HEAD {
        let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let digest = request.uri().path().strip_prefix(PREFIX).and_then(|digest| digest.parse().ok());
    let blob = match &digest {
        Some(digest) => blobs.to_share(digest).await,
        None => None,
    };
    let Some(blob) = blob else { return empty(StatusCode::NOT_FOUND) };
    let size = blob.size();
    let (status, bytes) = match wanted(request.headers(), size) {
        Some(None) => (StatusCode::OK, 0..size),
        Some(Some(bytes)) => (StatusCode::PARTIAL_CONTENT, bytes),
        None => {
            let mut response = empty(StatusCode::RANGE_NOT_SATISFIABLE);
            response.headers_mut().extend(content_range(&format!("bytes */{size}")));
            return response;
        }
    };
    let mut response = empty(status);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, (bytes.end - bytes.start).into());
    if status == StatusCode::PARTIAL_CONTENT {
        headers.extend(content_range(&format!("bytes {}-{}/{size}", bytes.start, bytes.end - 1)));
    }
    if is_get {
        *response.body_mut() = Either::Left(StreamBody::new(read(blob, bytes)));
    }
    response
}

/// The range that a request wants, if it names one. `None` if there is nothing of it.
fn wanted(headers: &HeaderMap, size: u64) -> Option<Option<Range<u64>>> {
    let range = headers.get(header::RANGE).and_then(|line| ByteRange::parse(line.to_str().ok()?));
    range.map_or(Some(None), |range| range.of(size).map(Some))
}

fn content_range(text: &str) -> Option<(header::HeaderName, HeaderValue)> {
    Some((header::CONTENT_RANGE, HeaderValue::try_from(text).ok()?))
}

/// The bytes from the disk. A chunk that is damaged ends the connection.
fn read(blob: StoredBlob, bytes: Range<u64>) -> Frames {
    Box::pin(try_unfold((blob, bytes), async |(blob, bytes)| {
        if bytes.is_empty() {
            return Ok(None);
        }
        let max = READ_BYTES.min(usize::try_from(bytes.end - bytes.start).unwrap_or(READ_BYTES));
        let read = blob.read(bytes.start, max).await.ok_or(io::ErrorKind::InvalidData)?;
        let rest = bytes.start + read.len() as u64..bytes.end;
        Ok(Some((Frame::data(read), (blob, rest))))
    }))
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // For a browser that is led here.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_host::blob_store::{BlobKey, BlobLimits, BlobOwner, BlobStore};
    use docxy_protocol::digester::Digester;
    use http_body_util::BodyExt as _;
    use std::time::SystemTime;

    /// Longer than a chunk of the store.
    const SIZE: usize = 300_000;

    #[tokio::test]
    async fn only_whole_public_blobs_are_served() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(dir.path(), BlobLimits::default()).unwrap();
        let blobs = SharedBlobs::new(store.clone(), true, Duration::from_secs(3600));
        let put = async |byte: u8, is_private: bool, length: usize, proven: Option<SystemTime>| {
            let content = Bytes::from(vec![byte; SIZE]);
            let digest = Digester::sha256().digest(&content);
            let owner = match is_private {
                true => BlobOwner::Private("ghcr.io".parse().unwrap(), "a/b".parse().unwrap()),
                false => BlobOwner::Public,
            };
            let blob = store.blob(&BlobKey { digest: digest.clone(), owner }, SIZE as u64).await;
            blob.write(0, content.slice(..length));
            blob.verified();
            proven.inspect(|at| blob.set_proven_public(*at));
            store.flush().await;
            digest
        };
        let now = SystemTime::now();
        let public = put(1, false, SIZE, Some(now)).await;
        let others = [
            put(2, true, SIZE, Some(now)).await,
            put(3, false, SIZE - 1, Some(now)).await,
            put(4, false, SIZE, None).await,
            put(5, false, SIZE, now.checked_sub(Duration::from_secs(7200))).await,
            Digester::sha256().digest(b"unknown"),
        ];
        let ask = async |method: Method, path: &str, range: Option<&str>| {
            let mut request = Request::builder().method(method).uri(path);
            if let Some(range) = range {
                request = request.header(header::RANGE, range);
            }
            let (head, body) = respond(&request.body(()).unwrap(), &blobs).await.into_parts();
            assert_eq!(head.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            let field =
                |name| head.headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
            let length = field(header::CONTENT_LENGTH).map(|length| length.parse::<usize>().unwrap());
            (
                head.status.as_u16(),
                length,
                field(header::CONTENT_RANGE),
                body.collect().await.unwrap().to_bytes(),
            )
        };
        for other in others {
            let path = format!("/blobs/{other}");
            assert_eq!(ask(Method::GET, &path, None).await, (404, None, None, Bytes::new()), "{path}");
        }
        let path = format!("/blobs/{public}");
        let whole = Bytes::from(vec![1; SIZE]);
        assert_eq!(ask(Method::GET, &path, None).await, (200, Some(SIZE), None, whole.clone()));
        assert_eq!(ask(Method::HEAD, &path, None).await, (200, Some(SIZE), None, Bytes::new()));
        let range = Some("bytes 1000-299999/300000".to_owned());
        let rest = whole.slice(1000..);
        assert_eq!(ask(Method::GET, &path, Some("bytes=1000-")).await, (206, Some(SIZE - 1000), range, rest));
        let none = Some("bytes */300000".to_owned());
        assert_eq!(ask(Method::GET, &path, Some("bytes=300000-")).await, (416, None, none, Bytes::new()));
        assert_eq!(ask(Method::POST, &path, None).await.0, 405);
        for elsewhere in ["/", "/v2/", "/health", "/blobs/", "/blobs/sha256:00", &format!("/v2{path}")] {
            assert_eq!(ask(Method::GET, elsewhere, None).await.0, 404, "{elsewhere}");
        }
    }

    #[tokio::test]
    async fn one_machine_cannot_take_all_connections() {
        let connections = Arc::default();
        let [one, other] = [1, 2].map(|n| IpAddr::from([192, 168, 1, n]));
        let mut taken: Vec<_> =
            std::iter::from_fn(|| Slot::take(&connections, one)).take(CONNECTIONS_MAX).collect();
        assert_eq!(taken.len(), CONNECTIONS_EACH_MAX);
        assert!(Slot::take(&connections, other).is_some());
        taken.pop();
        assert!(Slot::take(&connections, one).is_some());
        drop(taken);
        assert!(connections.lock().is_empty());
    }
}
