//! The page: its files, what it shows, and what its buttons do.
//!
//! Other pages must not show it in a frame, run a script in it, or press its buttons: a button needs the token, which is
//! in the page alone. Both are for this machine alone, which the handler sees to.

use super::connections::BusyGuard;
use super::handler::read_form;
use super::responses::{self, ResponseBody};
use crate::gateway::Gateway;
use crate::status::Publisher;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use docxy_host::blob_store::Prune;
use docxy_host::web_page::{HTML, PageFile, SCRIPT, SHARED_FILES, protect};
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::route::Action;
use docxy_protocol::secret::Secret;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The field with the token of the page.
const TOKEN_FIELD: &str = "docxy-token";

/// Where the token belongs in the page.
const TOKEN_PLACE: &str = "{{token}}";

/// The page itself.
const INDEX: &str = include_str!("index.html");

/// Its files, beside the [shared ones](SHARED_FILES).
const FILES: [PageFile; 4] = [
    ("page.js", SCRIPT, include_str!("page.js")),
    ("view.js", SCRIPT, include_str!("view.js")),
    ("graph.js", SCRIPT, include_str!("graph.js")),
    ("words.js", SCRIPT, include_str!("words.js")),
];

/// The page of a running client.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) publisher: Arc<Publisher>,
    token: Secret,
}

/// What a button says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    server: Option<String>,
    pull: Option<u64>,
    /// Only blobs that were not used for so many days; without it, all that are not in use.
    unused_days: Option<u32>,
}

impl Page {
    pub(super) fn new(publisher: Arc<Publisher>) -> Self {
        let mut token = [0; 16];
        // Without randomness there is no token, so that no button works.
        let token = match getrandom::fill(&mut token) {
            Ok(()) => URL_SAFE_NO_PAD.encode(token),
            Err(_) => String::new(),
        };
        Self { publisher, token: Secret::new(token) }
    }

    /// The page, without a name, or one of its files.
    pub(super) fn file(&self, name: &str) -> Result<Response<ResponseBody>, Fault> {
        let (media_type, bytes) = if name.is_empty() {
            (HTML, Bytes::from(INDEX.replace(TOKEN_PLACE, self.token.expose())))
        } else {
            let file = FILES.iter().chain(&SHARED_FILES).find(|(known, ..)| *known == name);
            let unknown = || Fault::new(Hop::Engine, FaultKind::RouteUnknown, "the page has no such file");
            file.map(|(_, media_type, text)| (*media_type, Bytes::from_static(text.as_bytes())))
                .ok_or_else(unknown)?
        };
        let mut response = Response::new(Either::Left(Full::new(bytes)));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        protect(response.headers_mut());
        Ok(response)
    }

    /// What it shows, once.
    pub(super) fn status(&self) -> Response<ResponseBody> {
        json_response(&json!(self.publisher.snapshot()))
    }

    /// What it shows, as that changes. The connection is none of an engine.
    pub(super) fn events(&self, busy: &BusyGuard) -> Result<Response<ResponseBody>, Fault> {
        let too_many =
            || Fault::new(Hop::Engine, FaultKind::Overloaded, "too many pages show the status; close some");
        let events = self.publisher.watch().ok_or_else(too_many)?;
        busy.leave_slot();
        let mut response = Response::new(Either::Right(Either::Right(events)));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        protect(response.headers_mut());
        Ok(responses::last(response))
    }

    /// Does what a button says.
    pub(super) async fn act(
        &self,
        action: Action,
        request: http::Request<Incoming>,
        (gateway, busy): (&Gateway, &BusyGuard),
    ) -> Result<Response<ResponseBody>, Fault> {
        let shown = request.headers().get(TOKEN_FIELD).and_then(|value| value.to_str().ok());
        let has_token = shown.is_some_and(|shown| !shown.is_empty() && Secret::new(shown) == self.token);
        if !has_token {
            let detail = "only the page of this client may ask for that; reload it";
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
            Action::Prune => {
                let store = gateway
                    .blob_store()
                    .map_err(|reason| invalid(&format!("no layers are kept on this machine: {reason}")))?;
                let day = Duration::from_secs(24 * 3600);
                let prune = Prune { keep_bytes: 0, used_within: choice.unused_days.map(|days| day * days) };
                // Without a result, a panic is in the log.
                let pruned =
                    tokio::task::spawn_blocking(move || store.prune(prune)).await.unwrap_or_default();
                let mut shown = json!(self.publisher.snapshot());
                shown["pruned"] = json!(pruned);
                return Ok(json_response(&shown));
            }
        }
        Ok(self.status())
    }
}

fn json_response(value: &serde_json::Value) -> Response<ResponseBody> {
    let mut response = responses::json_value(StatusCode::OK, value);
    protect(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::{FILES, SHARED_FILES};
    use crate::gateway::LineState;
    use crate::status::pulls::{LayerState, Outcome};
    use crate::status::{Advice, EngineCause};
    use crate::transfer::WaitsFor;
    use crate::tunnel::LineCause;
    use crate::tunnel::leg::UseReason;
    use serde::Serialize;

    /// The words for all values of an enum: its prefix, and the value as the page is sent it.
    fn words<T: TryFrom<u8> + Serialize>(prefix: &str) -> Vec<String> {
        let values = (0..=u8::MAX).map_while(|number| T::try_from(number).ok());
        let key = |value| serde_json::to_value(value).unwrap().as_str().unwrap().to_owned();
        let words: Vec<_> = values.map(|value| format!(" {prefix}{}: \"", key(value))).collect();
        assert!(words.len() > 1, "{prefix}");
        words
    }

    #[test]
    fn each_value_that_the_page_is_sent_has_its_words() {
        let tables = FILES.iter().chain(&SHARED_FILES).filter_map(|(.., text)| text.split_once("zh: {"));
        let (english, chinese): (String, String) = tables.unzip();
        let missing =
            |table: &str, words: &[String]| words.iter().find(|word| !table.contains(*word)).cloned();
        let said = [
            words::<LineState>(""),
            words::<LayerState>(""),
            words::<Outcome>("outcome_"),
            words::<WaitsFor>("waits_"),
            words::<Advice>("advice_"),
            words::<UseReason>("leg_"),
        ];
        let said = said.concat();
        assert_eq!((missing(&english, &said), missing(&chinese, &said)), (None, None));
        // In English, the text that comes with a cause is said.
        let causes = [words::<LineCause>("line_"), words::<EngineCause>("engine_")];
        assert_eq!(missing(&chinese, &causes.concat()), None);
    }
}
