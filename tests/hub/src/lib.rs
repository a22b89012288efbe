//! A stand-in for Docker Hub: registry, token service and CDN on three TLS hosts of its own. It answers as the real
//! service does, and fails only by scripted faults.
//! Must never share code with the product, or both would have the same bugs.

mod content;
mod control;
mod http;
mod listener;
mod remote;
mod service;
mod state;
mod steering;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, UnixListener},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use http::signed_url::UrlSigner;
use service::{distribution::Distribution, push::push_store, rate_limit::PullCounter};
use state::HubState;
use steering::challenges::Challenges;

pub use content::artifact::Artifact;
pub use content::blob::{Blob, Digest, InvalidDigest};
pub use content::image::{
    Format, Image, ImageSpec, Manifest, PlatformImage, media_type, seed_for_repository,
};
pub use content::layer::Layer;
pub use content::store::Store;
pub use control::PublishRequest;
pub use remote::{RemoteError, RemoteHub};
pub use service::distribution::DistributionError;
pub use service::push::PushError;
pub use service::rate_limit::{PullLimit, PullLimits};
pub use service::token::{Access, Grant, TokenError, TokenKeyError, Tokens};
pub use steering::authority::{Authority, AuthorityError};
pub use steering::fault::{Fault, FaultWaitError, Faults, Rule};
pub use steering::request_log::{LoggedRequest, RequestLog, RequestWaitError};
pub use steering::site::{Kind, Names, Site};
pub use steering::transfer::{Transfer, TransferState, TransferWaitError, Transfers};

/// The configuration of a stand-in. The default is an empty Docker Hub on ephemeral loopback ports.
pub struct HubConfig {
    /// Its content, to which [`Hub::store`] can add later.
    pub store: Store,
    /// The registry behind the registry host.
    pub backend: Backend,
    /// How it differs from Docker Hub.
    pub kind: Kind,
    /// The names of its hosts.
    pub names: Names,
    /// The addresses of its hosts; port 0 takes a free port.
    pub listen: Listen,
    /// How many manifests may be pulled.
    pub pull_limits: PullLimits,
    /// The lifetime of tokens.
    pub token_lifetime: Duration,
    /// The lifetime of the CDN's signed URLs.
    pub url_lifetime: Duration,
    /// Whether `Link` fields hold a full URL or only a path.
    pub absolute_links: bool,
    /// The CA that signs the hosts' certificates; `None` creates one.
    pub authority: Option<Arc<Authority>>,
}

/// The registry behind the registry host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// The stand-in itself.
    #[default]
    Memory,
    /// A real registry process (Debian's `docker-registry`), filled with the content of the store at the start.
    /// Pull limits, redirects, revoked tokens and the registry's own faults do not apply to it; scripted statuses,
    /// delays, holds and closed connections do.
    Distribution,
}

/// The address of each host.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    /// The registry API.
    pub registry: SocketAddr,
    /// The token service.
    pub auth: SocketAddr,
    /// The CDN.
    pub cdn: SocketAddr,
}

/// A running stand-in. Dropping it closes all its connections at once.
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
    /// An address could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// A certificate could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The token key could not be made.
    #[error(transparent)]
    TokenKey(#[from] TokenKeyError),
    /// The system has no random numbers.
    #[error("cannot make a URL signing key")]
    UrlKey,
    /// The registry process could not be started.
    #[error(transparent)]
    Distribution(#[from] DistributionError),
    /// An image could not be pushed to the registry process.
    #[error(transparent)]
    Push(#[from] PushError),
    /// The control socket could not be bound.
    #[error("cannot bind the control socket {}: {source}", path.display())]
    Control {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The CA file could not be written.
    #[error("cannot write the CA file: {0}")]
    CaFile(#[source] io::Error),
}

impl Hub {
    /// Binds the three hosts and starts to serve.
    pub async fn start(config: HubConfig) -> Result<Self, HubError> {
        let authority = match config.authority {
            Some(authority) => authority,
            None => Arc::new(Authority::new()?),
        };
        let tokens = Tokens::new(&config.names.service, config.token_lifetime)?;
        let distribution = match config.backend {
            Backend::Memory => None,
            Backend::Distribution => {
                let registry = Distribution::start(&config.names, &tokens).await?;
                push_store(&registry, &config.names, &tokens, &config.store).await?;
                Some(registry)
            }
        };
        let hub = Arc::new(HubState {
            tokens,
            distribution,
            pulls: PullCounter::new(config.pull_limits),
            urls: UrlSigner::new().map_err(|_| HubError::UrlKey)?,
            kind: config.kind,
            names: config.names,
            store: config.store,
            url_lifetime: config.url_lifetime,
            absolute_links: config.absolute_links,
            challenges: Challenges::default(),
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

    /// Lets other processes read the request log and script faults through a Unix socket at `path` (see
    /// [`RemoteHub`]). A Unix socket can be reached from every network namespace.
    pub fn serve_control(&mut self, path: &Path) -> Result<(), HubError> {
        let listener =
            UnixListener::bind(path).map_err(|source| HubError::Control { path: path.to_owned(), source })?;
        self.listeners.spawn(control::serve(listener, self.hub.clone()));
        Ok(())
    }

    /// The address of a host.
    pub fn address(&self, site: Site) -> SocketAddr {
        self.addresses.of(site)
    }

    /// The name and address of each host, for a resolver.
    pub fn resolve_table(&self) -> Vec<(String, SocketAddr)> {
        let pair = |site| (self.hub.names.host(site).to_owned(), self.address(site));
        Site::ALL.map(pair).into()
    }

    /// The CA's certificate in PEM.
    pub fn ca_pem(&self) -> String {
        self.authority.pem()
    }

    /// A file with the CA's certificate. It is deleted with the stand-in.
    pub fn ca_file(&self) -> &Path {
        self.ca_file.path()
    }

    /// The names of its hosts.
    pub fn names(&self) -> &Names {
        &self.hub.names
    }

    /// Its content.
    pub fn store(&self) -> &Store {
        &self.hub.store
    }

    /// Its token service: issues and revokes tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.hub.tokens
    }

    /// Its scripted faults.
    pub fn faults(&self) -> &Faults {
        &self.hub.faults
    }

    /// Makes the registry use these `WWW-Authenticate` lines instead of its own when it refuses a request whose path
    /// contains `part`, as a hostile registry could.
    pub fn challenge_with(&self, part: &str, lines: &[&str]) {
        self.hub.challenges.set(part, lines);
    }

    /// All requests so far.
    pub fn request_log(&self) -> &RequestLog {
        &self.hub.request_log
    }

    /// All transfers of blob bodies so far.
    pub fn transfers(&self) -> &Transfers {
        &self.hub.transfers
    }

    /// Sets new limits and resets the counters.
    pub fn set_pull_limits(&self, limits: PullLimits) {
        self.hub.pulls.set_limits(limits);
    }
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            store: Store::default(),
            backend: Backend::default(),
            kind: Kind::default(),
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
    /// Three free loopback ports.
    fn default() -> Self {
        Self::on(Ipv4Addr::LOCALHOST.into())
    }
}

impl Listen {
    /// The three hosts at one IP address, each at a port that the kernel picks.
    pub fn on(ip: IpAddr) -> Self {
        let address = SocketAddr::new(ip, 0);
        Self { registry: address, auth: address, cdn: address }
    }

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
