//! The version of the wire: the first bytes of the Hello, on every leg and forever, before anything that a
//! version could change.
//!
//! [`WIRE_VERSION`] must be raised at every change of the wire: frames, messages, their order.

/// The version that this build speaks.
pub const WIRE_VERSION: u16 = 7;

/// The version before a Hello said so. Its clients are still told to upgrade.
pub const UNMARKED_VERSION: u16 = 1;

/// The versions whose clients a server answers, the newest first: its own with a Welcome, the others with what to
/// upgrade to.
pub fn answered_versions() -> impl Iterator<Item = u16> {
    (UNMARKED_VERSION..=WIRE_VERSION).rev()
}

/// Bytes before the frame of a Hello.
pub const PREAMBLE_BYTES: usize = 6;

/// What a Docxy client says first. As the length of a frame, it would be too long.
const MAGIC: [u8; 4] = *b"dcxy";

/// The first bytes of a Hello: the magic number and the version, big-endian.
#[must_use]
pub const fn preamble(version: u16) -> [u8; PREAMBLE_BYTES] {
    let ([a, b, c, d], [high, low]) = (MAGIC, version.to_be_bytes());
    [a, b, c, d, high, low]
}

/// The version in the first bytes of a Hello; `None` if the peer is no Docxy client.
#[must_use]
pub fn parse_preamble(bytes: [u8; PREAMBLE_BYTES]) -> Option<u16> {
    let [a, b, c, d, high, low] = bytes;
    ([a, b, c, d] == MAGIC).then(|| u16::from_be_bytes([high, low]))
}

/// The name of a version in TLS (ALPN), for a leg whose TLS carries nothing but Docxy. Like a server name,
/// any machine on the path can read it.
#[must_use]
pub fn alpn(version: u16) -> Vec<u8> {
    format!("docxy/{version}").into_bytes()
}

/// What the user of an old client is told, by a server of this version.
#[must_use]
pub fn upgrade_client(server_version: &str) -> String {
    format!(
        "upgrade docxy-client to {server_version}: this server no longer speaks its version of the tunnel"
    )
}

/// What the user of a new client is told, which has this version.
#[must_use]
pub fn upgrade_server(client_version: &str) -> String {
    format!("upgrade docxy-server to {client_version}: it does not speak this client's version of the tunnel")
}
