//! A registry that asks for tokens as a test says, at [`NAME`], and another one or a token service at [`CDN`].
//! Must never decide what is right: it records what it receives.

use std::sync::{Arc, Mutex};

use docxy_tests::docxy::ServerConfig;
use futures_util::future::FutureExt as _;
use http::Method;

use crate::support::{
    http_client::{ANY, HttpResponse},
    scripted_registry::{CDN, NAME, RegistryRequest, ScriptedRegistry, reply},
};

/// One request that the registry has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// The name of its host.
    pub(crate) host: String,
    /// The method.
    pub(crate) method: String,
    /// Its path, without the query.
    pub(crate) path: String,
    /// Its query, percent-decoded.
    pub(crate) query: String,
    /// Its `Authorization`, or an empty text.
    pub(crate) authorization: String,
    /// Its `User-Agent`, or an empty text.
    pub(crate) user_agent: String,
}

/// The registry, on the server's list.
pub(crate) struct TokenRegistry {
    pub(crate) scripted: ScriptedRegistry,
    received: Arc<Mutex<Vec<Received>>>,
}

impl TokenRegistry {
    /// `respond` returns the bytes of the response to a request.
    pub(crate) async fn new(respond: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::with(|_| {}, respond).await
    }

    /// The same with a change to the server's config.
    pub(crate) async fn with(
        change: impl FnOnce(&mut ServerConfig),
        respond: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let log = Arc::clone(&received);
        let respond = move |request: RegistryRequest| {
            let request = Received::of(&request);
            log.lock().unwrap().push(request.clone());
            std::future::ready(respond(&request)).boxed()
        };
        Self { scripted: ScriptedRegistry::serving("", change, respond).await, received }
    }

    /// What was received since the last call.
    pub(crate) fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.received.lock().unwrap())
    }

    /// Pulls a manifest as an engine with the public token.
    pub(crate) async fn pull(&self, tag: &str) -> HttpResponse {
        self.get(&format!("/v2/{NAME}/owner/image/manifests/{tag}")).await
    }

    /// Requests a manifest as an engine with this credential, or with the public token.
    pub(crate) async fn request(&self, method: Method, tag: &str, credential: Option<&str>) -> HttpResponse {
        let engine = self.scripted.testbed.engine;
        let bearer = engine.get(&format!("/auth/token/{NAME}"), &[]).await.bearer();
        let headers = [("authorization", credential.unwrap_or(&bearer)), ANY];
        engine.request(method, &format!("/v2/{NAME}/owner/image/manifests/{tag}"), &headers).await
    }

    /// Sends a request as an engine with the public token.
    pub(crate) async fn get(&self, path: &str) -> HttpResponse {
        let engine = self.scripted.testbed.engine;
        let bearer = engine.get(&format!("/auth/token/{NAME}"), &[]).await.bearer();
        engine.get(path, &[("authorization", &bearer), ANY, ("user-agent", "engine/1")]).await
    }
}

impl Received {
    fn of(request: &RegistryRequest) -> Self {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let field = |name| request.header(name).unwrap_or_default().to_owned();
        let query = query.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
        Self {
            host: field("host"),
            method: request.method.clone(),
            path: path.to_owned(),
            query,
            authorization: field("authorization"),
            user_agent: field("user-agent"),
        }
    }

    /// Whether it is for content.
    pub(crate) fn is_for_content(&self) -> bool {
        self.path.contains("/manifests/") || self.path.contains("/blobs/")
    }

    /// Whether it was sent to [`CDN`].
    pub(crate) fn is_at_cdn(&self) -> bool {
        self.host == CDN
    }
}

/// A manifest.
pub(crate) fn manifest() -> Vec<u8> {
    const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#;
    let fields = format!(
        "Content-Type: application/vnd.oci.image.manifest.v1+json\r\nContent-Length: {}\r\n",
        MANIFEST.len()
    );
    reply("200 OK", &fields, MANIFEST)
}

/// A response with a JSON body.
pub(crate) fn json(status: &str, body: &str) -> Vec<u8> {
    reply(status, &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()), body)
}

/// A response without a body.
pub(crate) fn empty(status: &str, fields: &str) -> Vec<u8> {
    reply(status, &format!("{fields}Content-Length: 0\r\n"), "")
}

/// A refusal with this challenge.
pub(crate) fn unauthorized(challenge: &str) -> Vec<u8> {
    empty("401 Unauthorized", &format!("WWW-Authenticate: {challenge}\r\n"))
}

/// A token.
pub(crate) fn token(token: &str) -> Vec<u8> {
    json("200 OK", &format!(r#"{{"token":"{token}","expires_in":300}}"#))
}
