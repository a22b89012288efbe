//! Which addresses the server may connect to.
//!
//! A registry's answers name hosts (redirects, realms), and a name can resolve to anything, also
//! to another address at each look. So the check is made on the address that is dialled, here,
//! and nowhere earlier. What the operator named in the config is exempt.

use crate::public_ip::is_public;
use crate::settings::ResolveTo;
use hyper_util::client::legacy::connect::dns::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_service::Service;

/// Why a host isn't dialled.
#[derive(Debug, thiserror::Error)]
pub(super) enum GuardError {
    /// DNS failed.
    #[error("{host} cannot be resolved: {source}")]
    Resolve { host: String, source: std::io::Error },
    /// DNS says where, but that is off limits.
    #[error(
        "{host} resolves to {address}, which is no public address; name the host under [resolve] if that is meant"
    )]
    NotPublic { host: String, address: IpAddr },
    /// DNS says nothing.
    #[error("{host} has no address")]
    NoAddress { host: String },
}

/// Resolves names for the connector, and refuses addresses that are not public.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    pinned: Arc<BTreeMap<String, ResolveTo>>,
    named: Arc<BTreeSet<String>>,
}

impl Guard {
    /// `pinned`: the config's `[resolve]`; `named`: hosts of the config's registries.
    pub(super) fn new(pinned: BTreeMap<String, ResolveTo>, named: BTreeSet<String>) -> Self {
        Self { pinned: Arc::new(pinned), named: Arc::new(named) }
    }

    /// Whether a URL's host may be dialled as far as its text goes. The connector never asks the
    /// resolver about a literal address, so those have to be checked before.
    pub(super) fn permits(&self, host: &url::Host<&str>) -> bool {
        let address = match host {
            url::Host::Domain(_) => return true,
            url::Host::Ipv4(address) => IpAddr::V4(*address),
            url::Host::Ipv6(address) => IpAddr::V6(*address),
        };
        is_public(address) || self.named.contains(&host.to_string())
    }

    async fn resolve(self, name: String) -> Result<std::vec::IntoIter<SocketAddr>, GuardError> {
        let host = name.to_ascii_lowercase();
        if let Some(to) = self.pinned.get(&host) {
            // Port 0 stands for the URL's; the connector fills it in.
            return Ok(vec![SocketAddr::new(to.ip, to.port.unwrap_or(0))].into_iter());
        }
        let looked_up = tokio::net::lookup_host((host.as_str(), 0)).await.map(Vec::from_iter);
        let found: Vec<SocketAddr> = match looked_up {
            Ok(found) => found,
            Err(source) => return Err(GuardError::Resolve { host, source }),
        };
        let Some(first) = found.first().copied() else {
            return Err(GuardError::NoAddress { host });
        };
        if self.named.contains(&host) {
            return Ok(found.into_iter());
        }
        let public: Vec<SocketAddr> = found.into_iter().filter(|a| is_public(a.ip())).collect();
        if public.is_empty() {
            Err(GuardError::NotPublic { host, address: first.ip() })
        } else {
            Ok(public.into_iter())
        }
    }
}

impl Service<Name> for Guard {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = GuardError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, GuardError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), GuardError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(self.clone().resolve(name.as_str().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_leads_home_is_refused_unless_the_operator_named_it() {
        let stranger = Guard::new(BTreeMap::new(), BTreeSet::new());
        let refused = stranger.clone().resolve("localhost".into()).await;
        assert!(matches!(refused, Err(GuardError::NotPublic { .. })), "{refused:?}");
        let named = Guard::new(BTreeMap::new(), BTreeSet::from(["localhost".to_owned()]));
        assert!(named.resolve("LOCALHOST".into()).await.is_ok());
        let literal = |text: &'static str| {
            stranger.permits(
                &url::Host::parse(text)
                    .as_ref()
                    .map(|h| match h {
                        url::Host::Domain(d) => url::Host::Domain(d.as_str()),
                        url::Host::Ipv4(a) => url::Host::Ipv4(*a),
                        url::Host::Ipv6(a) => url::Host::Ipv6(*a),
                    })
                    .unwrap(),
            )
        };
        assert!(
            !literal("169.254.169.254") && !literal("[::1]") && literal("1.1.1.1") && literal("example.org")
        );
    }
}
