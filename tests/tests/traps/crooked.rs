//! A registry that answers with whatever bytes a test wants: for what Docker Hub's stand-in would never do.

use std::{net::SocketAddr, sync::Arc};

use docxy_tests::{
    docxy::{ServerConfig, Upstream},
    hub::Digest,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::world::{World, config, hub};

/// What the registry is called, by users and on the wire.
pub(crate) const NAME: &str = "odd.example";

/// A host of this machine that the operator listed, at a port where nobody listens.
pub(crate) const LOCAL: &str = "localhost";

/// The digest of `data`.
pub(crate) const DIGEST: &str = "sha256:3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7";

/// The registry, and a world that it is listed in.
pub(crate) struct Crooked {
    pub(crate) world: World,
    _ca: tempfile::NamedTempFile,
    _listener: JoinSet<()>,
}

impl Crooked {
    /// `answer` makes the answer to a request of this path, to the byte. What isn't on `/v2/REPOSITORY/` is 200.
    pub(crate) async fn new(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tls, certificate) = tls();
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), certificate).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, tls, Arc::new(answer)));

        let hub = hub().await;
        let mut config = config(&hub);
        list(&mut config, address, &ca);
        Self { world: World::with(hub, &config, &[]), _ca: ca, _listener: tasks }
    }

    /// Where a blob of this repository, `data` if it is right, is pulled.
    pub(crate) fn blob(repository: &str) -> String {
        format!("/v2/{NAME}/{repository}/blobs/{DIGEST}")
    }

    /// Where a blob with this content is pulled.
    pub(crate) fn blob_of(repository: &str, content: &[u8]) -> String {
        format!("/v2/{NAME}/{repository}/blobs/{}", Digest::of(content))
    }

    /// Where a manifest of this repository is pulled.
    pub(crate) fn manifest(repository: &str) -> String {
        format!("/v2/{NAME}/{repository}/manifests/latest")
    }
}

/// A whole answer of HTTP/1.1. The connection ends with it.
pub(crate) fn reply(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n").into_bytes();
    bytes.extend_from_slice(body.as_ref());
    bytes
}

fn list(config: &mut ServerConfig, address: SocketAddr, ca: &tempfile::NamedTempFile) {
    let upstream = Upstream { api: format!("https://{NAME}"), ca: ca.path().to_owned() };
    config.registries.insert(NAME.to_owned(), upstream);
    config.resolve.insert(NAME.to_owned(), address);
    let upstream = Upstream { api: format!("https://{LOCAL}:2"), ca: ca.path().to_owned() };
    config.registries.insert("local.example".to_owned(), upstream);
}

fn tls() -> (TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

type Answering = Arc<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

async fn serve(listener: TcpListener, tls: TlsAcceptor, answer: Answering) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(visit(stream, tls.clone(), answer.clone()));
    }
}

/// One request, one answer. A visitor that goes away is not an error here.
async fn visit(stream: TcpStream, tls: TlsAcceptor, answer: Answering) {
    let Ok(mut stream) = tls.accept(stream).await else { return };
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let bytes = if path == "/v2/" { reply("200 OK", "Content-Length: 2\r\n", "{}") } else { answer(path) };
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
}
