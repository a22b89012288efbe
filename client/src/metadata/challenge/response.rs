//! The 401 of a registry, made from its challenges.

use crate::cache::response::in_place_of_registry;
use bytes::Bytes;
use docxy_protocol::challenge::Challenge;
use docxy_protocol::error_body;
use docxy_protocol::request::Method;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

/// The 401 of a registry with these challenges.
pub(crate) fn unauthorized(challenges: &[Challenge], method: Method) -> Option<Response<Bytes>> {
    let status = StatusCode::UNAUTHORIZED;
    let body = error_body::from_upstream(status, b"authentication required", "");
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(error_body::MEDIA_TYPE));
    for challenge in challenges {
        headers.append(header::WWW_AUTHENTICATE, challenge.to_header()?);
    }
    Some(in_place_of_registry(status, headers, method, body.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_401_has_the_registrys_challenges() {
        let challenge = Challenge::bearer("r", "s");
        let answer = unauthorized(&[challenge.clone(), challenge.clone()], Method::Get).unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        let lines: Vec<_> = answer.headers().get_all(header::WWW_AUTHENTICATE).iter().collect();
        assert_eq!(lines, [challenge.to_string().as_str(); 2]);
        assert!(answer.body().starts_with(br#"{"errors":[{"code":"UNAUTHORIZED""#));
        assert!(unauthorized(&[challenge], Method::Head).unwrap().body().is_empty());
    }
}
