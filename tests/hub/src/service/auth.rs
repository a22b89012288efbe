//! The token service: `GET` with Basic credentials or none, and OAuth2 `POST`. It grants those requested scopes
//! that the account may have; a request for more is no error.
//! Passwords must never be checked anywhere else.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt as _, Limited};
use serde_json::json;
use url::form_urlencoded;

use crate::{
    http::response::{Body, json, set_header, text},
    service::token::{Access, Grant},
    state::HubState,
    steering::{fault::Fault, site::Kind},
};

/// A form has a few hundred bytes; a larger one is an error.
const FORM_BYTES_MAX: usize = 64 * 1024;

pub(crate) async fn handle<B>(hub: &HubState, entry: usize, request: Request<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    if request.uri().path() != "/token" {
        return text(StatusCode::NOT_FOUND, "404 page not found\n");
    }
    match *request.method() {
        Method::GET => get(hub, request.headers(), request.uri().query().unwrap_or_default()),
        Method::POST => {
            let Ok(form) = Limited::new(request.into_body(), FORM_BYTES_MAX).collect().await else {
                return text(StatusCode::BAD_REQUEST, "unreadable form\n");
            };
            let form = form.to_bytes();
            hub.request_log.record_form(entry, &String::from_utf8_lossy(&form));
            post(hub, &form)
        }
        _ => text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"),
    }
}

fn get(hub: &HubState, headers: &HeaderMap, query: &str) -> Response<Body> {
    let query = Params::parse(query.as_bytes());
    let account = match parse_basic(headers) {
        Basic::Absent => None,
        Basic::Given(user, password) if hub.store.verify(&user, &password) => Some(user),
        Basic::Given(..) | Basic::Unreadable => return unauthorized(),
    };
    let grant = grant(hub, account, &query);
    let token = issue(hub, &grant);
    let mut document = json!({
        "access_token": token,
        "expires_in": hub.tokens.lifetime_secs(),
        "issued_at": jiff::Timestamp::now().to_string(),
    });
    if hub.kind != Kind::AccessTokenOnly {
        document["token"] = json!(token);
    }
    if query.first("offline_token") == Some("true")
        && let Some(account) = &grant.account
    {
        document["refresh_token"] = json!(hub.tokens.issue_refresh(account));
    }
    json(StatusCode::OK, &document)
}

fn post(hub: &HubState, form: &[u8]) -> Response<Body> {
    let form = Params::parse(form);
    let field = |name| form.first(name).unwrap_or_default();
    let account = match field("grant_type") {
        "password" => {
            let (user, password) = (field("username"), field("password"));
            hub.store.verify(user, password).then(|| user.to_owned())
        }
        "refresh_token" => hub.tokens.refresh_account(field("refresh_token")),
        _ => return json(StatusCode::BAD_REQUEST, &json!({ "details": "unsupported grant_type" })),
    };
    let Some(account) = account else { return unauthorized() };
    let refresh = match field("grant_type") {
        "refresh_token" => Some(field("refresh_token").to_owned()),
        _ if field("access_type") == "offline" => Some(hub.tokens.issue_refresh(&account)),
        _ => None,
    };
    let grant = grant(hub, Some(account), &form);
    let mut document = json!({
        "access_token": issue(hub, &grant),
        "scope": grant.scope(),
        "expires_in": hub.tokens.lifetime_secs(),
        "issued_at": jiff::Timestamp::now().to_string(),
    });
    if let Some(refresh) = refresh {
        document["refresh_token"] = json!(refresh);
    }
    json(StatusCode::OK, &document)
}

fn issue(hub: &HubState, grant: &Grant) -> String {
    let mut token = hub.tokens.issue(grant);
    if let Some(Fault::LongToken { bytes }) =
        hub.faults.take("/token", |fault| matches!(fault, Fault::LongToken { .. }))
    {
        token.push_str(&"x".repeat(bytes));
    }
    token
}

/// The requested scopes that this account may have.
fn grant(hub: &HubState, account: Option<String>, fields: &Params) -> Grant {
    let scopes = fields.all("scope").flat_map(str::split_whitespace);
    let requested = scopes.filter_map(Access::parse).filter(|access| access.kind == "repository");
    let allowed = requested.map(|mut access| {
        access.actions.retain(|action| match action.as_str() {
            "pull" => hub.store.may_pull(account.as_deref(), &access.name),
            "push" => hub.store.may_push(account.as_deref(), &access.name),
            _ => false,
        });
        access
    });
    let access = allowed.filter(|access| !access.actions.is_empty()).collect();
    Grant { account, access }
}

fn unauthorized() -> Response<Body> {
    let mut response =
        json(StatusCode::UNAUTHORIZED, &json!({ "details": "incorrect username or password" }));
    set_header(&mut response, "www-authenticate", "Basic realm=\"Registry Realm\"");
    response
}

enum Basic {
    Absent,
    Given(String, String),
    Unreadable,
}

fn parse_basic(headers: &HeaderMap) -> Basic {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Basic::Absent };
    let pair = value.to_str().ok().and_then(|text| text.strip_prefix("Basic "));
    let pair = pair.and_then(|encoded| STANDARD.decode(encoded).ok());
    let pair = pair.and_then(|bytes| String::from_utf8(bytes).ok());
    match pair.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((user, password)) => Basic::Given(user.to_owned(), password.to_owned()),
        None => Basic::Unreadable,
    }
}

/// The parameters of a query or a form.
struct Params(Vec<(String, String)>);

impl Params {
    fn parse(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().collect())
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
