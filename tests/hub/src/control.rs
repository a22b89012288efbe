//! The control API of a stand-in in another process: HTTP/1.1 with JSON on a Unix socket, as by `curl --unix-socket
//! S http://hub/requests`.
//! Must never offer more than tests do in-process.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
};

use crate::{
    content::image::{Image, ImageSpec},
    http::response::{Body, json, text},
    state::HubState,
    steering::fault::Rule,
};

/// A request body is one line of JSON.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A request to build and publish an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PublishRequest {
    /// The repository: `library/alpine`.
    pub repository: String,
    /// The tag; an older image loses it.
    pub tag: String,
    /// The image.
    pub image: ImageSpec,
}

pub(crate) async fn serve(listener: UnixListener, hub: Arc<HubState>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, hub.clone()));
                }
                Err(error) => tracing::warn!(%error, "accept failed"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: UnixStream, hub: Arc<HubState>) {
    let service = service_fn(|request| {
        let hub = hub.clone();
        async move { Ok::<_, std::convert::Infallible>(handle(&hub, request).await) }
    });
    if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "control connection ended");
    }
}

async fn handle(hub: &HubState, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    match (&parts.method, parts.uri.path()) {
        (&Method::GET, "/requests") => json(StatusCode::OK, &json!(hub.request_log.snapshot())),
        (&Method::DELETE, "/requests") => done(|| hub.request_log.clear()),
        (&Method::GET, "/transfers") => json(StatusCode::OK, &json!(hub.transfers.snapshot())),
        (&Method::GET, "/faults") => json(StatusCode::OK, &json!(hub.faults.armed())),
        (&Method::POST, "/faults") => arm(hub, body).await,
        (&Method::POST, "/images") => publish(hub, body).await,
        (&Method::DELETE, "/faults") => done(|| hub.faults.clear()),
        (&Method::POST, "/release") => done(|| hub.faults.release()),
        _ => text(StatusCode::NOT_FOUND, "no such path\n"),
    }
}

async fn arm(hub: &HubState, body: Incoming) -> Response<Body> {
    match read::<Rule>(body).await {
        Ok(rule) => done(|| hub.faults.arm(rule)),
        Err(refusal) => refusal,
    }
}

async fn publish(hub: &HubState, body: Incoming) -> Response<Body> {
    let PublishRequest { repository, tag, image } = match read(body).await {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    match Image::from_spec(image) {
        Ok(image) => done(|| hub.store.publish(&repository, &tag, &image)),
        Err(error) => json(StatusCode::BAD_REQUEST, &json!({ "error": error.to_string() })),
    }
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Response<Body>> {
    let body = Limited::new(body, BODY_BYTES_MAX)
        .collect()
        .await
        .map_or_else(|_| Bytes::new(), |body| body.to_bytes());
    serde_json::from_slice(&body)
        .map_err(|error| json(StatusCode::BAD_REQUEST, &json!({ "error": error.to_string() })))
}

fn done(action: impl FnOnce()) -> Response<Body> {
    action();
    json(StatusCode::OK, &json!({}))
}
