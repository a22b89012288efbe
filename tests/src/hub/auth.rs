//! The token service: `GET` with Basic credentials or none, OAuth2 `POST`.
//! It grants the part of what was asked that the account may have; asking for more is no error.
//! Passwords are checked here and nowhere else.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt as _, Limited};
use serde_json::json;
use url::form_urlencoded;

use super::{
    World,
    fault::Fault,
    reply::{Body, json, set, text},
    token::{Access, Grant},
};

/// Forms are a few hundred bytes; a client that sends more is broken.
const MAX_FORM: usize = 64 * 1024;

pub(super) async fn answer<B>(world: &World, entry: usize, request: Request<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    if request.uri().path() != "/token" {
        return text(StatusCode::NOT_FOUND, "404 page not found\n");
    }
    match *request.method() {
        Method::GET => get(world, request.headers(), request.uri().query().unwrap_or_default()),
        Method::POST => {
            let Ok(form) = Limited::new(request.into_body(), MAX_FORM).collect().await else {
                return text(StatusCode::BAD_REQUEST, "unreadable form\n");
            };
            let form = form.to_bytes();
            world.journal.sent_form(entry, &String::from_utf8_lossy(&form));
            post(world, &form)
        }
        _ => text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"),
    }
}

fn get(world: &World, headers: &HeaderMap, query: &str) -> Response<Body> {
    let query = Fields::parse(query.as_bytes());
    let account = match basic(headers) {
        Basic::Absent => None,
        Basic::Given(user, password) if world.store.verify(&user, &password) => Some(user),
        Basic::Given(..) | Basic::Unreadable => return refused(),
    };
    let grant = grant(world, account, &query);
    let token = issue(world, &grant);
    let mut document = json!({
        "token": token,
        "access_token": token,
        "expires_in": world.tokens.lifetime_secs(),
        "issued_at": jiff::Timestamp::now().to_string(),
    });
    if query.first("offline_token") == Some("true")
        && let Some(account) = &grant.account
    {
        document["refresh_token"] = json!(world.tokens.issue_refresh(account));
    }
    json(StatusCode::OK, &document)
}

fn post(world: &World, form: &[u8]) -> Response<Body> {
    let form = Fields::parse(form);
    let field = |name| form.first(name).unwrap_or_default();
    let account = match field("grant_type") {
        "password" => {
            let (user, password) = (field("username"), field("password"));
            world.store.verify(user, password).then(|| user.to_owned())
        }
        "refresh_token" => world.tokens.refresh_account(field("refresh_token")),
        _ => return json(StatusCode::BAD_REQUEST, &json!({ "details": "unsupported grant_type" })),
    };
    let Some(account) = account else { return refused() };
    let refresh = match field("grant_type") {
        "refresh_token" => Some(field("refresh_token").to_owned()),
        _ if field("access_type") == "offline" => Some(world.tokens.issue_refresh(&account)),
        _ => None,
    };
    let grant = grant(world, Some(account), &form);
    let mut document = json!({
        "access_token": issue(world, &grant),
        "scope": grant.scope(),
        "expires_in": world.tokens.lifetime_secs(),
        "issued_at": jiff::Timestamp::now().to_string(),
    });
    if let Some(refresh) = refresh {
        document["refresh_token"] = json!(refresh);
    }
    json(StatusCode::OK, &document)
}

fn issue(world: &World, grant: &Grant) -> String {
    let mut token = world.tokens.issue(grant);
    if let Some(Fault::LongToken { bytes }) =
        world.faults.take("/token", |fault| matches!(fault, Fault::LongToken { .. }))
    {
        token.push_str(&"x".repeat(bytes));
    }
    token
}

/// Of what was asked, what this account may have.
fn grant(world: &World, account: Option<String>, fields: &Fields) -> Grant {
    let scopes = fields.all("scope").flat_map(str::split_whitespace);
    let wanted = scopes.filter_map(Access::parse).filter(|access| access.kind == "repository");
    let allowed = wanted.map(|mut access| {
        access.actions.retain(|action| match action.as_str() {
            "pull" => world.store.may_pull(account.as_deref(), &access.name),
            "push" => world.store.may_push(account.as_deref(), &access.name),
            _ => false,
        });
        access
    });
    let access = allowed.filter(|access| !access.actions.is_empty()).collect();
    Grant { account, access }
}

fn refused() -> Response<Body> {
    let mut response =
        json(StatusCode::UNAUTHORIZED, &json!({ "details": "incorrect username or password" }));
    set(&mut response, "www-authenticate", "Basic realm=\"Registry Realm\"");
    response
}

enum Basic {
    Absent,
    Given(String, String),
    Unreadable,
}

fn basic(headers: &HeaderMap) -> Basic {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Basic::Absent };
    let pair = value.to_str().ok().and_then(|text| text.strip_prefix("Basic "));
    let pair = pair.and_then(|encoded| STANDARD.decode(encoded).ok());
    let pair = pair.and_then(|bytes| String::from_utf8(bytes).ok());
    match pair.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((user, password)) => Basic::Given(user.to_owned(), password.to_owned()),
        None => Basic::Unreadable,
    }
}

/// A query or a form.
struct Fields(Vec<(String, String)>);

impl Fields {
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
