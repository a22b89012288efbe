//! The names that engines may use for this client.

use docxy_protocol::link::Host;
use serde::Deserialize;

/// Why a text is not a host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a host name: give it as engines have it, without http:// and without a port")]
pub struct HostNameError(String);

/// A host name or address as in a `Host` header, without the port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct HostName(pub(super) String);

impl TryFrom<String> for HostName {
    type Error = HostNameError;

    fn try_from(text: String) -> Result<Self, HostNameError> {
        if is_host(&text) { Ok(Self(text)) } else { Err(HostNameError(text.chars().take(80).collect())) }
    }
}

fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(address) => address.parse::<Host>().is_ok_and(|host| host.is_ipv6()),
        None => text.parse::<Host>().is_ok_and(|host| !host.is_ipv6()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_written_as_engines_send_them() {
        for (text, good) in
            [("box.lan", true), ("10.0.0.2", true), ("[fd00::1]", true), ("fd00::1", false), ("", false)]
        {
            assert_eq!(is_host(text), good, "{text}");
        }
    }
}
