//! Tokens of the token service: signed, expiring, opaque to all but the registry. They are the JWTs of Docker's
//! registry, so a real registry accepts them.
//! Must never know repositories: only signature and expiry make a token valid.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rcgen::{CertificateParams, KeyPair};
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
        UnparsedPublicKey,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The rights of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// The account; `None` is anonymous.
    pub account: Option<String>,
    /// The resources that it may access.
    pub access: Vec<Access>,
}

/// Allowed actions on one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The resource type, usually `repository`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The resource's name.
    pub name: String,
    /// `pull`, `push`.
    pub actions: Vec<String>,
}

/// Why a token is rejected.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// Not a token of this service.
    #[error("malformed or forged token")]
    Forged,
    /// Expired, or revoked.
    #[error("token expired or revoked")]
    Expired,
}

/// Why the token service could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TokenKeyError {
    /// The certificate of the signing key.
    #[error("cannot make the token certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The key itself.
    #[error("ring rejects the token key: {0}")]
    Key(ring::error::KeyRejected),
}

/// The token service: its key, and the tokens that it has to remember.
pub struct Tokens {
    key: EcdsaKeyPair,
    random: SystemRandom,
    certificate_pem: String,
    header: String,
    service: String,
    lifetime: AtomicU64,
    /// Tokens of an earlier epoch have been revoked.
    epoch: Epoch,
    refresh: Mutex<HashMap<String, String>>,
}

/// All tokens that were issued since the last revocation.
#[derive(Clone, Default)]
pub(crate) struct Epoch(Arc<AtomicU64>);

impl Epoch {
    /// Revokes them.
    pub(crate) fn end(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn number(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: String,
    epoch: u64,
    access: Vec<Access>,
}

/// The issuer in every token.
pub(crate) const ISSUER: &str = "auth.docker.io";

impl Tokens {
    pub(crate) fn new(service: &str, lifetime: Duration) -> Result<Self, TokenKeyError> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![ISSUER.to_owned()])?.self_signed(&key)?;
        let random = SystemRandom::new();
        let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(certificate.der())] });
        Ok(Self {
            key: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der(), &random)
                .map_err(TokenKeyError::Key)?,
            random,
            certificate_pem: certificate.pem(),
            header: URL_SAFE_NO_PAD.encode(header.to_string()),
            service: service.to_owned(),
            lifetime: AtomicU64::new(lifetime.as_secs()),
            epoch: Epoch::default(),
            refresh: Mutex::default(),
        })
    }

    /// Sets the lifetime of tokens issued from now on.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.lifetime.store(lifetime.as_secs(), Ordering::Relaxed);
    }

    /// The lifetime of a token issued now, in whole seconds.
    pub fn lifetime_secs(&self) -> u64 {
        self.lifetime.load(Ordering::Relaxed)
    }

    /// Makes every token issued so far invalid, as if expired; refresh tokens stay valid.
    pub fn revoke_all(&self) {
        self.epoch.end();
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch.clone()
    }

    /// Signs a token for this grant.
    pub fn issue(&self, grant: &Grant) -> String {
        let now = unix_now();
        let claims = json!(Claims {
            iss: ISSUER.to_owned(),
            sub: grant.account.clone().unwrap_or_default(),
            aud: self.service.clone(),
            exp: now + self.lifetime_secs(),
            nbf: now,
            iat: now,
            jti: self.random_text(),
            epoch: self.epoch.number(),
            access: grant.access.clone(),
        });
        let signed = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self
            .key
            .sign(&self.random, signed.as_bytes())
            .expect("signing fails only without system randomness, and the key came from there");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The grant of this token.
    pub fn verify(&self, token: &str) -> Result<Grant, TokenError> {
        let claims = self.signed_claims(token).ok_or(TokenError::Forged)?;
        if claims.exp <= unix_now() || claims.epoch < self.epoch.number() {
            return Err(TokenError::Expired);
        }
        let account = (!claims.sub.is_empty()).then_some(claims.sub);
        Ok(Grant { account, access: claims.access })
    }

    /// A refresh token for an account (Docker's "identity token").
    pub fn issue_refresh(&self, account: &str) -> String {
        let token = self.random_text();
        self.refresh_tokens().insert(token.clone(), account.to_owned());
        token
    }

    /// The account of a refresh token.
    pub fn refresh_account(&self, token: &str) -> Option<String> {
        self.refresh_tokens().get(token).cloned()
    }

    /// The certificate that a registry must trust to accept these tokens.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    fn signed_claims(&self, token: &str) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        if header != self.header {
            return None;
        }
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key());
        key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }

    fn refresh_tokens(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn random_text(&self) -> String {
        let mut bytes = [0; 24];
        self.random.fill(&mut bytes).expect("the system has randomness, or the key could not have been made");
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

impl Access {
    /// Parses one scope, `type:name:action,action`; the name may contain colons.
    pub(crate) fn parse(scope: &str) -> Option<Self> {
        let (kind, rest) = scope.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let actions = actions.split(',').map(str::to_owned).collect();
        Some(Self { kind: kind.to_owned(), name: name.to_owned(), actions })
    }
}

impl Grant {
    pub(crate) fn allows(&self, action: &str, repository: &str) -> bool {
        self.access.iter().any(|access| {
            access.kind == "repository"
                && access.name == repository
                && access.actions.iter().any(|a| a == action)
        })
    }

    /// The scopes in their text form, as in OAuth2 responses.
    pub(crate) fn scope(&self) -> Value {
        let scopes: Vec<_> =
            self.access.iter().map(|a| format!("{}:{}:{}", a.kind, a.name, a.actions.join(","))).collect();
        json!(scopes.join(" "))
    }
}

pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        let access = Access::parse("repository:library/hello:pull").expect("a scope");
        Grant { account: Some("alice".into()), access: vec![access] }
    }

    #[test]
    fn a_token_has_the_grant_it_was_issued_for() {
        let tokens = Tokens::new("registry.docker.io", Duration::from_secs(300)).expect("a key");
        assert_eq!(tokens.verify(&tokens.issue(&grant())), Ok(grant()));
    }

    #[test]
    fn forged_expired_and_revoked_tokens_are_rejected() {
        let tokens = Tokens::new("registry.docker.io", Duration::from_secs(300)).expect("a key");
        let other_service = Tokens::new("registry.docker.io", Duration::from_secs(300)).expect("a key");
        assert_eq!(tokens.verify(&other_service.issue(&grant())), Err(TokenError::Forged));
        assert_eq!(tokens.verify("x.y.z"), Err(TokenError::Forged));
        let token = tokens.issue(&grant());
        tokens.revoke_all();
        assert_eq!(tokens.verify(&token), Err(TokenError::Expired));
        tokens.set_lifetime(Duration::ZERO);
        assert_eq!(tokens.verify(&tokens.issue(&grant())), Err(TokenError::Expired));
    }

    #[test]
    fn a_scope_name_may_contain_a_port() {
        let access = Access::parse("repository:localhost:5000/x:pull,push").expect("a scope");
        assert_eq!((access.name.as_str(), access.actions.len()), ("localhost:5000/x", 2));
    }
}
