//! What the leg says beside the bytes of its streams: reset codes, the code that ends a session, and the token with
//! which a connection joins one.
//!
//! HTTP/2 carries error codes of 32 bits and knows those below 0x0e (RFC 9113, section 7). Ours begin above.

use crate::error::SessionError;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use docxy_protocol::control::CloseCode;
use docxy_protocol::fault::Fault;
use docxy_protocol::text::clean;
use h2::Reason;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use quinn::VarInt;

/// The code of the first fault.
const FAULTS: u32 = 0x0001_0000;

/// The code of the first close code.
const CLOSES: u32 = 0x0002_0000;

/// The trailer of a control stream with the code and the text that end the session.
const CLOSE: HeaderName = HeaderName::from_static("docxy-close");

/// In the first response of a session: its token. In the first request of another connection: the token of the
/// session to join.
const SESSION: HeaderName = HeaderName::from_static("docxy-session");

/// The code of a reset with this fault's code.
pub(super) fn reset_reason(code: VarInt) -> Reason {
    Reason::from(FAULTS.saturating_add(u32::try_from(code.into_inner()).unwrap_or(u32::MAX)))
}

/// The reset of a control stream by which a client ends a session.
pub(super) fn close_reason(code: CloseCode) -> Reason {
    Reason::from(CLOSES + code.code())
}

/// Why the session ended whose control stream the client has reset.
pub(super) fn closed_by(reason: Reason) -> SessionError {
    let code = u32::from(reason).checked_sub(CLOSES).and_then(|code| CloseCode::from_code(code.into()));
    let code = code.unwrap_or(CloseCode::Done);
    SessionError::ClosedByPeer { code: Some(code), reason: code.reason().into() }
}

/// Why a stream was reset.
pub(super) enum Reset {
    /// With a fault's code.
    Fault(Fault),
    /// By HTTP/2.
    Other,
}

impl Reset {
    /// `None` if the connection has ended.
    pub(super) fn of(error: &h2::Error) -> Option<Self> {
        if !error.is_reset() {
            return None;
        }
        let code = error.reason().map(u32::from).filter(|code| (FAULTS..CLOSES).contains(code));
        Some(code.map_or(Self::Other, |code| Self::Fault(Fault::from_reset_code((code - FAULTS).into()))))
    }
}

/// The trailers that end a session.
pub(super) fn close_trailers(code: CloseCode, text: &str) -> HeaderMap {
    let value = format!("{} {}", code.code(), clean(text));
    // A clean text has no control characters.
    let value = HeaderValue::from_bytes(value.as_bytes());
    let value = value.unwrap_or_else(|_| HeaderValue::from(code.code()));
    HeaderMap::from_iter([(CLOSE, value)])
}

/// Why the session ended whose control stream had these trailers.
pub(super) fn parse_close(trailers: &HeaderMap) -> Option<SessionError> {
    let value = String::from_utf8_lossy(trailers.get(CLOSE)?.as_bytes()).into_owned();
    let (code, text) = value.split_once(' ').unwrap_or((&value, ""));
    let code = CloseCode::from_code(code.parse().ok()?);
    Some(SessionError::ClosedByPeer { code, reason: clean(text) })
}

/// Why the session of a client ended whose Hello had no answer but a web server's.
pub(super) fn not_found() -> SessionError {
    let code = CloseCode::UnknownClient;
    SessionError::ClosedByPeer { code: Some(code), reason: code.reason().into() }
}

/// The request of each stream: the same for all, since the stream's header is in its body.
pub(super) fn request() -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static("https://localhost/");
    request
}

/// The request for [padding](super::padding).
pub(super) fn padding_request() -> Request<()> {
    let mut request = request();
    *request.uri_mut() = http::Uri::from_static("https://localhost/padding");
    request
}

/// Whether it is a request for padding.
pub(super) fn is_padding_request<T>(request: &Request<T>) -> bool {
    request.method() == Method::POST && request.uri().path() == "/padding"
}

/// Whether it may be a stream of a client.
pub(super) fn is_stream<T>(request: &Request<T>) -> bool {
    request.method() == Method::POST && request.uri().path() == "/"
}

/// The request by which a connection joins a session.
pub(super) fn join_request(token: &Token) -> Request<()> {
    let mut request = request();
    request.headers_mut().insert(SESSION, token.to_value());
    request
}

/// The head of a response; that of a session's first has its token.
pub(super) fn response(token: Option<&Token>) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::OK;
    if let Some(token) = token {
        response.headers_mut().insert(SESSION, token.to_value());
    }
    response
}

/// What joins a connection to a session: the session's number, and a secret. Ends with the session.
#[derive(Clone, Copy, derive_more::Debug)]
#[debug("[secret]")]
pub(super) struct Token {
    pub(super) number: u64,
    pub(super) secret: [u8; 32],
}

impl Token {
    /// The token in a head, if it has one.
    pub(super) fn in_head(headers: &HeaderMap) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(headers.get(SESSION)?.as_bytes()).ok()?;
        let (number, secret) = bytes.split_first_chunk()?;
        Some(Self { number: u64::from_be_bytes(*number), secret: secret.try_into().ok()? })
    }

    fn to_value(self) -> HeaderValue {
        let bytes = [&self.number.to_be_bytes()[..], &self.secret].concat();
        let mut value = HeaderValue::try_from(BASE64_URL_SAFE_NO_PAD.encode(bytes))
            .expect("base64url has only visible ASCII characters");
        value.set_sensitive(true);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_and_a_token_arrive_as_they_were_sent() {
        for (code, text) in [(CloseCode::Revoked, "for a reason"), (CloseCode::ClientOutdated, "Grüße")] {
            match parse_close(&close_trailers(code, text)) {
                Some(SessionError::ClosedByPeer { code: parsed, reason }) => {
                    assert_eq!((parsed, reason.to_string()), (Some(code), text.to_owned()));
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(closed_by(close_reason(code)).close_code(), Some(code));
        }
        let token = Token { number: 7, secret: [9; 32] };
        let parsed = Token::in_head(join_request(&token).headers()).unwrap();
        assert_eq!((parsed.number, parsed.secret), (token.number, token.secret));
        assert!(Token::in_head(request().headers()).is_none());
    }
}
