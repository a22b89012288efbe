//! The clients: their names, with hashes of their secrets.
//!
//! A revoked client stays in the list, so that the server can tell it the reason. Must never hold a secret.

use super::directory::parse_toml;
use super::error::StateError;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use docxy_host::files::private_file;
use docxy_host::files::toml_file::TomlError;
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
        "there is a client named {0} already: revoke it first (docxy-server revoke {0}, with the same --state and \
         --clients-file as here), or choose another name"
    )]
    Taken(ClientName),
    /// The file cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Why the file's content is no list of clients.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContentError {
    #[error(transparent)]
    Toml(#[from] TomlError),
    /// It was emptied. None is ever written without a client.
    #[error("there is no client in it")]
    Empty,
    /// It was cut off between two clients.
    #[error("its first line says {stated}, and {found} is the number of clients below")]
    Count { stated: usize, found: usize },
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    /// There is no such client. These have access.
    Unknown(Vec<ClientName>),
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
    pub fn revoke(&mut self, name: &ClientName, now: Timestamp) -> Revocation {
        let Some(client) = self.clients.get_mut(name) else {
            let active = self.clients.iter().filter(|(_, client)| client.revoked.is_none());
            return Revocation::Unknown(active.map(|(name, _)| name.clone()).collect());
        };
        if let Some(before) = client.revoked {
            return Revocation::AlreadyRevoked(before);
        }
        client.revoked = Some(to_the_second(now));
        Revocation::Revoked
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

    /// The names that have another secret by the other list.
    pub(super) fn replaced_in<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a ClientName> {
        let is_other = |(name, client): &(&ClientName, &Client)| {
            other.clients.get(*name).is_some_and(|other| other.secret_sha256 != client.secret_sha256)
        };
        self.clients.iter().filter(is_other).map(|(name, _)| name)
    }

    pub(super) fn load(path: &Path) -> Result<Self, StateError> {
        let remedy = "correct it, or restore it from a backup; delete it only if no client was ever invited";
        let Some(content) = private_file::read(path)? else { return Ok(Self::default()) };
        Self::parse(&content).map_err(|error| StateError::damaged(path, error, remedy))
    }

    /// Parses the file's content, which is whole. Older versions wrote no number of clients.
    pub(super) fn parse(content: &[u8]) -> Result<Self, ContentError> {
        let list: Self = parse_toml(content)?;
        let found = list.clients.len();
        match stated_count(content) {
            Some(stated) if stated != found => Err(ContentError::Count { stated, found }),
            _ if found == 0 => Err(ContentError::Empty),
            _ => Ok(list),
        }
    }

    /// The number of clients that have access by this list, and not by the other one.
    pub(super) fn count_not_in(&self, other: &Self) -> usize {
        let has_access = |list: &Self, name: &ClientName, secret: &SecretHash| {
            let client = list.clients.get(name);
            client.is_some_and(|client| client.revoked.is_none() && client.secret_sha256 == *secret)
        };
        let is_new = |(name, client): &(&ClientName, &Client)| {
            let secret = &client.secret_sha256;
            has_access(self, name, secret) && !has_access(other, name, secret)
        };
        self.clients.iter().filter(is_new).count()
    }

    pub(super) fn to_text(&self) -> String {
        let tables = toml::to_string(self).expect("names, times and hashes are all TOML strings");
        let count = self.clients.len();
        let clients = if count == 1 { "client" } else { "clients" };
        format!(
            "# {count} {clients}, written by `docxy-server invite` and `docxy-server revoke`.\n\n{tables}"
        )
    }
}

/// The number in the first line. It shows that the file was not cut off.
fn stated_count(content: &[u8]) -> Option<usize> {
    let (count, rest) = std::str::from_utf8(content).ok()?.strip_prefix("# ")?.split_once(' ')?;
    if rest.starts_with("client") { count.parse().ok() } else { None }
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
        list.revoke(&name("old.phone"), now());
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
    fn revoking_twice_succeeds_and_an_unknown_name_lists_those_with_access() {
        let mut list = list();
        let whole_second = "2026-11-24T04:00:00Z".parse().unwrap();
        assert_eq!(list.revoke(&name("old.phone"), now()), Revocation::AlreadyRevoked(whole_second));
        let before = list.clone();
        assert_eq!(list.revoke(&name("nobody"), now()), Revocation::Unknown(vec![name("laptop")]));
        assert_eq!(list, before);
    }

    #[test]
    fn the_file_is_readable_text_and_is_parsed_again() {
        let text = list().to_text();
        assert_eq!(
            text,
            "\
# 2 clients, written by `docxy-server invite` and `docxy-server revoke`.

[laptop]
created = \"2026-11-24T04:00:00Z\"
secret_sha256 = \"cs1uhCLEB_ttCYaQ8RMLfe1-wvf14dML2dUh8BU2N5M\"

[\"old.phone\"]
created = \"2026-11-24T04:00:00Z\"
revoked = \"2026-11-24T04:00:00Z\"
secret_sha256 = \"dYd7tB05O1-4RVzmDs2N2gAdBjFklrFN-n-JVlbuyko\"
"
        );
        assert_eq!(ClientList::parse(text.as_bytes()).unwrap(), list());
    }

    #[test]
    fn a_file_that_is_cut_off_anywhere_is_an_error() {
        let text = list().to_text();
        let last = text.trim_end().len();
        for end in 0..last {
            assert!(ClientList::parse(&text.as_bytes()[..end]).is_err(), "{end} bytes");
        }
        assert_eq!(ClientList::parse(&text.as_bytes()[..last]).unwrap(), list());
    }

    #[test]
    fn a_file_of_an_older_version_has_no_number_of_clients() {
        let text = list().to_text();
        let (_, tables) = text.split_once('\n').unwrap();
        for first in ["# Written by `docxy-server invite` and `docxy-server revoke`.\n", ""] {
            assert_eq!(ClientList::parse(format!("{first}{tables}").as_bytes()).unwrap(), list());
        }
    }

    #[test]
    fn clients_with_and_without_access_are_counted() {
        let (before, mut after) = (list(), list());
        after.revoke(&name("laptop"), now());
        after.add(&name("laptop"), &secret(3), now()).unwrap();
        after.add(&name("old.phone"), &secret(3), now()).unwrap();
        assert_eq!((after.count_not_in(&before), before.count_not_in(&after)), (2, 1));
        assert_eq!(before.count_not_in(&before), 0);
        assert_eq!(before.replaced_in(&after).count(), 2);
        assert_eq!(before.replaced_in(&before).count(), 0);
    }

    #[test]
    fn a_typing_error_in_the_file_is_an_error() {
        let text = list().to_text().replace("revoked =", "revokd =");
        let error = ClientList::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("line 9: unknown field"), "{error}");
    }
}
