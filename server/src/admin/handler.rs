//! Answers one request of the operator's browser, or of Prometheus.

use super::login::{Logins, SessionToken};
use super::{Operated, metrics, overview, password};
use crate::access::{self, InviteError};
use crate::state::{ClientsError, Revocation};
use bytes::Bytes;
use docxy_host::metrics as exposition;
use docxy_host::net::web_origin::{LocalHost, Scheme, refuse_foreign_pages};
use docxy_host::web_page::{HTML, PageFile, SCRIPT, SHARED_FILES, STYLE, protect};
use docxy_protocol::link::ClientName;
use docxy_protocol::secret::Secret;
use docxy_transport::tcp::Certificates;
use http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;
use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of a request body: a name or a password.
const BODY_BYTES_MAX: usize = 4096;

/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The cookie of who is logged in.
const COOKIE_NAME: &str = "docxy_admin";

/// The files of the page, beside the [shared ones](SHARED_FILES). The page itself has no name.
const FILES: [PageFile; 5] = [
    ("", HTML, include_str!("page/index.html")),
    ("admin.css", STYLE, include_str!("page/admin.css")),
    ("admin.js", SCRIPT, include_str!("page/admin.js")),
    ("view.js", SCRIPT, include_str!("page/view.js")),
    ("words.js", SCRIPT, include_str!("page/words.js")),
];

type Body = Full<Bytes>;

/// Why a request is refused, in words for the operator.
#[derive(Debug)]
struct Refusal(StatusCode, String);

/// What all requests share.
#[derive(Debug)]
pub(super) struct Handler {
    operated: Arc<Operated>,
    logins: Logins,
    /// Those whose names this address has, if it is served with TLS.
    certificates: Option<Certificates>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordForm {
    password: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NameForm {
    name: ClientName,
}

impl Handler {
    pub(super) fn new(operated: Arc<Operated>, certificates: Option<Certificates>) -> Self {
        Self { operated, logins: Logins::default(), certificates }
    }

    pub(super) async fn handle(
        &self,
        request: http::Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let answered = self.respond(request).await;
        let mut response = answered
            .unwrap_or_else(|Refusal(status, words)| json_response(status, &json!({ "error": words })));
        protect(response.headers_mut());
        Ok(response)
    }

    async fn respond(&self, request: http::Request<Incoming>) -> Result<Response<Body>, Refusal> {
        self.check_origin(request.headers())?;
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let file = |(name, ..): &&PageFile| path.strip_prefix('/') == Some(*name);
        if let Some((_, media_type, content)) = FILES.iter().chain(&SHARED_FILES).find(file) {
            allow(&head.method, &[Method::GET, Method::HEAD])?;
            let mut response = Response::new(Full::new(Bytes::from_static(content.as_bytes())));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
            return Ok(response);
        }
        match path {
            "/metrics" => {
                allow(&head.method, &[Method::GET, Method::HEAD])?;
                let operated = Arc::clone(&self.operated);
                let response =
                    exposition::response(&head.headers, move |text| metrics::write(&operated, text));
                Ok(response.map(Full::new))
            }
            "/api/status" => {
                allow(&head.method, &[Method::GET, Method::HEAD])?;
                let hash = self.password().await?;
                let token = token(&head.headers);
                let is_open = hash
                    .as_ref()
                    .is_some_and(|hash| self.logins.is_open(token.as_ref(), hash, Instant::now()));
                let access = match (&hash, is_open) {
                    (None, _) => overview::Access::NoPassword,
                    (Some(_), false) => overview::Access::LoggedOut,
                    (Some(_), true) => overview::Access::Operator,
                };
                Ok(json_response(StatusCode::OK, &overview::overview(&self.operated, access)))
            }
            "/api/login" => {
                allow(&head.method, &[Method::POST])?;
                let PasswordForm { password } = read_form(&head.headers, body).await?;
                self.log_in(password).await
            }
            "/api/logout" => {
                allow(&head.method, &[Method::POST])?;
                self.logins.close(token(&head.headers).as_ref());
                let mut response = json_response(StatusCode::OK, &json!({}));
                response.headers_mut().insert(SET_COOKIE, self.cookie("", Duration::ZERO));
                Ok(response)
            }
            "/api/invite" | "/api/revoke" => {
                allow(&head.method, &[Method::POST])?;
                self.require_operator(&head.headers).await?;
                let NameForm { name } = read_form(&head.headers, body).await?;
                if path == "/api/invite" { self.invite(name).await } else { self.revoke(name).await }
            }
            _ => Err(Refusal(StatusCode::NOT_FOUND, "there is nothing at this address".into())),
        }
    }

    /// The checks of the client's API: see [`docxy_host::net::web_origin`].
    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let (scheme, names) = match &self.certificates {
            None => (Scheme::Http, Vec::new()),
            Some(certificates) => (Scheme::Https, certificates.operators_names()),
        };
        let host = LocalHost::of(scheme, headers, &names, None).map_err(|fault| {
            Refusal(
                fault.status(),
                "the Host is no name of this server: use 127.0.0.1, or a name of tls_certificate".into(),
            )
        })?;
        refuse_foreign_pages(headers, &host)
            .map_err(|fault| Refusal(fault.status(), "another site's page sent this request".into()))
    }

    /// The password's hash, if a password is set.
    async fn password(&self) -> Result<Option<password::PasswordHash>, Refusal> {
        let state = self.operated.state.clone();
        blocking(move || password::PasswordHash::load(&state)).await
    }

    async fn require_operator(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let hash = self.password().await?;
        if hash.is_some_and(|hash| self.logins.is_open(token(headers).as_ref(), &hash, Instant::now())) {
            return Ok(());
        }
        Err(Refusal(StatusCode::UNAUTHORIZED, "log in first".into()))
    }

    async fn log_in(&self, password: Secret) -> Result<Response<Body>, Refusal> {
        let Some(hash) = self.password().await? else {
            let words = "no password is set: run docxy-server admin-password on the server";
            return Err(Refusal(StatusCode::FORBIDDEN, words.into()));
        };
        // One at a time, since each takes memory.
        let _turn = self.logins.turn().await;
        if !self.logins.may_try(Instant::now()) {
            let words = "five wrong passwords within a minute: wait for a minute";
            return Err(Refusal(StatusCode::TOO_MANY_REQUESTS, words.into()));
        }
        let checked = hash.clone();
        if !blocking(move || Ok::<_, Infallible>(checked.is_of(&password))).await? {
            tracing::warn!("a wrong password was given on the admin page");
            return Err(Refusal(StatusCode::UNAUTHORIZED, "the password is wrong".into()));
        }
        let token = self.logins.open(&hash, Instant::now()).map_err(internal)?;
        let mut response = json_response(StatusCode::OK, &json!({}));
        response.headers_mut().insert(SET_COOKIE, self.cookie(token.expose(), Logins::LIFETIME));
        Ok(response)
    }

    fn cookie(&self, value: &str, lifetime: Duration) -> HeaderValue {
        let secure = if self.certificates.is_some() { "; Secure" } else { "" };
        let seconds = lifetime.as_secs();
        let text =
            format!("{COOKIE_NAME}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
        let mut value = HeaderValue::from_str(&text).expect("base64 is valid in a field");
        value.set_sensitive(true);
        value
    }

    async fn invite(&self, name: ClientName) -> Result<Response<Body>, Refusal> {
        let operated = Arc::clone(&self.operated);
        let invited = name.clone();
        let link = blocking(move || {
            let Operated { state, public, listen, .. } = &*operated;
            Ok::<_, Infallible>(access::invite(state, &invited, public.clone(), listen))
        });
        let link = link.await?.map_err(|error| match error {
            InviteError::Clients(ClientsError::Taken(_)) => Refusal(StatusCode::CONFLICT, error.to_string()),
            error => internal(error),
        })?;
        self.operated.clients.poll_now();
        tracing::info!(%name, "a client was invited on the admin page");
        Ok(json_response(StatusCode::OK, &json!({ "link": link.expose_with_sum().to_string() })))
    }

    async fn revoke(&self, name: ClientName) -> Result<Response<Body>, Refusal> {
        let state = self.operated.state.clone();
        let revoked = name.clone();
        if let Revocation::Unknown(_) = blocking(move || access::revoke(&state, &revoked)).await? {
            return Err(Refusal(StatusCode::NOT_FOUND, format!("there is no client named {name}")));
        }
        self.operated.clients.poll_now();
        tracing::info!(%name, "a client was revoked on the admin page");
        Ok(json_response(StatusCode::OK, &json!({})))
    }
}

fn allow(method: &Method, allowed: &[Method]) -> Result<(), Refusal> {
    if allowed.contains(method) {
        return Ok(());
    }
    Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "this address does not take that method".into()))
}

/// The form in a body of JSON. Another type could come from a plain form of any page.
async fn read_form<T: for<'de> Deserialize<'de>>(headers: &HeaderMap, body: Incoming) -> Result<T, Refusal> {
    let is_json = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes() == b"application/json");
    if !is_json {
        return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json".into()));
    }
    let body = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let bad = |words: &str| Refusal(StatusCode::BAD_REQUEST, words.into());
    let body = body.map_err(|_| bad("the body took too long"))?;
    let body = body.map_err(|_| bad("the body is too long, or ended early"))?.to_bytes();
    // The error is not shown: it may quote a password.
    serde_json::from_slice(&body).map_err(|_| bad("a name has 1 to 64 of A-Z a-z 0-9 . _ -"))
}

/// The token in the cookie of a request, if there is one.
fn token(headers: &HeaderMap) -> Option<SessionToken> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| SessionToken::of(value))
}

/// Runs what waits for the disk, or computes for long.
async fn blocking<T: Send + 'static, E: Display + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(internal)?.map_err(internal)
}

fn internal(error: impl Display) -> Refusal {
    Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

fn json_response(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Full::new(value.to_string().into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
