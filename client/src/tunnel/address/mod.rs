//! The addresses of servers: resolved, raced, and the last good ones remembered.
//!
//! What a resolver says is no more than a proposal: the pin decides whether an address leads to the server. So the
//! address of the last session stays a candidate while the resolver fails, or names another one.

mod book;

pub(super) use book::AddressBook;

use docxy_host::net::happy_eyeballs::{RaceError, race};
use docxy_protocol::link::Host;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// How long the resolution of a host name may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to a server at one of its addresses, IPv6 and IPv4 in a race (RFC 8305). `connect` must end by itself, and
/// must check the pin. The address that it succeeds with is remembered.
///
/// # Errors
/// If there is no address, or no attempt succeeds.
pub(super) async fn connect<T, E, F>(
    host: &Host,
    port: u16,
    book: &AddressBook,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, RaceError<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let last_good = book.last_good(host).map(|ip| SocketAddr::new(ip, port));
    let (address, connected) = race(resolve(host, port), last_good, connect).await?;
    book.worked(host, address.ip());
    Ok(connected)
}

pub(super) async fn resolve(host: &Host, port: u16) -> io::Result<impl Iterator<Item = SocketAddr>> {
    let resolving = tokio::net::lookup_host((host.as_str(), port));
    tokio::time::timeout(RESOLVE_TIMEOUT, resolving)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::ready;

    #[tokio::test]
    async fn a_server_is_reached_at_its_last_good_address_while_its_name_has_none() {
        let (host, book) = ("docxy.invalid".parse().unwrap(), AddressBook::open(None));
        let fails = connect(&host, 1, &book, |address| ready(Err::<(), _>(address))).await;
        assert!(fails.unwrap_err().attempts.is_empty());
        book.worked(&host, "192.0.2.1".parse().unwrap());
        let reached = connect(&host, 2, &book, |address| ready(Ok::<_, ()>(address))).await;
        assert_eq!(reached.unwrap(), "192.0.2.1:2".parse().unwrap());
    }

    #[tokio::test]
    async fn an_address_is_good_only_after_a_session() {
        let (host, book) = ("localhost".parse().unwrap(), AddressBook::open(None));
        assert!(connect(&host, 1, &book, |_| ready(Err::<(), _>(()))).await.is_err());
        assert_eq!(book.last_good(&host), None);
        let reached = connect(&host, 1, &book, |address| ready(Ok::<_, ()>(address))).await.unwrap();
        assert_eq!(book.last_good(&host), Some(reached.ip()));
    }
}
