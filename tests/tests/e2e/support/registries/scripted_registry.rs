//! A registry that sends any bytes as its responses, for what Docker Hub's stand-in would never do.
//! Must never serve more than one request per connection.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use docxy_tests::docxy::{ServerConfig, Upstream};
use futures_util::future::{BoxFuture, FutureExt as _};
use hub_stand_in::Digest;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::support::testbed::{Testbed, config, hub};

/// The registry's name, for users and on the wire.
pub(crate) const NAME: &str = "odd.example";

/// Its second host.
pub(crate) const CDN: &str = "cdn.odd.example";

/// A host of this machine that the operator listed, at a closed port.
pub(crate) const LOCAL: &str = "localhost";

/// The digest of `data`.
pub(crate) const DIGEST: &str = "sha256:3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7";

/// The registry, and a testbed with it on the server's list.
pub(crate) struct ScriptedRegistry {
    pub(crate) testbed: Testbed,
    _ca: tempfile::NamedTempFile,
    _listener: JoinSet<()>,
}

/// A request to the registry or to its CDN.
pub(crate) struct RegistryRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    head: String,
}

impl ScriptedRegistry {
    /// `respond` returns the bytes of the response to a request for this path. `/v2/` is 200.
    pub(crate) async fn new(respond: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let respond = move |request: RegistryRequest| {
            let bytes = match request.path.as_str() {
                "/v2/" => reply("200 OK", "Content-Length: 2\r\n", "{}"),
                path => respond(path),
            };
            std::future::ready(bytes).boxed()
        };
        Self::serving("", |_| {}, respond).await
    }

    /// The same, where a response may depend on the whole request and take time. `change` edits the server's config
    /// before it starts. `trusted` are further certificates that the server trusts for this registry.
    pub(crate) async fn serving(
        trusted: &str,
        change: impl FnOnce(&mut ServerConfig),
        respond: impl Fn(RegistryRequest) -> BoxFuture<'static, Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tls, certificate) = tls();
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), certificate + trusted).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, tls, Arc::new(respond)));

        let hub = hub().await;
        let mut config = config(&hub);
        list(&mut config, address, &ca);
        change(&mut config);
        Self { testbed: Testbed::with(hub, &config, &[]), _ca: ca, _listener: tasks }
    }

    /// The path of the blob `data` in this repository.
    pub(crate) fn blob(repository: &str) -> String {
        format!("/v2/{NAME}/{repository}/blobs/{DIGEST}")
    }

    /// The path of a blob with this content.
    pub(crate) fn blob_of(repository: &str, content: &[u8]) -> String {
        format!("/v2/{NAME}/{repository}/blobs/{}", Digest::of(content))
    }

    /// The path of a manifest in this repository.
    pub(crate) fn manifest(repository: &str) -> String {
        format!("/v2/{NAME}/{repository}/manifests/latest")
    }
}

/// A complete HTTP/1.1 response that closes the connection.
pub(crate) fn reply(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n").into_bytes();
    bytes.extend_from_slice(body.as_ref());
    bytes
}

impl RegistryRequest {
    /// The value of a header's first line.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

fn list(config: &mut ServerConfig, address: SocketAddr, ca: &tempfile::NamedTempFile) {
    let upstream = |api, resolve| Upstream { api, ca: ca.path().to_owned(), resolve, account: None };
    let resolve = [NAME, CDN].map(|host| (host.to_owned(), address)).into();
    config.registries.insert(NAME.to_owned(), upstream(format!("https://{NAME}"), resolve));
    let local = upstream(format!("https://{LOCAL}:2"), BTreeMap::new());
    config.registries.insert("local.example".to_owned(), local);
}

fn tls() -> (TlsAcceptor, String) {
    let generated = rcgen::generate_simple_self_signed([NAME.to_owned(), CDN.to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(generated.signing_key.serialize_der()));
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![generated.cert.der().clone()], key)
            .unwrap();
    (TlsAcceptor::from(Arc::new(config)), generated.cert.pem())
}

type Respond = Arc<dyn Fn(RegistryRequest) -> BoxFuture<'static, Vec<u8>> + Send + Sync>;

async fn serve(listener: TcpListener, tls: TlsAcceptor, respond: Respond) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(serve_request(stream, tls.clone(), respond.clone()));
    }
}

/// Serves one request. A peer that disconnects is no error.
async fn serve_request(stream: TcpStream, tls: TlsAcceptor, respond: Respond) {
    let Ok(mut stream) = tls.accept(stream).await else { return };
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let bytes = respond(RegistryRequest { method, path, head }).await;
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
}
