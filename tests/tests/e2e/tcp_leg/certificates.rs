//! The operator's own certificate: it answers for its names, and the identity for everything else.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use docxy_protocol::{identity::Pin, link::Link, tls::provider};
use docxy_tests::{
    docxy::{Launch, Server, ServerConfig},
    process::PROCESS_TIMEOUT,
};
use http::StatusCode;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::block_in_place,
    time::timeout,
};

use super::strangers::{handshake, pinned};
use crate::support::{
    http_client::{ANY, HttpClient, PROMPT_TIMEOUT},
    observed::free_address,
    testbed::{Testbed, client, config, hub, invite, settled_output_size},
};

const NAMES: [&str; 3] = ["localhost", "pull.example.org", "*.cdn.example.org"];

/// The files of a certificate.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn paths(&self) -> (PathBuf, PathBuf) {
        (self.folder.path().join("chain.pem"), self.folder.path().join("key.pem"))
    }

    /// Writes a new certificate for [`NAMES`], with a chain to a new root. Returns what accepts only that root.
    fn renew(&self) -> Arc<dyn ServerCertVerifier> {
        let authority = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            (params, KeyPair::generate().unwrap())
        };
        let (params, key) = authority("root");
        let root = CertifiedIssuer::self_signed(params, key).unwrap();
        let (params, key) = authority("between");
        let between = CertifiedIssuer::signed_by(params, key, &root).unwrap();
        let key = KeyPair::generate().unwrap();
        let own =
            CertificateParams::new(NAMES.map(str::to_owned)).unwrap().signed_by(&key, &between).unwrap();
        let (certificate, key_file) = self.paths();
        fs::write(certificate, own.pem() + &between.pem()).unwrap();
        fs::write(key_file, key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap()
    }
}

async fn testbed(files: &Files) -> Testbed {
    let hub = hub().await;
    let mut config = config(&hub);
    config.tls = Some(files.paths());
    Testbed::with(hub, &config, &["--leg", "tcp"])
}

/// Whether a handshake with this name gets a certificate that this accepts. The server's next byte shows it, since
/// a client of TLS 1.3 is done before the server is.
async fn gets(server: SocketAddr, expected: &Arc<dyn ServerCertVerifier>, name: Option<&str>) -> bool {
    handshake(server, Arc::clone(expected), name, &["h2", "http/1.1"]).await.is_ok()
}

async fn pulls(engine: HttpClient) {
    let bearer = engine.anonymous("library/hello").await;
    let path = "/v2/library/hello/manifests/latest";
    assert_eq!(engine.get(path, &[("authorization", &bearer), ANY]).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_certificate_is_for_its_names_alone() {
    let files = Files::new();
    let operators = files.renew();
    let mut testbed = testbed(&files).await;
    let (server, link) = (testbed.server.address(), link(&mut testbed));
    let identity = pinned(link.pin);
    for name in ["pull.example.org", "PULL.EXAMPLE.ORG", "a.cdn.example.org", "localhost"] {
        for protocols in [&["h2"][..], &["http/1.1"], &["h2", "http/1.1"], &[]] {
            let opened = handshake(server, Arc::clone(&operators), Some(name), protocols).await;
            assert!(opened.is_ok(), "{name} {protocols:?}: {opened:?}");
        }
        assert!(!gets(server, &identity, Some(name)).await, "{name}");
    }
    for name in [None, Some("example.org"), Some("b.a.cdn.example.org"), Some("docxy.invalid")] {
        assert!(gets(server, &identity, name).await, "{name:?}");
    }
    assert!(!gets(server, &operators, None).await);
    pulls(testbed.engine).await;
}

fn link(testbed: &mut Testbed) -> Link {
    invite(&mut testbed.server, "phone").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn links_work_beside_the_operators_certificate_whatever_their_host_and_name() {
    let files = Files::new();
    files.renew();
    let testbed = testbed(&files).await;
    let by_name = format!("localhost:{}", testbed.server.address().port());
    let invite = |name, public: &str| testbed.server.command(&["invite", name, "--public", public]).unwrap();
    let (address, host) = block_in_place(|| {
        (invite("by-address", &testbed.server.address().to_string()), invite("by-name", &by_name))
    });
    for link in [&address, &host] {
        for name in ["", "&sni=localhost", "&sni=pull.example.org", "&sni=other.example"] {
            for leg in ["tcp", "quic"] {
                let client = client(&format!("{}{name}", link.trim()), &["--leg", leg]);
                pulls(HttpClient::at(client.address())).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_used_after_a_reload_and_a_broken_one_changes_nothing() {
    let files = Files::new();
    let first = files.renew();
    let mut testbed = testbed(&files).await;
    let (server, pin) = (testbed.server.address(), link(&mut testbed).pin);
    let name = Some("pull.example.org");
    assert!(gets(server, &first, name).await);

    // An open connection stays.
    let mut open = handshake(server, Arc::clone(&first), name, &["http/1.1"]).await.unwrap();
    let second = files.renew();
    assert!(gets(server, &first, name).await, "until the reload");
    testbed.server.process().signal("HUP").unwrap();
    let renewed = async { while !gets(server, &second, name).await {} };
    timeout(PROCESS_TIMEOUT, renewed).await.expect("the new certificate is used");
    assert!(!gets(server, &first, name).await);
    let mut byte = [0];
    assert!(timeout(PROMPT_TIMEOUT / 10, open.read(&mut byte)).await.is_err(), "it was closed");

    let (certificate, key) = files.paths();
    let good = fs::read(&key).unwrap();
    for broken in [&b""[..], KeyPair::generate().unwrap().serialize_pem().as_bytes()] {
        fs::write(&key, broken).unwrap();
        assert_unchanged(&mut testbed, server, &second, pin).await;
    }
    fs::write(&key, good).unwrap();
    fs::remove_file(&certificate).unwrap();
    assert_unchanged(&mut testbed, server, &second, pin).await;

    let third = files.renew();
    testbed.server.process().signal("HUP").unwrap();
    let renewed = async { while !gets(server, &third, name).await {} };
    timeout(PROCESS_TIMEOUT, renewed).await.expect("the new certificate is used");
}

/// Reloads, and waits until the log has said something.
async fn assert_unchanged(
    testbed: &mut Testbed,
    server: SocketAddr,
    before: &Arc<dyn ServerCertVerifier>,
    pin: Pin,
) {
    let size = settled_output_size(testbed.server.process());
    testbed.server.process().signal("HUP").unwrap();
    let log_grew = |process: &docxy_tests::process::Process| Ok((process.output_size() > size).then_some(()));
    block_in_place(|| testbed.server.process().wait_for("reload", PROCESS_TIMEOUT, log_grew)).unwrap();
    assert!(gets(server, before, Some("pull.example.org")).await);
    assert!(gets(server, &pinned(pin), None).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_page_has_the_operators_certificate_where_others_may_reach_it() {
    let files = Files::new();
    let operators = files.renew();
    let hub = hub().await;
    let mut config = config(&hub);
    let port = free_address().port();
    // Loopback, and not by an address that the server takes for it.
    let admin = format!("[::ffff:127.0.0.1]:{port}");
    let launch = Launch::with(&["--admin", &admin]);
    let start = |config: &ServerConfig| {
        block_in_place(|| Server::start_as(&launch, None, Ipv4Addr::LOCALHOST.into(), config))
    };
    assert!(start(&config).is_err(), "without a certificate");
    config.tls = Some(files.paths());
    let _server = start(&config).unwrap();
    for (host, status) in [("pull.example.org", "200"), ("127.0.0.1", "200"), ("evil.example", "421")] {
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let opened = handshake(address, Arc::clone(&operators), Some("pull.example.org"), &["http/1.1"]);
        let mut stream = opened.await.unwrap();
        let request = format!("GET /api/status HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        timeout(PROCESS_TIMEOUT, stream.read_to_end(&mut response)).await.unwrap().unwrap();
        let response = String::from_utf8_lossy(&response);
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {response}");
    }
}
