//! Signed URLs of the CDN, which expire. The signature covers path and expiry.
//! A blob must never be served without a valid one.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{hmac, rand::SystemRandom};
use url::form_urlencoded;

use crate::content::blob::Digest;

/// Why the CDN rejects a URL.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    #[error("The request signature we calculated does not match the signature you provided.")]
    InvalidSignature,
    #[error("Request has expired")]
    Expired,
}

pub(crate) struct UrlSigner {
    key: hmac::Key,
}

impl UrlSigner {
    pub(crate) fn new() -> Result<Self, ring::error::Unspecified> {
        Ok(Self { key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())? })
    }

    /// The path and query for a blob, valid until `expires` (Unix seconds).
    pub(crate) fn sign(&self, digest: &Digest, expires: u64) -> String {
        let hex = digest.hex();
        let mut url = format!("/registry-v2/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
        let signature = hmac::sign(&self.key, message(&url, expires).as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature);
        write!(url, "?expires={expires}&signature={signature}&version=3")
            .expect("writing to a String never fails");
        url
    }

    /// The blob that a signed path and query name, if they are valid at `now`.
    pub(crate) fn verify(&self, path: &str, query: &str, now: u64) -> Result<Digest, UrlError> {
        let field = |name: &str| {
            form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, v)| v)
        };
        let expires: u64 =
            field("expires").and_then(|text| text.parse().ok()).ok_or(UrlError::InvalidSignature)?;
        let signature = field("signature")
            .and_then(|text| URL_SAFE_NO_PAD.decode(&*text).ok())
            .ok_or(UrlError::InvalidSignature)?;
        hmac::verify(&self.key, message(path, expires).as_bytes(), &signature)
            .map_err(|_| UrlError::InvalidSignature)?;
        if expires <= now {
            return Err(UrlError::Expired);
        }
        let hex = path.rsplit('/').nth(1).unwrap_or_default();
        Digest::parse(&format!("sha256:{hex}")).ok_or(UrlError::InvalidSignature)
    }
}

fn message(path: &str, expires: u64) -> String {
    format!("{path}\n{expires}")
}
