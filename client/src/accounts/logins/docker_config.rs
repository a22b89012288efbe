//! The logins in Docker's own `config.json` (Docker CLI, "Configuration files", and the same for podman's `auth.json`).
//!
//! Pure: text in, logins out.

use super::StoredLogin;
use super::credential_helper::CredentialHelper;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use docxy_protocol::name::Registry;
use docxy_protocol::secret::Secret;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The user whose password is an identity token.
const IDENTITY_TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct DockerConfig {
    auths: BTreeMap<String, Account>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Account {
    auth: Option<Secret>,
    identitytoken: Option<Secret>,
}

/// The logins in this text, each registry once.
///
/// # Errors
/// If it is not such a file.
pub(crate) fn parse(text: &[u8]) -> Result<BTreeMap<Registry, StoredLogin>, serde_json::Error> {
    let DockerConfig { auths, cred_helpers, creds_store } = serde_json::from_slice(text)?;
    // An empty name stands for none.
    let helper = |name: &str, key: String| {
        let helper: CredentialHelper = name.parse().ok()?;
        Some(StoredLogin::Helper { helper, key, own: false })
    };
    let of_account = |(key, account): (String, Account)| {
        let registry = registry(&key)?;
        let stored = match (account.identitytoken, account.auth.as_ref().and_then(decode)) {
            (Some(token), _) if !token.expose().is_empty() => {
                StoredLogin::Password { user: IDENTITY_TOKEN_USER.to_owned(), password: token }
            }
            (_, Some((user, password))) => StoredLogin::Password { user, password },
            _ => helper(creds_store.as_deref()?, key)?,
        };
        Some((registry, stored))
    };
    let mut all: BTreeMap<_, _> = auths.into_iter().filter_map(of_account).collect();
    // As in Docker, a registry's own helper wins.
    all.extend(cred_helpers.iter().filter_map(|(key, of)| Some((registry(key)?, helper(of, key.clone())?))));
    Ok(all)
}

/// The registry of a key: a host, or a URL. Docker Hub's web login keeps tokens of its website beside its account.
fn registry(key: &str) -> Option<Registry> {
    let host = key.trim_start_matches("https://").trim_start_matches("http://");
    let (host, path) = host.split_once('/').unwrap_or((host, ""));
    if path.ends_with("-token") { None } else { host.parse().ok() }
}

fn decode(auth: &Secret) -> Option<(String, Secret)> {
    let pair = Secret::new(String::from_utf8(BASE64_STANDARD.decode(auth.expose()).ok()?).ok()?);
    let (user, password) = pair.expose().split_once(':')?;
    (!user.is_empty()).then(|| (user.to_owned(), Secret::new(password.trim_end_matches('\0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logins_of_docker_are_found() {
        let text = br#"{
            "auths": {
                "https://index.docker.io/v1/": {"auth": "bWU6aHVudGVyMg=="},
                "https://index.docker.io/v1/access-token": {"auth": "eDp5"},
                "acr.example": {"auth": "MDAwOg==", "identitytoken": "refresh"},
                "quay.io": {},
                "nonsense host": {"auth": "bWU6aHVudGVyMg=="},
                "ghcr.io": {"auth": "not base64"}
            },
            "credHelpers": {"1.dkr.ecr.example": "ecr-login", "odd.example": "../x", "none.example": ""},
            "credsStore": "secretservice",
            "HttpHeaders": {"User-Agent": "x"}
        }"#;
        let found = parse(text).unwrap();
        let password = |user: &str, password: &str| StoredLogin::Password {
            user: user.into(),
            password: Secret::new(password),
        };
        let helper = |name: &str, key: &str| StoredLogin::Helper {
            helper: name.parse().unwrap(),
            key: key.into(),
            own: false,
        };
        let expected = [
            ("docker.io", password("me", "hunter2")),
            ("acr.example", password("<token>", "refresh")),
            ("quay.io", helper("secretservice", "quay.io")),
            ("ghcr.io", helper("secretservice", "ghcr.io")),
            ("1.dkr.ecr.example", helper("ecr-login", "1.dkr.ecr.example")),
        ];
        let expected = expected.map(|(name, login)| (name.parse::<Registry>().unwrap(), login));
        assert_eq!(found, BTreeMap::from(expected));
        assert!(parse(b"{").is_err());
        assert!(parse(b"{}").unwrap().is_empty());
        let without =
            br#"{"auths": {"quay.io": {}, "a.example": {"auth": "bWU6aHVudGVyMg=="}}, "credsStore": ""}"#;
        let expected = ("a.example".parse().unwrap(), password("me", "hunter2"));
        assert_eq!(parse(without).unwrap(), BTreeMap::from([expected]));
    }
}
