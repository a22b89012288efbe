//! The page: its files, what it shows, and what its buttons do.
//!
//! Other pages must not show it in a frame, run a script in it, or press its buttons: a button needs the token, which is
//! in the page alone, and a request from this machine.

use super::connection_slots::BusyGuard;
use super::handler::read_form;
use super::responses::{self, ResponseBody};
use crate::gateway::{Engine, Gateway};
use crate::status::Board;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::route::Action;
use docxy_protocol::secret::Secret;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// The field with the token of the page.
const TOKEN_FIELD: &str = "docxy-token";

/// Where the token belongs in the page.
const TOKEN_PLACE: &str = "{{token}}";

/// No other host has a part in the page, and no page has it in a frame (Content Security Policy Level 3).
const POLICY: &str =
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The files by name, with their media types.
const FILES: [(&str, &str, &[u8]); 7] = [
    ("", "text/html; charset=utf-8", include_bytes!("../page/index.html")),
    ("style.css", "text/css; charset=utf-8", include_bytes!("../page/style.css")),
    ("page.js", "text/javascript; charset=utf-8", include_bytes!("../page/page.js")),
    ("view.js", "text/javascript; charset=utf-8", include_bytes!("../page/view.js")),
    ("graph.js", "text/javascript; charset=utf-8", include_bytes!("../page/graph.js")),
    ("words.js", "text/javascript; charset=utf-8", include_bytes!("../page/words.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("../page/icon.svg")),
];

/// The page of a running client.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) board: Arc<Board>,
    token: Secret,
}

/// What a button says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    server: Option<String>,
    pull: Option<u64>,
}

impl Page {
    pub(super) fn new(board: Arc<Board>) -> Self {
        let mut token = [0; 16];
        // Without randomness there is no token, so that no button works.
        let token = match getrandom::fill(&mut token) {
            Ok(()) => URL_SAFE_NO_PAD.encode(token),
            Err(_) => String::new(),
        };
        Self { board, token: Secret::new(token) }
    }

    /// A file of the page. The token is only for this machine.
    pub(super) fn file(&self, name: &str, visitor: &Engine) -> Result<Response<ResponseBody>, Fault> {
        let unknown = || Fault::new(Hop::Engine, FaultKind::RouteUnknown, "the page has no such file");
        let (_, media_type, bytes) = FILES.iter().find(|(known, ..)| *known == name).ok_or_else(unknown)?;
        let bytes = if name.is_empty() {
            let token = if visitor.is_local() { self.token.expose() } else { "" };
            Bytes::from(String::from_utf8_lossy(bytes).replace(TOKEN_PLACE, token))
        } else {
            Bytes::from_static(bytes)
        };
        let mut response = Response::new(Either::Left(Full::new(bytes)));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        Ok(protect(response))
    }

    /// What it shows, once.
    pub(super) fn status(&self) -> Response<ResponseBody> {
        protect(responses::json_value(StatusCode::OK, &json!(self.board.snapshot())))
    }

    /// What it shows, as that changes. The connection is none of an engine.
    pub(super) fn events(&self, busy: &BusyGuard) -> Result<Response<ResponseBody>, Fault> {
        let too_many =
            || Fault::new(Hop::Engine, FaultKind::Overloaded, "too many pages show the status; close some");
        let events = self.board.watch().ok_or_else(too_many)?;
        busy.leave_slot();
        let mut response = Response::new(Either::Right(Either::Right(events)));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        Ok(protect(responses::last(response)))
    }

    /// Does what a button says.
    pub(super) async fn act(
        &self,
        action: Action,
        request: http::Request<Incoming>,
        (gateway, visitor, busy): (&Gateway, &Engine, &BusyGuard),
    ) -> Result<Response<ResponseBody>, Fault> {
        let shown = request.headers().get(TOKEN_FIELD).and_then(|value| value.to_str().ok());
        let has_token = shown.is_some_and(|shown| !shown.is_empty() && Secret::new(shown) == self.token);
        if !has_token || !visitor.is_local() {
            let detail = "only the page of this client may ask for that, on this machine; reload it";
            return Err(Fault::new(Hop::Engine, FaultKind::OriginNotServed, detail));
        }
        let text = read_form(request.into_body(), busy).await?;
        let invalid = |detail: &str| Fault::new(Hop::Engine, FaultKind::RequestInvalid, detail);
        let choice: Choice = serde_json::from_str(&text).map_err(|error| invalid(&error.to_string()))?;
        match action {
            Action::Prefer if !gateway.prefer(choice.server.as_deref()) => {
                return Err(invalid("no server of this name is joined"));
            }
            Action::Prefer => {}
            Action::Forget => gateway.transfers().remove_finished(choice.pull),
        }
        Ok(self.status())
    }
}

/// Nothing of the page is kept, guessed at, framed, or told to other hosts.
fn protect(mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    let fields: [(HeaderName, &str); 6] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fields {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
