//! A server that sends any response to the client over QUIC, and records its requests.
//! Must never send prefetched items before the test allows it.

use std::sync::{Arc, Mutex};

use docxy_protocol::{
    chunk::ChunkHeader,
    congestion::Handle,
    control::{ControlMessage, Hello, ServedRegistries, StreamHeader, Welcome},
    frame,
    headers::Headers,
    identity::Pin,
    limits::ECHO_BYTES_MAX,
    prefetch::PrefetchItem,
    reply::{BodyFraming, Reply, Response},
    request::{Method, Operation, Request},
    version::{PREAMBLE_BYTES, WIRE_VERSION},
};
use docxy_tests::docxy::Client;
use docxy_transport::quic::{settings, tls};
use http::{HeaderMap, HeaderName, StatusCode};
use quinn::{Connection, Endpoint, RecvStream, SendStream, ServerConfig, VarInt};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    sync::Semaphore,
    task::{JoinSet, block_in_place},
};

use crate::support::{http_client::HttpClient, testbed::wait_until_up};

/// A response and its prefetched items.
pub(crate) struct ScriptedResponse {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) items: Vec<(PrefetchItem, Vec<u8>)>,
    /// These bytes are sent instead of a response.
    pub(crate) raw: Option<Vec<u8>>,
}

/// The server's reply to a Hello.
#[derive(Clone)]
pub(crate) enum Greeting {
    /// These bytes, on a control stream that stays open.
    Bytes(Vec<u8>),
    /// The end of the connection, with this code and reason.
    Close { code: u32, reason: Vec<u8> },
    /// None: the server speaks no other version of the wire than this.
    Version(u16),
}

/// A server, and a client of it.
pub(crate) struct ScriptedServer {
    pub(crate) engine: HttpClient,
    pub(crate) client: Client,
    pub(crate) link: String,
    requests: RequestLog,
    gate: Arc<Semaphore>,
    _listener: JoinSet<()>,
}

type RequestLog = Arc<Mutex<Vec<Request>>>;
type Script = Arc<dyn Fn(&Request) -> ScriptedResponse + Send + Sync>;

impl ScriptedServer {
    /// A server with these responses. Prefetched items wait for [`Self::allow_prefetch`].
    pub(crate) async fn new(respond: impl Fn(&Request) -> ScriptedResponse + Send + Sync + 'static) -> Self {
        let welcome =
            Welcome { version: "scripted".into(), registries: ServedRegistries::default(), time: 0 };
        let welcome = frame::encode(&ControlMessage::Welcome(welcome)).unwrap();
        let mut scripted = Self::greeting(Greeting::Bytes(welcome), respond).await;
        wait_until_up(&mut scripted.client);
        scripted
    }

    /// The same with this reply to the Hello. Its client may have no tunnel.
    pub(crate) async fn greeting(
        greeting: Greeting,
        respond: impl Fn(&Request) -> ScriptedResponse + Send + Sync + 'static,
    ) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let pin = Pin::from_certificate(made.cert.der()).unwrap();
        let version = if let Greeting::Version(version) = greeting { version } else { WIRE_VERSION };
        let crypto = tls::server_config(made.cert.der().clone(), key, [version]).unwrap();
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(Arc::new(settings::server_config(&Handle::default())));
        let endpoint = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        let address = endpoint.local_addr().unwrap();
        let (requests, gate) = (RequestLog::default(), Arc::new(Semaphore::new(0)));
        let mut listener = JoinSet::new();
        listener.spawn(listen(endpoint, greeting, Arc::new(respond), requests.clone(), gate.clone()));
        let link = format!("docxy://laptop:{}@{address}?pin={pin}", "A".repeat(43));
        let client = block_in_place(|| Client::start_with(None, &link, &["--leg", "quic"])).unwrap();
        Self { engine: HttpClient::at(client.address()), client, link, requests, gate, _listener: listener }
    }

    /// Sends the prefetched items of this number of responses.
    pub(crate) fn allow_prefetch(&self, responses: usize) {
        self.gate.add_permits(responses);
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl ScriptedResponse {
    /// A response without prefetched items.
    pub(crate) fn new(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { status, headers, body: body.to_vec(), items: Vec::new(), raw: None }
    }

    /// Any bytes instead of a response.
    pub(crate) fn bytes(bytes: Vec<u8>) -> Self {
        Self { raw: Some(bytes), ..Self::new(200, &[], b"") }
    }
}

async fn listen(
    endpoint: Endpoint,
    greeting: Greeting,
    script: Script,
    requests: RequestLog,
    gate: Arc<Semaphore>,
) {
    let mut connections = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        let (greeting, script, requests, gate) =
            (greeting.clone(), script.clone(), requests.clone(), gate.clone());
        connections.spawn(async move {
            if let Ok(connection) = incoming.await {
                serve(connection, greeting, script, requests, gate).await;
            }
        });
    }
}

async fn serve(
    connection: Connection,
    greeting: Greeting,
    script: Script,
    requests: RequestLog,
    gate: Arc<Semaphore>,
) {
    let mut streams = JoinSet::new();
    while let Ok((send, receive)) = connection.accept_bi().await {
        if !streams.is_empty() {
            streams.spawn(stream(send, receive, script.clone(), requests.clone(), gate.clone()));
            continue;
        }
        if let Greeting::Close { code, reason } = &greeting {
            connection.close(VarInt::from_u32(*code), reason);
        }
        streams.spawn(control_stream(send, receive, greeting.clone()));
    }
}

/// The first stream.
async fn control_stream(mut send: SendStream, mut receive: RecvStream, greeting: Greeting) {
    let hello = receive.read_exact(&mut [0; PREAMBLE_BYTES]).await.is_ok()
        && frame::read::<Hello>(&mut receive).await.is_ok();
    if hello && let Greeting::Bytes(bytes) = greeting {
        // An error means that the client has stopped the stream.
        let _ = send.write_all(&bytes).await;
    }
    // It stays open.
    let _ = send.stopped().await;
}

async fn stream(
    mut send: SendStream,
    mut receive: RecvStream,
    script: Script,
    requests: RequestLog,
    gate: Arc<Semaphore>,
) {
    match frame::read(&mut receive).await {
        Ok(StreamHeader::Request(header)) => {
            let request = header.request;
            requests.lock().unwrap().push(request.clone());
            // An error means that the client has stopped the stream.
            let _ = send_response(&mut send, &request, script(&request), &gate).await;
            let _ = send.finish();
        }
        Ok(StreamHeader::Echo) => {
            let bytes = receive.read_to_end(ECHO_BYTES_MAX).await.unwrap_or_default();
            // An error means that the client has stopped the stream.
            let _ = send.write_all(&bytes).await;
            let _ = send.finish();
        }
        Ok(StreamHeader::Segment(_)) | Err(_) => {}
    }
}

async fn send_response(
    send: &mut SendStream,
    request: &Request,
    response: ScriptedResponse,
    gate: &Semaphore,
) -> Result<(), quinn::WriteError> {
    if let Some(bytes) = &response.raw {
        return send.write_all(bytes).await;
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &response.headers {
        headers.append(HeaderName::from_static(name), value.parse().unwrap());
    }
    headers.insert(http::header::CONTENT_LENGTH, response.body.len().into());
    let is_head = matches!(
        request.operation,
        Operation::Manifest { method: Method::Head, .. } | Operation::Blob { method: Method::Head, .. }
    );
    let length = response.body.len() as u64;
    let body = if is_head { BodyFraming::None } else { BodyFraming::Chunked { length: Some(length) } };
    let status = StatusCode::from_u16(response.status).unwrap();
    let reply = Reply::Response(Response { status, headers: Headers::filter_response(&headers), body });
    send.write_all(&frame::encode(&reply).unwrap()).await?;
    if !is_head && length > 0 {
        let chunk = ChunkHeader::Data(u32::try_from(length).unwrap());
        send.write_all(&chunk.to_bytes()).await?;
        send.write_all(&response.body).await?;
    }
    send.write_all(&ChunkHeader::End.to_bytes()).await?;
    if request.prefetch.is_some() {
        gate.acquire().await.unwrap().forget();
        for (item, bytes) in response.items {
            send.write_all(&frame::encode(&item).unwrap()).await?;
            send.write_all(&bytes).await?;
        }
    }
    Ok(())
}
