//! A stand-in for Docker Hub: registry, token service and CDN on three TLS hosts of its own.
//! It behaves as the real one does (shared facts, section 2), faults included when they are scripted.
//! It must share no code with the product, or both would have the same bugs.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, UnixListener},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

mod artifact;
mod auth;
mod authority;
mod blob;
mod cdn;
mod control;
mod distribution;
mod fault;
mod image;
mod layer;
mod listener;
mod negotiation;
mod push;
mod range;
mod rate_limit;
mod registry;
mod remote;
mod request_log;
mod response;
mod route;
mod signed_url;
mod site;
mod store;
mod token;
mod transfer;

use distribution::Distribution;

pub use artifact::Artifact;
pub use authority::{Authority, AuthorityError};
pub use blob::{Blob, Digest, InvalidDigest};
pub use control::PublishRequest;
pub use distribution::DistributionError;
pub use fault::{Fault, FaultWaitError, Faults, Rule};
pub use image::{Format, Image, ImageSpec, Manifest, PlatformImage, media_type, seed_for_repository};
pub use layer::Layer;
pub use push::PushError;
pub use rate_limit::{PullLimit, PullLimits};
pub use remote::{RemoteError, RemoteHub};
pub use request_log::{LoggedRequest, RequestLog, RequestWaitError};
pub use site::{Names, Site};
pub use store::Store;
pub use token::{Access, Grant, TokenError, TokenKeyError, Tokens};
pub use transfer::{Transfer, TransferState, TransferWaitError, Transfers};

/// How a stand-in is to be. The default is an empty Docker Hub on ephemeral loopback ports.
pub struct HubConfig {
    /// What it holds. It can be added to later, by [`Hub::store`].
    pub store: Store,
    /// What answers on the registry host.
    pub backend: Backend,
    /// What its hosts are called.
    pub names: Names,
    /// Where they listen; port 0 takes a free one.
    pub listen: Listen,
    /// How many manifests may be pulled.
    pub pull_limits: PullLimits,
    /// How long tokens are good.
    pub token_lifetime: Duration,
    /// How long redirects to the CDN are good.
    pub url_lifetime: Duration,
    /// Whether `Link` holds a whole URL or only a path.
    pub absolute_links: bool,
    /// Who signs the hosts' certificates; `None` makes a CA of its own.
    pub authority: Option<Arc<Authority>>,
}

/// What answers on the registry host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// The stand-in itself.
    #[default]
    Memory,
    /// A real registry process (Debian's `docker-registry`), filled with what the store holds at the start. Pull
    /// limits, redirects, revoked tokens and the registry's own faults are the stand-in's and do not apply; statuses,
    /// delays, holds and hang-ups do.
    Distribution,
}

/// An address for each host.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    /// For the registry API.
    pub registry: SocketAddr,
    /// For the token service.
    pub auth: SocketAddr,
    /// For the CDN.
    pub cdn: SocketAddr,
}

/// A running stand-in. Dropped, it is gone at once, connections included.
pub struct Hub {
    hub: Arc<HubState>,
    addresses: Listen,
    authority: Arc<Authority>,
    ca_file: tempfile::NamedTempFile,
    listeners: JoinSet<()>,
}

/// Why a stand-in could not start.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// An address could not be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A certificate could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The token key could not be made.
    #[error(transparent)]
    TokenKey(#[from] TokenKeyError),
    /// The system has no randomness.
    #[error("cannot make a URL signing key")]
    UrlKey,
    /// The registry process could not be started or filled.
    #[error(transparent)]
    Distribution(#[from] DistributionError),
    /// The control socket could not be made.
    #[error("cannot make the control socket {}: {source}", path.display())]
    Control {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The CA file could not be written.
    #[error("cannot write the CA file: {0}")]
    CaFile(#[source] io::Error),
}

/// What the three hosts share.
struct HubState {
    names: Names,
    store: Store,
    /// Answers in place of the stand-in's own registry.
    distribution: Option<Distribution>,
    tokens: Tokens,
    pulls: rate_limit::PullCounter,
    urls: signed_url::UrlSigner,
    url_lifetime: Duration,
    absolute_links: bool,
    faults: Faults,
    request_log: RequestLog,
    transfers: Transfers,
}

impl Hub {
    /// Binds the three hosts and begins to serve.
    pub async fn start(config: HubConfig) -> Result<Self, HubError> {
        let authority = match config.authority {
            Some(authority) => authority,
            None => Arc::new(Authority::new()?),
        };
        let tokens = Tokens::new(&config.names.service, config.token_lifetime)?;
        let distribution = match config.backend {
            Backend::Memory => None,
            Backend::Distribution => Some(Distribution::start(&config.names, &tokens, &config.store).await?),
        };
        let hub = Arc::new(HubState {
            tokens,
            distribution,
            pulls: rate_limit::PullCounter::new(config.pull_limits),
            urls: signed_url::UrlSigner::new().map_err(|_| HubError::UrlKey)?,
            names: config.names,
            store: config.store,
            url_lifetime: config.url_lifetime,
            absolute_links: config.absolute_links,
            faults: Faults::new(),
            request_log: RequestLog::new(),
            transfers: Transfers::new(),
        });
        let mut addresses = config.listen;
        let mut listeners = JoinSet::new();
        for site in Site::ALL {
            let address = addresses.of_mut(site);
            let bound =
                bind(*address).await.map_err(|source| HubError::Listen { address: *address, source })?;
            let listener;
            (listener, *address) = bound;
            let tls = TlsAcceptor::from(Arc::new(authority.server_config(hub.names.host(site))?));
            listeners.spawn(listener::serve(listener, tls, site, hub.clone()));
        }
        let ca_file = write_ca(&authority).map_err(HubError::CaFile)?;
        Ok(Self { hub, addresses, authority, ca_file, listeners })
    }

    /// Lets other processes see the request_log and script faults, through a Unix socket at `path` (see [`RemoteHub`]).
    /// A socket file can be reached from every network namespace.
    pub fn serve_control(&mut self, path: &Path) -> Result<(), HubError> {
        let listener =
            UnixListener::bind(path).map_err(|source| HubError::Control { path: path.to_owned(), source })?;
        self.listeners.spawn(control::serve(listener, self.hub.clone()));
        Ok(())
    }

    /// Where a host listens.
    pub fn address(&self, site: Site) -> SocketAddr {
        self.addresses.of(site)
    }

    /// Host name and address of each host, for a resolver that has to find them.
    pub fn resolve_table(&self) -> Vec<(String, SocketAddr)> {
        let pair = |site| (self.hub.names.host(site).to_owned(), self.address(site));
        Site::ALL.map(pair).into()
    }

    /// The CA's certificate.
    pub fn ca_pem(&self) -> String {
        self.authority.pem()
    }

    /// A file with the CA's certificate; it lives as long as the stand-in.
    pub fn ca_file(&self) -> &Path {
        self.ca_file.path()
    }

    /// What the hosts are called.
    pub fn names(&self) -> &Names {
        &self.hub.names
    }

    /// What it holds.
    pub fn store(&self) -> &Store {
        &self.hub.store
    }

    /// Its token service's key: to revoke tokens, or to make one without asking.
    pub fn tokens(&self) -> &Tokens {
        &self.hub.tokens
    }

    /// Faults to come.
    pub fn faults(&self) -> &Faults {
        &self.hub.faults
    }

    /// Requests so far.
    pub fn request_log(&self) -> &RequestLog {
        &self.hub.request_log
    }

    /// Blob bodies so far.
    pub fn transfers(&self) -> &Transfers {
        &self.hub.transfers
    }

    /// New limits; what was used so far is forgotten.
    pub fn set_pull_limits(&self, limits: PullLimits) {
        self.hub.pulls.set_limits(limits);
    }
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            store: Store::default(),
            backend: Backend::default(),
            names: Names::default(),
            listen: Listen::default(),
            pull_limits: PullLimits::default(),
            token_lifetime: Duration::from_secs(300),
            url_lifetime: Duration::from_secs(300),
            absolute_links: false,
            authority: None,
        }
    }
}

impl Default for Listen {
    /// A free loopback port each.
    fn default() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { registry: any, auth: any, cdn: any }
    }
}

impl Listen {
    fn of(&self, site: Site) -> SocketAddr {
        match site {
            Site::Registry => self.registry,
            Site::Auth => self.auth,
            Site::Cdn => self.cdn,
        }
    }

    fn of_mut(&mut self, site: Site) -> &mut SocketAddr {
        match site {
            Site::Registry => &mut self.registry,
            Site::Auth => &mut self.auth,
            Site::Cdn => &mut self.cdn,
        }
    }
}

async fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn write_ca(authority: &Authority) -> io::Result<tempfile::NamedTempFile> {
    let file = tempfile::Builder::new().prefix("docxy-hub-ca-").suffix(".pem").tempfile()?;
    std::fs::write(file.path(), authority.pem())?;
    Ok(file)
}
