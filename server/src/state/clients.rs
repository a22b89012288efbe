//! The clients: their names, with hashes of their secrets.
//!
//! A revoked client stays in the list, so that the server can tell it the reason. Must never hold a secret.

use super::directory::read_toml;
use super::error::StateError;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use docxy_protocol::control::CloseCode;
use docxy_protocol::link::{ClientName, ClientSecret};
use docxy_protocol::secret::constant_time_eq;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Why the clients could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// The name is in use by a client that is not revoked.
    #[error(
        "there is a client named {0} already: revoke it first (docxy-server revoke {0}), or \
         choose another name"
    )]
    Taken(ClientName),
    /// There is no such client.
    #[error("there is no client named {name}; {known}")]
    Unknown {
        /// The name in question.
        name: ClientName,
        /// The known clients, in words.
        known: String,
    },
    /// The file cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
}

/// All clients, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientList {
    clients: BTreeMap<ClientName, Client>,
}

/// One client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// When it was invited, to the second.
    pub created: Timestamp,
    /// When it was revoked, to the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    secret_sha256: SecretHash,
}

/// The result of [`ClientList::revoke`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// It was revoked now.
    Revoked,
    /// It had been revoked already, at this time.
    AlreadyRevoked(Timestamp),
}

impl ClientList {
    /// Checks whether this client may use the server. An unknown name takes the same time and returns the
    /// same code as a wrong secret, so that names cannot be probed.
    ///
    /// # Errors
    /// The code to close the connection with.
    pub fn authenticate(&self, name: &ClientName, secret: &ClientSecret) -> Result<(), CloseCode> {
        let client = self.clients.get(name);
        let expected = client.map_or([0; 32], |client| client.secret_sha256.0);
        let is_right = constant_time_eq(&secret.hash(), &expected);
        match client {
            Some(client) if is_right && client.revoked.is_some() => Err(CloseCode::Revoked),
            Some(_) if is_right => Ok(()),
            _ => Err(CloseCode::UnknownClient),
        }
    }

    /// Adds a client. The name of a revoked one may be used again.
    ///
    /// # Errors
    /// If the name is in use by a client that is not revoked: its link would stop working.
    pub fn add(
        &mut self,
        name: &ClientName,
        secret: &ClientSecret,
        now: Timestamp,
    ) -> Result<(), ClientsError> {
        if matches!(self.clients.get(name), Some(client) if client.revoked.is_none()) {
            return Err(ClientsError::Taken(name.clone()));
        }
        let client =
            Client { created: to_the_second(now), revoked: None, secret_sha256: SecretHash(secret.hash()) };
        self.clients.insert(name.clone(), client);
        Ok(())
    }

    /// Ends a client's access.
    ///
    /// # Errors
    /// If there is no client of that name.
    pub fn revoke(&mut self, name: &ClientName, now: Timestamp) -> Result<Revocation, ClientsError> {
        let Some(client) = self.clients.get_mut(name) else {
            let known = self.describe();
            let name = name.clone();
            return Err(ClientsError::Unknown { name, known });
        };
        if let Some(before) = client.revoked {
            return Ok(Revocation::AlreadyRevoked(before));
        }
        client.revoked = Some(to_the_second(now));
        Ok(Revocation::Revoked)
    }

    /// All clients in the order of their names, revoked ones too.
    pub fn iter(&self) -> impl Iterator<Item = (&ClientName, &Client)> {
        self.clients.iter()
    }

    /// Whether no client was ever invited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    pub(super) fn load(path: &Path) -> Result<Self, StateError> {
        read_toml(path, "correct that line, or restore the file from a backup")
    }

    pub(super) fn to_text(&self) -> String {
        let tables = toml::to_string(self).expect("names, times and hashes are all TOML strings");
        format!("# Written by `docxy-server invite` and `docxy-server revoke`.\n\n{tables}")
    }

    fn describe(&self) -> String {
        let names: Vec<String> = self.clients.keys().map(ToString::to_string).collect();
        if names.is_empty() {
            "no client exists".into()
        } else {
            format!("existing clients: {}", names.join(", "))
        }
    }
}

/// A hash as base64url without padding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct SecretHash([u8; 32]);

impl TryFrom<String> for SecretHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
        let hash = bytes.and_then(|bytes| bytes.try_into().ok());
        hash.map(Self).ok_or("a hash is 43 characters of base64url")
    }
}

impl From<SecretHash> for String {
    fn from(hash: SecretHash) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(hash.0)
    }
}

/// Files have times without fractions.
pub(super) fn to_the_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).expect("a time without its fraction is a time")
}

#[cfg(test)]
mod tests {
    use super::super::directory::parse_toml;
    use super::*;

    fn name(text: &str) -> ClientName {
        text.parse().unwrap()
    }

    fn secret(byte: u8) -> ClientSecret {
        ClientSecret::from_random([byte; 32])
    }

    fn now() -> Timestamp {
        "2026-11-24T04:00:00.5Z".parse().unwrap()
    }

    fn list() -> ClientList {
        let mut list = ClientList::default();
        list.add(&name("laptop"), &secret(1), now()).unwrap();
        list.add(&name("old.phone"), &secret(2), now()).unwrap();
        list.revoke(&name("old.phone"), now()).unwrap();
        list
    }

    #[test]
    fn an_unknown_client_and_a_wrong_secret_have_the_same_error() {
        let list = list();
        for (who, secret, answer) in [
            ("laptop", secret(1), Ok(())),
            ("laptop", secret(2), Err(CloseCode::UnknownClient)),
            ("nobody", secret(1), Err(CloseCode::UnknownClient)),
            ("old.phone", secret(2), Err(CloseCode::Revoked)),
            ("old.phone", secret(1), Err(CloseCode::UnknownClient)),
        ] {
            assert_eq!(list.authenticate(&name(who), &secret), answer, "{who}");
        }
    }

    #[test]
    fn only_the_name_of_a_revoked_client_can_be_used_again() {
        let mut list = list();
        let error = list.add(&name("laptop"), &secret(3), now()).unwrap_err();
        assert!(error.to_string().contains("docxy-server revoke laptop"));
        list.add(&name("old.phone"), &secret(3), now()).unwrap();
        assert_eq!(list.authenticate(&name("old.phone"), &secret(3)), Ok(()));
        assert_eq!(list.authenticate(&name("old.phone"), &secret(2)), Err(CloseCode::UnknownClient));
    }

    #[test]
    fn revoking_twice_succeeds_and_an_unknown_name_lists_the_known_ones() {
        let mut list = list();
        let whole_second = "2026-11-24T04:00:00Z".parse().unwrap();
        assert_eq!(list.revoke(&name("old.phone"), now()).unwrap(), Revocation::AlreadyRevoked(whole_second));
        let error = list.revoke(&name("nobody"), now()).unwrap_err();
        assert_eq!(error.to_string(), "there is no client named nobody; existing clients: laptop, old.phone");
    }

    #[test]
    fn the_file_is_readable_text_and_is_parsed_again() {
        let text = list().to_text();
        assert_eq!(
            text,
            "\
# Written by `docxy-server invite` and `docxy-server revoke`.

[laptop]
created = \"2026-11-24T04:00:00Z\"
secret_sha256 = \"cs1uhCLEB_ttCYaQ8RMLfe1-wvf14dML2dUh8BU2N5M\"

[\"old.phone\"]
created = \"2026-11-24T04:00:00Z\"
revoked = \"2026-11-24T04:00:00Z\"
secret_sha256 = \"dYd7tB05O1-4RVzmDs2N2gAdBjFklrFN-n-JVlbuyko\"
"
        );
        assert_eq!(parse_toml::<ClientList>(text.as_bytes()).unwrap(), list());
    }

    #[test]
    fn a_typing_error_in_the_file_is_an_error() {
        let text = list().to_text().replace("revoked =", "revokd =");
        let error = parse_toml::<ClientList>(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("line 9: unknown field"), "{error}");
    }
}
