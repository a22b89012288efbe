//! An HTTPS client that reaches a stand-in by its real host names, without redirects or retries.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hub_stand_in::{Digest, Hub, media_type};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub(crate) const REGISTRY: &str = "https://registry-1.docker.io";
pub(crate) const AUTH: &str = "https://auth.docker.io";

/// Accepts every manifest.
pub(crate) const ACCEPT_ANY: (&str, &str) = ("accept", "*/*");

/// The `Accept` field of a client that knows single manifests only.
pub(crate) const ACCEPT_SINGLE: (&str, &str) = ("accept", media_type::DOCKER_MANIFEST);

pub(crate) struct HttpsClient {
    resolve: HashMap<String, SocketAddr>,
    tls: TlsConnector,
}

/// A complete response. `error` is why its body ended early.
pub(crate) struct FullResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) error: Option<hyper::Error>,
}

impl HttpsClient {
    pub(crate) fn of(hub: &Hub) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(hub.ca_pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { resolve: hub.resolve_table().into_iter().collect(), tls: TlsConnector::from(Arc::new(config)) }
    }

    /// Sends a request on a new connection.
    pub(crate) async fn try_send(
        &self,
        request: Request<String>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let host = request.uri().host().unwrap().to_owned();
        let stream = TcpStream::connect(self.resolve[&host]).await.unwrap();
        let name = ServerName::try_from(host.clone()).unwrap();
        let stream = self.tls.connect(name, stream).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = request.map(|body| Full::new(Bytes::from(body)));
        request.headers_mut().entry(header::HOST).or_insert(host.parse().unwrap());
        *request.uri_mut() = request.uri().path_and_query().unwrap().as_str().parse().unwrap();
        sender.send_request(request).await
    }

    pub(crate) async fn begin(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(url.parse::<Uri>().unwrap());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.try_send(request.body(String::new()).unwrap()).await.unwrap()
    }

    pub(crate) async fn get(&self, url: &str, headers: &[(&str, &str)]) -> FullResponse {
        FullResponse::read(self.begin(Method::GET, url, headers).await).await
    }

    pub(crate) async fn head(&self, url: &str, headers: &[(&str, &str)]) -> FullResponse {
        FullResponse::read(self.begin(Method::HEAD, url, headers).await).await
    }

    pub(crate) async fn post(&self, url: &str, form: &str) -> FullResponse {
        let request = Request::post(url).body(form.to_owned()).unwrap();
        FullResponse::read(self.try_send(request).await.unwrap()).await
    }

    /// An anonymous token to pull from these repositories, as an `Authorization` value.
    pub(crate) async fn bearer(&self, repositories: &[&str]) -> String {
        let scopes: String =
            repositories.iter().map(|name| format!("&scope=repository:{name}:pull")).collect();
        let response = self.get(&format!("{AUTH}/token?service=registry.docker.io{scopes}"), &[]).await;
        format!("Bearer {}", response.json()["token"].as_str().unwrap())
    }

    /// The signed URL to which a blob of `library/hello` is redirected.
    pub(crate) async fn signed_url(&self, digest: &Digest) -> String {
        let bearer = self.bearer(&["library/hello"]).await;
        let url = format!("{REGISTRY}/v2/library/hello/blobs/{digest}");
        self.get(&url, &[("authorization", &bearer)]).await.header("location").to_owned()
    }
}

impl FullResponse {
    pub(crate) async fn read(response: Response<Incoming>) -> Self {
        let (parts, mut body) = response.into_parts();
        let mut response =
            Self { status: parts.status, headers: parts.headers, body: Vec::new(), error: None };
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => response.body.extend_from_slice(frame.data_ref().unwrap()),
                Err(error) => response.error = Some(error),
            }
        }
        response
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The code of an error in the registry's format.
    pub(crate) fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap().to_owned()
    }
}
