//! One request of an engine: checked, typed, asked, and answered.

use super::browser::refuse_foreign_pages;
use super::connections::Serving;
use super::host::LocalHost;
use super::hosts::Hosts;
use super::line_limit::{LineLimit, shown};
use super::render::{self, ResponseBody};
use super::rewrite::{self, Target};
use super::{health, patience};
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
use docxy_protocol::route::{self, NamedBy, Route};
use docxy_protocol::token::{Parsed, TokenError, TokenRequest};
use docxy_protocol::token_response::TokenResponse;
use http::{HeaderMap, Method, Response, Version, header};
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
    lines: LineLimit,
    log: LogHandle,
}

impl Handler {
    pub(super) fn new(gateway: Gateway, tunnel: Tunnel, hosts: Hosts, log: LogHandle) -> Self {
        Self { gateway, tunnel, hosts, lines: LineLimit::default(), log }
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
            Route::Token(registry) => self.token(registry, request, &host, serving).await,
            Route::Registry(registry, operation, named_by) => {
                let target = Target::new(&registry, &operation, named_by);
                let authorization = authorization(request.headers());
                let request = typed(registry, operation, authorization, request.headers());
                self.ask(request, &target, &host).await
            }
        }
    }

    /// Answers a token request for this registry: with the public token if the request has no credential
    /// that the registry may see, else with what the registry's token service says.
    async fn token(
        &self,
        registry: Registry,
        request: http::Request<Incoming>,
        host: &LocalHost,
        serving: &Serving,
    ) -> Result<Response<ResponseBody>, Fault> {
        let (head, body) = request.into_parts();
        let parsed = if head.method == Method::POST {
            TokenRequest::from_form(&read_form(body, serving).await?, &registry)
        } else {
            TokenRequest::from_query(head.uri.query().unwrap_or_default(), &registry)
        };
        let token = match parsed.map_err(|error: TokenError| unreadable(error))? {
            Parsed::Request(token) => token.for_registry(&registry),
            Parsed::NamesOtherRegistry => return Ok(render::public_token()),
        };
        let authorization = authorization(&head.headers).for_token_service(&registry);
        if token.is_anonymous(&authorization) {
            return Ok(render::public_token());
        }
        let login = Login { registry, token, authorization };
        if !self.gateway.admits(&login.request()) {
            return Ok(render::public_token());
        }
        let Login { registry, token, authorization } = login.clone();
        let operation = Operation::Token(token);
        let target = Target::new(&registry, &operation, NamedBy::Namespace);
        let request = typed(registry, operation, authorization, &head.headers);
        let response = self.ask(request, &target, host).await?;
        if !response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = Limited::new(body, SMALL_BODY_MAX).collect().await.map_err(unreadable_token)?.to_bytes();
        let tokens = TokenResponse::parse(&body)
            .map_err(|error| Fault::new(Hop::Auth, FaultKind::MalformedResponse, error))?;
        self.gateway.learn(&tokens, &login);
        Ok(Response::from_parts(head, Either::Left(Full::new(body))))
    }

    async fn ask(
        &self,
        request: Request,
        target: &Target,
        host: &LocalHost,
    ) -> Result<Response<ResponseBody>, Fault> {
        let user_agent = request.headers.get_str(&header::USER_AGENT);
        let patience = patience::of(&request.operation, user_agent, self.gateway.patience());
        let Answer { status, headers, body } = self.gateway.ask(request, patience).await?;
        let mut headers = headers.into_map();
        rewrite::challenges(&mut headers, host, target);
        rewrite::links(&mut headers, target.registry());
        // The server has followed what there was to follow; anything left would lead an engine past us.
        headers.remove(header::LOCATION);
        let mut response = Response::new(Either::Right(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// Whether a path is about a registry's content, and not its doorstep or ourselves.
fn is_pull(path: &str) -> bool {
    path.strip_prefix("/v2/").is_some_and(|rest| !rest.is_empty())
}

fn typed(
    registry: Registry,
    operation: Operation,
    authorization: Authorization,
    headers: &HeaderMap,
) -> Request {
    Request { registry, operation, authorization, headers: Headers::filter_request(headers), prefetch: None }
}

fn authorization(headers: &HeaderMap) -> Authorization {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.map_or(Authorization::None, Authorization::parse)
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
