//! Accepts TLS connections for one host and serves their requests. The faults that every host can have happen here,
//! before the host sees the request.
//! Must never end because of one connection.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Method, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    http::response::{Body, error, set_header, text, trickled, truncated, xml_error},
    service::{auth, cdn, registry},
    state::HubState,
    steering::{
        fault::Fault,
        site::{Kind, Site},
    },
};

/// The write buffer of a connection: small, so that a slow reader slows the sender at once.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

pub(crate) async fn serve(listener: TcpListener, tls: TlsAcceptor, site: Site, hub: Arc<HubState>) {
    // Dropped with this task, which closes all connections.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    hub.request_log.record_peer(peer);
                    connections.spawn(connection(stream, peer, tls.clone(), site, hub.clone()));
                }
                Err(error) => tracing::warn!(?site, %error, "accept failed"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, tls: TlsAcceptor, site: Site, hub: Arc<HubState>) {
    let served = async {
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(tls.accept(stream).await?);
        let service = service_fn(|request| handle(hub.clone(), site, peer, request));
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).max_buf_size(BUFFER_BYTES_MAX);
        server.serve_connection(stream, service).await.map_err(io::Error::other)
    };
    if let Err(error) = served.await {
        tracing::debug!(?site, %peer, %error, "connection ended");
    }
}

async fn handle(
    hub: Arc<HubState>,
    site: Site,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Body>, ConnectionDropped> {
    // Before the request is logged: a test may release it as soon as it is in the log.
    let (released, resumed) = (hub.faults.next_release(), hub.faults.next_release());
    let entry = hub.request_log.record_request(site, peer, &request);
    if !has_host(hub.names.host(site), &request) {
        hub.request_log.record_status(entry, StatusCode::MISDIRECTED_REQUEST);
        return Ok(text(StatusCode::MISDIRECTED_REQUEST, "no such host here\n"));
    }
    let (path, has_body) = (request.uri().path().to_owned(), request.method() != Method::HEAD);
    let take = |fits: &dyn Fn(&Fault) -> bool| hub.faults.take(&path, fits);
    if take(&|fault| *fault == Fault::HangUp { site }).is_some() {
        return Err(ConnectionDropped);
    }
    if let Some(Fault::Delay { millis, .. }) =
        take(&|fault| matches!(fault, Fault::Delay { site: s, .. } if *s == site))
    {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    if take(&|fault| *fault == Fault::Hold { site }).is_some() {
        released.await;
    }
    let mut response = match take(&|fault| matches!(fault, Fault::Status { site: s, .. } if *s == site)) {
        Some(Fault::Status { status, retry_after, .. }) => status_response(site, status, retry_after),
        _ => match site {
            Site::Registry => match &hub.distribution {
                Some(process) => process.forward(request).await,
                None if hub.kind == Kind::OneHost && path == "/token" => {
                    auth::handle(&hub, entry, request).await
                }
                None if hub.kind == Kind::Redirecting && path != "/v2/" => registry::redirect(&hub, &request),
                None => registry::handle(&hub, peer.ip(), &request),
            },
            Site::Auth => auth::handle(&hub, entry, request).await,
            Site::Cdn if hub.kind == Kind::Redirecting && path.starts_with("/v2/") => {
                registry::handle(&hub, peer.ip(), &request)
            }
            Site::Cdn => cdn::handle(&hub, &request),
        },
    };
    if has_body && response.status().is_success() {
        if take(&|fault| *fault == Fault::BreakOff { site }).is_some() {
            response = response.map(|body| truncated(body, std::future::ready(())));
        } else if take(&|fault| *fault == Fault::FallSilent { site }).is_some() {
            response = response.map(|body| truncated(body, resumed));
        } else if let Some(Fault::Trickle { millis, .. }) =
            take(&|fault| matches!(fault, Fault::Trickle { site: s, .. } if *s == site))
        {
            response = trickled(response, Duration::from_millis(millis));
        }
    }
    hub.request_log.record_status(entry, response.status());
    Ok(response)
}

/// The real services also reject a `Host` field with the name of an earlier hop.
fn has_host(name: &str, request: &Request<Incoming>) -> bool {
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    host.split(':').next() == Some(name)
}

/// An error of the service, upon which hyper closes the connection.
#[derive(Debug, thiserror::Error)]
#[error("connection closed by a scripted fault")]
struct ConnectionDropped;

fn status_response(site: Site, status: u16, retry_after: Option<u64>) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let reason = status.canonical_reason().unwrap_or("scripted fault");
    let mut response = match site {
        Site::Registry => error(status, registry_code(status), reason, Value::Null),
        Site::Auth => text(status, reason),
        Site::Cdn => xml_error(status, "ServiceFault", reason),
    };
    if let Some(seconds) = retry_after {
        set_header(&mut response, "retry-after", &seconds.to_string());
    }
    response
}

fn registry_code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
        StatusCode::FORBIDDEN => "DENIED",
        StatusCode::NOT_FOUND => "MANIFEST_UNKNOWN",
        StatusCode::TOO_MANY_REQUESTS => "TOOMANYREQUESTS",
        StatusCode::SERVICE_UNAVAILABLE => "UNAVAILABLE",
        _ => "UNKNOWN",
    }
}
