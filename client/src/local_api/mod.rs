//! How the commands of this program use the tunnel and the cache of a running client: HTTP at a private Unix socket,
//! which the [frontend](crate::frontend) serves beside its listen addresses. This is the command's end, and what both
//! ends know.
//!
//! Requests of commands are `POST` `PATH` with a `Call`; the response is a sequence of `Message`s. Both are
//! [frames](docxy_protocol::frame). A client of another version, or with other settings than the command names, refuses
//! before it does anything, and then the command dials. Must never be served at a TCP port.

mod cache_call;
mod running_client;

pub(crate) use cache_call::{CacheCall, CacheMessage};
pub(crate) use running_client::{LocalBody, RunningClient};

use crate::images::warm::{WarmImage, WarmMessage};
use crate::settings::GivenSettings;
use docxy_host::files::directories::CLIENT_RUNTIME;
use docxy_protocol::fault::Fault;
use docxy_protocol::headers::Headers;
use docxy_protocol::name::Registry;
use docxy_protocol::request::Request;
use http::HeaderName;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The path of calls.
pub(crate) const PATH: &str = "/local/call";

/// The field with the [`VERSION`] of the caller.
pub(crate) const VERSION_FIELD: HeaderName = HeaderName::from_static("docxy-version");

/// Both ends must have the same: the types below are those of one build.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// After this time without a message the running client sends [`Message::Alive`].
pub(crate) const ALIVE_INTERVAL: Duration = Duration::from_secs(3);

/// After this time without a message the running client counts as lost: it was stopped, or hangs.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);

/// The name of the socket in its directory.
const SOCKET_NAME: &str = "client.sock";

/// Where a client listens in this environment; `None` if there is no directory for it.
#[must_use]
pub fn socket_path() -> Option<PathBuf> {
    Some(CLIENT_RUNTIME.path()?.join(SOCKET_NAME))
}

/// Where a running client of this user may listen, which was perhaps started in another environment.
#[must_use]
pub fn socket_candidates() -> Vec<PathBuf> {
    CLIENT_RUNTIME.candidates().into_iter().map(|directory| directory.join(SOCKET_NAME)).collect()
}

/// Whether the system's client runs, and this user is not root: only root's commands can use it, and it reads root's links.
#[must_use]
pub fn system_client_runs() -> bool {
    is_closed(&Path::new(CLIENT_RUNTIME.system).join(SOCKET_NAME))
}

/// Whether a socket, or its directory, is for another user.
pub(crate) fn is_closed(socket: &Path) -> bool {
    UnixStream::connect(socket).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// What a command asks of a running client.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Call {
    /// The settings that the running client must have.
    pub(crate) settings: GivenSettings,
    /// Whether the command has a link of its own. Then it is served only while the running client can serve it well, and
    /// goes on elsewhere when a response ends without a message.
    pub(crate) has_link: bool,
    pub(crate) operation: Operation,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Operation {
    /// Whether it would serve this command. There is no message in the response.
    Check,
    /// The registries that its servers serve.
    Registries,
    /// The response of the registry.
    Send(Request),
    /// These bytes of the blob that the request is for.
    Blob(Request, Range<u64>),
    /// Something with the blobs on the disk.
    Cache(CacheCall),
    /// Bring this image to the disk.
    Warm(WarmImage),
}

/// A part of the response to a call.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// The head of the response to [`Operation::Send`].
    Head { status: u16, headers: Headers },
    /// The response to [`Operation::Registries`].
    Registries(Vec<Registry>),
    /// A part of the response to [`Operation::Cache`], which ends with [`Message::End`].
    Cache(CacheMessage),
    /// A part of the response to [`Operation::Warm`], which ends with [`Message::End`].
    Warm(WarmMessage),
    /// So many bytes of the body follow.
    Bytes(u32),
    /// Why the response or its body waits, or that it continues.
    Waits(Option<String>),
    /// There is nothing else to tell, for [`ALIVE_INTERVAL`].
    Alive,
    /// The end of a complete body.
    End,
    /// Why there is no response, or no complete body.
    Fault(Fault),
}
