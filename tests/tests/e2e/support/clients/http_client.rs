//! An engine's HTTP/1.1 client: each request on its own connection.
//! Must never follow a redirect, nor retry.

use std::{net::SocketAddr, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, ext::ReasonPhrase};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

/// Timeout of everything whose duration is not tested. Only a hang is slower.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Timeout of what happens at once on an idle machine; a busy one needs seconds. It is shorter than the timeouts with
/// which the product would end a wait.
pub(crate) const PROMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Within this time a revocation ends open connections, as README.md says.
pub(crate) const REVOCATION_TIMEOUT: Duration = Duration::from_secs(2);

/// Accepts every manifest.
pub(crate) const ANY: (&str, &str) = ("accept", "*/*");

/// A client of the registry API at one address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HttpClient {
    address: SocketAddr,
}

/// A complete or truncated response.
#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: StatusCode,
    /// The reason phrase, if it is not the usual one of the status.
    pub(crate) reason: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Whether the body is complete.
    pub(crate) whole: bool,
}

impl HttpClient {
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request. Returns the response once its head has arrived.
    pub(crate) async fn send(&self, mut request: Request<Full<Bytes>>) -> Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let host = self.address.to_string().parse().unwrap();
        request.headers_mut().entry(header::HOST).or_insert(host);
        let line = format!("{} {}", request.method(), request.uri());
        let response = timeout(REQUEST_TIMEOUT, sender.send_request(request)).await;
        let response =
            response.unwrap_or_else(|_| panic!("no response to {line} within {REQUEST_TIMEOUT:?}"));
        response.unwrap_or_else(|error| panic!("no response to {line}: {error:?}"))
    }

    pub(crate) async fn begin(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Response<Incoming> {
        self.send(new_request(method, path, headers, "")).await
    }

    pub(crate) async fn request(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> HttpResponse {
        HttpResponse::read(self.begin(method, path, headers).await).await
    }

    /// The same with this body.
    pub(crate) async fn request_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> HttpResponse {
        HttpResponse::read(self.send(new_request(method, path, headers, body)).await).await
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> HttpResponse {
        self.request(Method::GET, path, headers).await
    }

    pub(crate) async fn head(&self, path: &str, headers: &[(&str, &str)]) -> HttpResponse {
        self.request(Method::HEAD, path, headers).await
    }

    /// Posts a form to Docker Hub's token service.
    pub(crate) async fn post(&self, form: &str) -> HttpResponse {
        self.post_to("/auth/token", form).await
    }

    /// Posts a form to the token service at this path.
    pub(crate) async fn post_to(&self, path: &str, form: &str) -> HttpResponse {
        let form_type = ("content-type", "application/x-www-form-urlencoded");
        HttpResponse::read(self.send(new_request(Method::POST, path, &[form_type], form)).await).await
    }

    /// An anonymous token to pull from this repository, as the value of `Authorization`.
    pub(crate) async fn anonymous(&self, repository: &str) -> String {
        let path = format!("/auth/token?service=registry.docker.io&scope=repository:{repository}:pull");
        self.get(&path, &[]).await.bearer()
    }

    /// A token to pull from this repository for an account, as the value of `Authorization`.
    pub(crate) async fn logged_in(&self, user: &str, password: &str, repository: &str) -> String {
        let scope = format!("scope=repository:{repository}:pull");
        let path = format!("/auth/token?account={user}&service=registry.docker.io&{scope}");
        self.get(&path, &[("authorization", &basic(user, password))]).await.bearer()
    }
}

impl HttpResponse {
    pub(crate) async fn read(response: Response<Incoming>) -> Self {
        let (parts, mut body) = response.into_parts();
        let reason = parts.extensions.get::<ReasonPhrase>();
        let reason = reason.map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned());
        let mut response =
            Self { status: parts.status, reason, headers: parts.headers, body: Vec::new(), whole: true };
        while let Some(frame) = timeout(REQUEST_TIMEOUT, body.frame()).await.expect("a body that goes on") {
            match frame {
                Ok(frame) => response.body.extend_from_slice(frame.data_ref().unwrap()),
                Err(_) => response.whole = false,
            }
        }
        response
    }

    /// The value of a header's first line, or an empty text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {text:?}"))
    }

    /// Status, code and message of an error, which must be in the registry's format.
    pub(crate) fn error(&self) -> (u16, String, String) {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        let error = &self.json()["errors"][0];
        let text = |field: &str| error[field].as_str().unwrap_or_else(|| panic!("{error}")).to_owned();
        (self.status.as_u16(), text("code"), text("message"))
    }

    /// The same for one of Docxy's own errors, which must name this hop.
    pub(crate) fn fault(&self, hop: &str) -> (u16, String, String) {
        let (status, code, message) = self.error();
        assert!(message.starts_with(&format!("docxy: {hop}: ")), "{message}");
        assert_eq!(self.json()["errors"][0]["detail"]["hop"], hop, "{message}");
        (status, code, message)
    }

    /// The token of a token service's response, as the value of `Authorization`.
    pub(crate) fn bearer(&self) -> String {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        format!("Bearer {}", self.json()["token"].as_str().unwrap())
    }
}

/// Basic credentials (RFC 7617).
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn new_request(method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}
