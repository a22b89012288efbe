//! One request of an engine: checked, typed, asked, and answered.

use super::browser::refuse_foreign_pages;
use super::connections::Serving;
use super::host::LocalHost;
use super::hosts::Hosts;
use super::line_limit::{LineLimit, shown};
use super::render::{self, ResponseBody};
use super::services::Services;
use super::{health, patience, rewrite};
use crate::credentials::Login;
use crate::gateway::{Answer, Gateway};
use crate::tunnel::Tunnel;
use docxy_host::logging::LogHandle;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::headers::Headers;
use docxy_protocol::limits::{SMALL_BODY_MAX, TOKEN_FORM_MAX};
use docxy_protocol::name::Registry;
use docxy_protocol::request::{Operation, Request};
use docxy_protocol::route::{self, Route};
use docxy_protocol::token::{TokenError, TokenRequest};
use http::{HeaderMap, Method, Response, StatusCode, Version, header};
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::{Body as _, Incoming};
use std::convert::Infallible;
use std::time::{Duration, Instant};
use tracing::Instrument as _;

/// What all requests share.
#[derive(Debug)]
pub(super) struct Handler {
    gateway: Gateway,
    tunnel: Tunnel,
    hosts: Hosts,
    services: Services,
    lines: LineLimit,
    log: LogHandle,
}

impl Handler {
    pub(super) fn new(gateway: Gateway, tunnel: Tunnel, hosts: Hosts, log: LogHandle) -> Self {
        let (services, lines) = (Services::default(), LineLimit::default());
        Self { gateway, tunnel, hosts, services, lines, log }
    }

    /// Answers a request; a fault is an answer, too.
    pub(super) async fn handle(
        &self,
        request: http::Request<Incoming>,
        serving: &Serving,
    ) -> Result<Response<ResponseBody>, Infallible> {
        let started = Instant::now();
        let path = request.uri().path().to_owned();
        let has_body = !request.body().is_end_stream();
        // The query stays out of it: a token request's holds account names.
        let (method, shown_path) = (shown(request.method().as_str()), shown(&path));
        let span = tracing::info_span!("exchange", %method, path = shown_path);
        let is_pull = is_pull(&path);
        async {
            let answer = self.answer(request, serving).await;
            let ms = started.elapsed().as_millis();
            Ok(match answer {
                Ok(response) => {
                    if let Some(suppressed) = self.lines.answered(&response, is_pull) {
                        tracing::info!(status = response.status().as_u16(), ms, suppressed, "answered");
                    }
                    response
                }
                Err(fault) => {
                    if let Some(suppressed) = self.lines.failed(&fault) {
                        tracing::warn!(%fault, status = fault.status().as_u16(), ms, suppressed, "failed");
                    }
                    let response = render::fault(&fault, &path);
                    // The body may not have been read to its end, and is waited for no longer.
                    if has_body { render::last(response) } else { response }
                }
            })
        }
        .instrument(span)
        .await
    }

    async fn answer(
        &self,
        request: http::Request<Incoming>,
        serving: &Serving,
    ) -> Result<Response<ResponseBody>, Fault> {
        if request.version() < Version::HTTP_11 {
            // It would end a body of unknown length by closing, and a break would look the same.
            return Err(unreadable("HTTP/1.1 is needed"));
        }
        let host = LocalHost::of(request.headers(), &self.hosts.current())?;
        refuse_foreign_pages(request.headers(), &host)?;
        let uri = request.uri();
        match route::parse(request.method(), uri.path(), uri.query())? {
            Route::Health => Ok(health::response(&self.tunnel.status(), &self.gateway, &self.log)),
            Route::Token => self.token(request, &host, serving).await,
            Route::Registry(registry, operation) => {
                self.ask(registry, operation, request.headers(), &host).await
            }
        }
    }

    /// A token: ours for those who show no credential, the registry's own for those who do.
    async fn token(
        &self,
        request: http::Request<Incoming>,
        host: &LocalHost,
        serving: &Serving,
    ) -> Result<Response<ResponseBody>, Fault> {
        let (head, body) = request.into_parts();
        let query = head.uri.query().unwrap_or_default();
        let form = match head.method {
            Method::POST => Some(read_form(body, serving).await?),
            _ => None,
        };
        let (named, token) = match &form {
            Some(form) => TokenRequest::from_form(form),
            None => TokenRequest::from_query(query),
        }
        .map_err(|error: TokenError| unreadable(error))?;
        let service = service(form.as_deref().unwrap_or(query));
        let registry = named.unwrap_or_else(|| self.services.registry(service.as_deref()));
        let authorization = authorization(&head.headers).for_registry(&registry);
        let token = token.for_registry(&registry);
        if token.is_anonymous(&authorization) {
            return Ok(render::public_token());
        }
        let login = Login { registry: registry.clone(), token: token.clone(), authorization };
        let mut response = self.ask(registry, Operation::Token(token), &head.headers, host).await?;
        if response.status() == StatusCode::OK {
            let (head, body) = response.into_parts();
            let answer = Limited::new(body, SMALL_BODY_MAX).collect().await.map_err(unreadable_token)?;
            let answer = answer.to_bytes();
            self.gateway.learn(&answer, &login)?;
            response = Response::from_parts(head, Either::Left(Full::new(answer)));
        }
        Ok(response)
    }

    async fn ask(
        &self,
        registry: Registry,
        operation: Operation,
        headers: &HeaderMap,
        host: &LocalHost,
    ) -> Result<Response<ResponseBody>, Fault> {
        let user_agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        let patience = patience::of(&operation, user_agent, self.gateway.patience());
        let request = Request {
            registry: registry.clone(),
            operation,
            authorization: authorization(headers),
            headers: Headers::filter_request(headers),
            prefetch: None,
        };
        let answer = self.gateway.ask(request, patience).await?;
        Ok(self.respond(answer, &registry, host))
    }

    fn respond(&self, answer: Answer, registry: &Registry, host: &LocalHost) -> Response<ResponseBody> {
        let mut headers = answer.headers.into_map();
        for service in rewrite::challenges(&mut headers, host) {
            self.services.learn(&service, registry);
        }
        rewrite::links(&mut headers, registry);
        // The server has followed what there was to follow; anything left would lead an engine past us.
        headers.remove(header::LOCATION);
        let mut response = Response::new(Either::Right(answer.body));
        *response.status_mut() = answer.status;
        *response.headers_mut() = headers;
        response
    }
}

/// Whether a path is about a registry's content, and not its doorstep or ourselves.
fn is_pull(path: &str) -> bool {
    path.strip_prefix("/v2/").is_some_and(|rest| !rest.is_empty())
}

fn authorization(headers: &HeaderMap) -> Authorization {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.map_or(Authorization::None, Authorization::parse)
}

/// The service that a token request names (distribution's "Token Authentication").
fn service(fields: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(fields.as_bytes());
    pairs.find(|(name, _)| name == "service").map(|(_, value)| value.into_owned())
}

/// How long an engine may take to send a form: all of it, however it comes. It is here already, as a rule.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);

async fn read_form(body: Incoming, serving: &Serving) -> Result<String, Fault> {
    let _paused = serving.pause();
    let body = tokio::time::timeout(FORM_TIMEOUT, Limited::new(body, TOKEN_FORM_MAX).collect()).await;
    let late = |_| unreadable(format_args!("the form was not whole within {} s", FORM_TIMEOUT.as_secs()));
    let body = body.map_err(late)?.map_err(|_| unreadable("the form is too long, or ended early"))?;
    String::from_utf8(body.to_bytes().into()).map_err(|_| unreadable("the form is no text"))
}

fn unreadable_token(error: impl std::fmt::Display) -> Fault {
    Fault::new(
        Hop::Auth,
        FaultKind::MalformedResponse,
        format!("the token service's answer cannot be read: {error}"),
    )
}

fn unreadable(detail: impl std::fmt::Display) -> Fault {
    Fault::new(Hop::Engine, FaultKind::RequestInvalid, detail)
}
