//! What answers where this machine's client should listen.
//!
//! Must never take another program for a client, or print what it says as it is.

use super::{Check, Finding, Subject, Verdict};
use bytes::Bytes;
use docxy_protocol::limits::SMALL_BODY_BYTES_MAX;
use docxy_protocol::text::clean;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// Time for a program on this machine to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the unit of our package may be, which an operator may have replaced.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// What was found.
#[derive(Debug)]
pub enum LocalClient {
    /// The settings do not say where to look.
    NotLooked,
    /// Nothing answers there.
    Absent(SocketAddr),
    /// Something else answers there.
    Other(SocketAddr),
    /// A client.
    Runs {
        /// Where it listens.
        address: SocketAddr,
        /// What its `/health` says.
        health: Value,
    },
}

impl LocalClient {
    /// Looks at the first of these addresses.
    pub async fn look(listen: &[SocketAddr]) -> Self {
        let Some(address) = listen.first().filter(|address| address.port() != 0) else {
            return Self::NotLooked;
        };
        let address = dialable(*address);
        match timeout(ANSWER_TIMEOUT, health(address)).await {
            Ok(Ok(health)) if health["tunnel"].is_string() && health["servers"].is_array() => {
                Self::Runs { address, health }
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Self::Absent(address),
            _ => Self::Other(address),
        }
    }

    /// Whether it runs, and is connected.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Runs { health, .. } if health["tunnel"] == "up")
    }

    /// How often an engine with this name has asked it; `None` if no client runs.
    #[must_use]
    pub fn asked_by(&self, engine: &str) -> Option<u64> {
        let Self::Runs { health, .. } = self else { return None };
        Some(health["since_start"]["transfers"]["engines"][engine].as_u64().unwrap_or(0))
    }

    /// The finding. `is_connected`: a server could be used a moment ago, or with a link of root's alone.
    pub(super) fn finding(&self, has_links: bool, is_connected: bool) -> Finding {
        let verdict = match self {
            Self::NotLooked => Verdict::not_tried("the settings name no port"),
            Self::Absent(_) if !has_links => Verdict::not_tried("it needs a link"),
            Self::Absent(address) => Verdict::fault(format!("nothing answers at {address}"), start_command()),
            Self::Other(address) => Verdict::fault(
                format!("another program than docxy-client has {address}"),
                format!(
                    "sudo ss -ltnp 'sport = :{}', which shows it; stop it, or give one of them another port",
                    address.port()
                ),
            ),
            Self::Runs { address, health } if self.is_up() => {
                let leg = clean(health["leg"].as_str().unwrap_or_default());
                Verdict::Ok(format!("it runs at {address}, and is connected by {leg}"))
            }
            Self::Runs { address, .. } if !is_connected => Verdict::not_tried(format!(
                "it runs at {address}, and cannot be connected for what is wrong above"
            )),
            Self::Runs { address, health } => {
                let reason = clean(health["reason"].as_str().unwrap_or("not connected yet"));
                let again = start_command();
                let remedy = match has_links {
                    true => format!("{again}, again: links and settings may have changed since its start"),
                    false => "sudo docxy-client doctor".to_owned(),
                };
                Verdict::fault(format!("it runs at {address}, and has no tunnel: {reason}"), remedy)
            }
        };
        Finding { check: Check::LocalClient, subject: Subject::Machine, verdict }
    }
}

/// What starts the client on this machine, or starts it again.
#[must_use]
pub fn start_command() -> &'static str {
    let is_in = |directory: &Path| directory.join("docxy-client.service").exists();
    let of_user = std::env::home_dir().unwrap_or_default().join(".config/systemd/user");
    if is_in(&of_user) {
        "systemctl --user restart docxy-client"
    } else if UNITS.iter().any(|directory| is_in(Path::new(directory))) {
        "sudo systemctl restart docxy-client"
    } else {
        "docxy-client run"
    }
}

/// The address of this machine itself, if all of its addresses are meant.
fn dialable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn health(address: SocketAddr) -> io::Result<Value> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    // A name that every client accepts.
    let request = Request::get("/health").header(header::HOST, format!("localhost:{}", address.port()));
    let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let body =
        Limited::new(response.into_body(), SMALL_BODY_BYTES_MAX).collect().await.map_err(io::Error::other)?;
    Ok(serde_json::from_slice(&body.to_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_only_root_can_try_is_no_reason_to_say_nothing() {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 5080));
        let client = LocalClient::Runs { address, health: json!({ "tunnel": "down", "servers": [] }) };
        let [said_above, of_system] =
            [false, true].map(|is_connected| client.finding(false, is_connected).verdict);
        assert!(!said_above.is_fault());
        assert!(matches!(of_system, Verdict::Fault { remedy, .. } if remedy.starts_with("sudo")));
    }
}
