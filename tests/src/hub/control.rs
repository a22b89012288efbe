//! The way into a stand-in that runs as a process of its own: plain HTTP with JSON on a Unix socket.
//! `curl --unix-socket S http://hub/journal`. It offers what tests do in-process, and nothing else.

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

use super::{
    World,
    fault::Rule,
    image::{Image, Recipe},
    reply::{Body, json, text},
};

/// A rule or a publication is a line of JSON.
const MAX_LINE: usize = 64 * 1024;

/// An image that is to be there from now on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Publication {
    /// Where: `library/alpine`.
    pub repository: String,
    /// Under which tag; an older image loses it.
    pub tag: String,
    /// What.
    pub image: Recipe,
}

pub(super) async fn serve(listener: UnixListener, world: Arc<World>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, world.clone()));
                }
                Err(error) => tracing::warn!(%error, "accept failed"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: UnixStream, world: Arc<World>) {
    let service = service_fn(|request| {
        let world = world.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(&world, request).await) }
    });
    if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "control connection ended");
    }
}

async fn answer(world: &World, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    match (&parts.method, parts.uri.path()) {
        (&Method::GET, "/journal") => json(StatusCode::OK, &json!(world.journal.snapshot())),
        (&Method::DELETE, "/journal") => done(|| world.journal.clear()),
        (&Method::GET, "/transfers") => json(StatusCode::OK, &json!(world.transfers.snapshot())),
        (&Method::GET, "/faults") => json(StatusCode::OK, &json!(world.faults.armed())),
        (&Method::POST, "/faults") => arm(world, body).await,
        (&Method::POST, "/images") => publish(world, body).await,
        (&Method::DELETE, "/faults") => done(|| world.faults.clear()),
        (&Method::POST, "/release") => done(|| world.faults.release()),
        (&Method::POST, "/revoke-tokens") => done(|| world.tokens.revoke_all()),
        _ => text(StatusCode::NOT_FOUND, "no such control\n"),
    }
}

async fn arm(world: &World, body: Incoming) -> Response<Body> {
    match read::<Rule>(body).await {
        Ok(rule) => done(|| world.faults.arm(rule)),
        Err(refusal) => refusal,
    }
}

async fn publish(world: &World, body: Incoming) -> Response<Body> {
    let Publication { repository, tag, image } = match read(body).await {
        Ok(publication) => publication,
        Err(refusal) => return refusal,
    };
    match Image::plain(image) {
        Ok(image) => done(|| world.store.publish(&repository, &tag, &image)),
        Err(error) => json(StatusCode::BAD_REQUEST, &json!({ "error": error.to_string() })),
    }
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Response<Body>> {
    let body =
        Limited::new(body, MAX_LINE).collect().await.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
    serde_json::from_slice(&body)
        .map_err(|error| json(StatusCode::BAD_REQUEST, &json!({ "error": error.to_string() })))
}

fn done(action: impl FnOnce()) -> Response<Body> {
    action();
    json(StatusCode::OK, &json!({}))
}
