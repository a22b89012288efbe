//! Handles one request of an engine: checks it, parses it, sends it, and answers it.

use super::connections::{AllowedNetworks, BusyGuard, Peer};
use super::log_limit::{RequestLogLimit, truncate};
use super::page::Page;
use super::responses::{self, ResponseBody};
use super::rewrite::{self, RequestTarget};
use super::{health, patience};
use crate::accounts::credentials::TokenSource;
use crate::accounts::denied::AnonymousContent;
use crate::gateway::{Engine, Gateway, TokenKind};
use crate::status::Publisher;
use docxy_host::logging::LogHandle;
use docxy_host::metrics::{self, ProcessStart};
use docxy_host::net::web_origin::{AllowedHosts, LocalHost, Scheme, refuse_foreign_pages};
use docxy_host::random::random_number;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::headers::Headers;
use docxy_protocol::limits::{SMALL_BODY_BYTES_MAX, TOKEN_FORM_BYTES_MAX};
use docxy_protocol::name::Registry;
use docxy_protocol::request::{Request, TraceId};
use docxy_protocol::route::{self, NamedBy, Route};
use docxy_protocol::token::{Parsed, TokenRequest};
use docxy_protocol::token_response::TokenResponse;
use http::{HeaderMap, Method, Response, Version, header};
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::{Body as _, Incoming};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::Instrument as _;

/// What all requests share.
#[derive(Debug)]
pub(super) struct Handler {
    gateway: Gateway,
    allowed_hosts: AllowedHosts,
    allowed_networks: AllowedNetworks,
    lines: RequestLogLimit,
    log: LogHandle,
    started: ProcessStart,
    page: Page,
}

impl Handler {
    pub(super) fn new(
        gateway: Gateway,
        allowed_hosts: AllowedHosts,
        allowed_networks: AllowedNetworks,
        log: LogHandle,
        publisher: Arc<Publisher>,
    ) -> Self {
        let (lines, started) = (RequestLogLimit::default(), ProcessStart::now());
        Self { gateway, allowed_hosts, allowed_networks, lines, log, started, page: Page::new(publisher) }
    }

    pub(super) const fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Answers a request that comes from this peer, or from a command. A fault becomes an error response.
    pub(super) async fn handle(
        &self,
        request: http::Request<Incoming>,
        busy: &BusyGuard,
        peer: Option<Peer>,
    ) -> Result<Response<ResponseBody>, Infallible> {
        let started = Instant::now();
        let path = request.uri().path().to_owned();
        let has_body = !request.body().is_end_stream();
        // The query is not logged: that of a token request holds account names.
        let (method, shown_path) = (truncate(request.method().as_str()), truncate(&path));
        let span = tracing::info_span!("exchange", %method, path = shown_path);
        let is_pull = is_pull(&path);
        async {
            let result = self.respond(request, busy, peer).await;
            let ms = started.elapsed().as_millis();
            if is_pull {
                let status = result.as_ref().map_or_else(Fault::status, Response::status);
                self.gateway.count_response(status);
            }
            Ok(match result {
                Ok(response) => {
                    tracing::debug!(status = response.status().as_u16(), ms, "request answered");
                    response
                }
                Err(fault) => {
                    if fault.hop == Hop::Tunnel || fault.is_outage() {
                        // The loss of the tunnel and the outage of a registry have lines of their own.
                        tracing::debug!(%fault, status = fault.status().as_u16(), ms, "request failed");
                    } else if let Some(suppressed) = self.lines.failed(&fault) {
                        tracing::warn!(%fault, status = fault.status().as_u16(), ms, suppressed, "request failed");
                    }
                    let response = responses::fault(&fault, &path);
                    // The rest of the body is not read, so the connection closes.
                    if has_body { responses::last(response) } else { response }
                }
            })
        }
        .instrument(span)
        .await
    }

    async fn respond(
        &self,
        request: http::Request<Incoming>,
        busy: &BusyGuard,
        peer: Option<Peer>,
    ) -> Result<Response<ResponseBody>, Fault> {
        if request.version() < Version::HTTP_11 {
            // HTTP/1.0 marks the end of a body by closing, so truncation would be silent.
            return Err(unreadable("HTTP/1.1 is needed"));
        }
        if let Some(peer) = peer {
            peer.check(&self.allowed_networks.read())?;
        }
        let reached = peer.map(|peer| peer.reached);
        let host = LocalHost::of(Scheme::Http, request.headers(), &self.allowed_hosts.read(), reached)?;
        refuse_foreign_pages(request.headers(), &host)?;
        let mut engine = Engine::new(busy.connection(), request.headers());
        if let Some(peer) = peer.filter(|_| host.is_built_in()) {
            engine = engine.from_address(peer.address, request.headers());
        }
        let uri = request.uri();
        let is_of_this_machine = peer.is_none() || engine.is_local();
        match route::parse(request.method(), uri.path(), uri.query())? {
            Route::Health if !is_of_this_machine => Ok(health::state(&self.gateway)),
            Route::Metrics | Route::Page(_) | Route::Status | Route::Events | Route::Action(_)
                if !is_of_this_machine =>
            {
                let detail = "this is for programs on this machine, by a name of this machine";
                Err(Fault::new(Hop::Engine, FaultKind::PeerNotServed, detail))
            }
            Route::Health => Ok(health::response(&self.gateway, &self.log)),
            Route::Metrics => Ok(self.metrics(request.headers())),
            Route::Page(name) => self.page.file(&name),
            Route::Status => Ok(self.page.status()),
            Route::Events => self.page.events(busy),
            Route::Action(action) => self.page.act(action, request, (&self.gateway, busy)).await,
            Route::Token(registry) => self.token(registry, request, &engine, &host, busy).await,
            Route::Registry(registry, operation, named_by) => {
                let authorization = authorization(request.headers());
                let anonymous =
                    AnonymousContent::of(&registry, &operation, &authorization, request.headers());
                // A credential that the registry must not receive counts as shown: a challenge would not help.
                let authorization = if anonymous.is_some() { Authorization::Public } else { authorization };
                let request = Request::new(registry, operation)
                    .with_authorization(authorization)
                    .with_headers(Headers::filter_request(request.headers()))
                    .with_trace(TraceId(random_number()));
                let response = self.forward(request, &engine, named_by, &host).await?;
                Ok(match anonymous {
                    Some(anonymous) => anonymous.explain(response).await,
                    None => response,
                })
            }
        }
    }

    /// The metrics, for programs on this machine.
    fn metrics(&self, headers: &HeaderMap) -> Response<ResponseBody> {
        let (gateway, log, started) = (self.gateway.clone(), self.log.clone(), self.started);
        let response = metrics::response(headers, move |metrics| {
            gateway.write_metrics(metrics)?;
            let help = "Log lines that could not be written";
            metrics.counter("docxy_client_log_lines_dropped", help, log.lines_dropped())?;
            started.write(metrics)
        });
        response.map(|body| Either::Left(Full::new(body)))
    }

    /// Answers a token request for this registry: with the public token if the request has no credential that
    /// the registry may see, else with the response of its token service. An account that cannot be sent does not
    /// stop a pull, because the image may be public; only a login is refused.
    async fn token(
        &self,
        registry: Registry,
        request: http::Request<Incoming>,
        engine: &Engine,
        host: &LocalHost,
        busy: &BusyGuard,
    ) -> Result<Response<ResponseBody>, Fault> {
        let (head, body) = request.into_parts();
        let parsed = if head.method == Method::POST {
            TokenRequest::from_form(&read_form(body, busy).await?, &registry).map_err(unreadable)?
        } else {
            TokenRequest::from_query(head.uri.query().unwrap_or_default(), &registry)
        };
        let authorization = authorization(&head.headers);
        // A form always has a credential.
        let has_credential = head.method == Method::POST || matches!(authorization, Authorization::Basic(_));
        let token = match parsed {
            // Engines that pull name a scope, and those that log in name none.
            Parsed::Request(token)
                if has_credential && token.scopes.is_empty() && !registry.is_docker_hub() =>
            {
                return Ok(responses::login_refused(&registry));
            }
            Parsed::Request(token) => token.for_registry(&registry),
            Parsed::NamesOtherRegistry => return Ok(responses::public_token(has_credential)),
        };
        let authorization = authorization.for_token_service(&registry);
        if token.is_anonymous(&authorization) {
            self.gateway.record_token(&registry, engine, TokenKind::Public);
            return Ok(responses::public_token(has_credential));
        }
        let source = TokenSource { registry, token, authorization };
        let headers = Headers::filter_request(&head.headers);
        let request = source.request().with_headers(headers).with_trace(TraceId(random_number()));
        if !self.gateway.may_send(&request) {
            return Ok(responses::public_token(has_credential));
        }
        let response = self.forward(request, engine, NamedBy::default(), host).await?;
        if !response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body =
            Limited::new(body, SMALL_BODY_BYTES_MAX).collect().await.map_err(unreadable_token)?.to_bytes();
        let tokens = TokenResponse::parse(&body)
            .map_err(|error| Fault::new(Hop::TokenService, FaultKind::MalformedResponse, error))?;
        self.gateway.remember_tokens(&tokens, &source);
        self.gateway.record_token(&source.registry, engine, TokenKind::Credential);
        Ok(Response::from_parts(head, Either::Left(Full::new(body))))
    }

    async fn forward(
        &self,
        request: Request,
        engine: &Engine,
        named_by: NamedBy,
        host: &LocalHost,
    ) -> Result<Response<ResponseBody>, Fault> {
        let target = &RequestTarget::new(&request.registry, &request.operation, named_by);
        let deadline = patience::deadline(&request.operation, engine, self.gateway.stall_timeout());
        let (mut head, body) = self.gateway.send(request, engine, deadline).await?.into_parts();
        rewrite::challenges(&mut head.headers, host, target);
        rewrite::links(&mut head.headers, head.status, target)?;
        // Forward no other redirect: the server follows them, and one would lead the engine past this client.
        head.headers.remove(header::LOCATION);
        Ok(Response::from_parts(head, Either::Right(Either::Left(body))))
    }
}

/// Whether a path is for the content of a registry, and not `/v2/` or a path of this client.
fn is_pull(path: &str) -> bool {
    path.strip_prefix("/v2/").is_some_and(|rest| !rest.is_empty())
}

fn authorization(headers: &HeaderMap) -> Authorization {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.map_or(Authorization::None, Authorization::parse)
}

/// How long an engine may take to send a form, however it arrives. It usually arrives at once.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn read_form(body: Incoming, busy: &BusyGuard) -> Result<String, Fault> {
    let _idle = busy.begin_idle();
    let body = tokio::time::timeout(FORM_TIMEOUT, Limited::new(body, TOKEN_FORM_BYTES_MAX).collect()).await;
    let timed_out =
        |_| unreadable(format_args!("the form was not whole within {} s", FORM_TIMEOUT.as_secs()));
    let body = body.map_err(timed_out)?.map_err(|_| unreadable("the form is too long, or ended early"))?;
    String::from_utf8(body.to_bytes().into()).map_err(|_| unreadable("the form is not text"))
}

fn unreadable_token(error: impl std::fmt::Display) -> Fault {
    Fault::new(
        Hop::TokenService,
        FaultKind::MalformedResponse,
        format!("the response of the token service cannot be read: {error}"),
    )
}

fn unreadable(detail: impl std::fmt::Display) -> Fault {
    Fault::new(Hop::Engine, FaultKind::RequestInvalid, detail)
}
