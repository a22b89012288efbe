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
mod journal;
mod layer;
mod limit;
mod listener;
mod negotiation;
mod push;
mod range;
mod registry;
mod remote;
mod reply;
mod route;
mod signed_url;
mod site;
mod store;
mod token;
mod transfer;

use distribution::Distribution;

pub use artifact::Artifact;
pub use authority::{Authority, AuthorityError};
pub use blob::{Blob, Digest, NotADigest};
pub use control::Publication;
pub use distribution::DistributionError;
pub use fault::{Fault, Faults, NotSpent, Rule};
pub use image::{Format, Image, Manifest, PlatformImage, Recipe, media_type, seed_of};
pub use journal::{Entry, Journal, NotSeen};
pub use layer::Layer;
pub use limit::{PullLimit, PullLimits};
pub use push::PushError;
pub use remote::{RemoteError, RemoteHub};
pub use site::{Names, Site};
pub use store::Store;
pub use token::{Access, Grant, TokenError, TokenKeyError, Tokens};
pub use transfer::{NotReached, Transfer, TransferState, Transfers};

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
    world: Arc<World>,
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
struct World {
    names: Names,
    store: Store,
    /// Answers in place of the stand-in's own registry.
    distribution: Option<Distribution>,
    tokens: Tokens,
    meter: limit::Meter,
    urls: signed_url::UrlSigner,
    url_lifetime: Duration,
    absolute_links: bool,
    challenges: registry::Challenges,
    faults: Faults,
    journal: Journal,
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
        let world = Arc::new(World {
            tokens,
            distribution,
            meter: limit::Meter::new(config.pull_limits),
            urls: signed_url::UrlSigner::new().map_err(|_| HubError::UrlKey)?,
            names: config.names,
            store: config.store,
            url_lifetime: config.url_lifetime,
            absolute_links: config.absolute_links,
            challenges: registry::Challenges::default(),
            faults: Faults::new(),
            journal: Journal::new(),
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
            let tls = TlsAcceptor::from(Arc::new(authority.server_config(world.names.host(site))?));
            listeners.spawn(listener::serve(listener, tls, site, world.clone()));
        }
        let ca_file = write_ca(&authority).map_err(HubError::CaFile)?;
        Ok(Self { world, addresses, authority, ca_file, listeners })
    }

    /// Lets other processes see the journal and script faults, through a Unix socket at `path` (see [`RemoteHub`]).
    /// A socket file can be reached from every network namespace.
    pub fn serve_control(&mut self, path: &Path) -> Result<(), HubError> {
        let listener =
            UnixListener::bind(path).map_err(|source| HubError::Control { path: path.to_owned(), source })?;
        self.listeners.spawn(control::serve(listener, self.world.clone()));
        Ok(())
    }

    /// Where a host listens.
    pub fn address(&self, site: Site) -> SocketAddr {
        self.addresses.of(site)
    }

    /// Host name and address of each host, for a resolver that has to find them.
    pub fn resolve_table(&self) -> Vec<(String, SocketAddr)> {
        let pair = |site| (self.world.names.host(site).to_owned(), self.address(site));
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
        &self.world.names
    }

    /// What it holds.
    pub fn store(&self) -> &Store {
        &self.world.store
    }

    /// Its token service's key: to revoke tokens, or to make one without asking.
    pub fn tokens(&self) -> &Tokens {
        &self.world.tokens
    }

    /// Faults to come.
    pub fn faults(&self) -> &Faults {
        &self.world.faults
    }

    /// Makes the registry use these `WWW-Authenticate` lines instead of its own when it refuses a request whose path
    /// contains `part`, as a hostile registry could.
    pub fn challenge_with(&self, part: &str, lines: &[&str]) {
        self.world.challenges.set(part, lines);
    }

    /// Requests so far.
    pub fn journal(&self) -> &Journal {
        &self.world.journal
    }

    /// Blob bodies so far.
    pub fn transfers(&self) -> &Transfers {
        &self.world.transfers
    }

    /// New limits; what was used so far is forgotten.
    pub fn set_pull_limits(&self, limits: PullLimits) {
        self.world.meter.set_limits(limits);
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
