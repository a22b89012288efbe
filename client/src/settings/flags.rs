//! The settings that the command line may name.
//!
//! Their comments are the help of the commands.

use super::networks::Networks;
use super::share::{NeighbourAddress, Share};
use crate::tunnel::{Congestion, LegChoice, Rates};
use clap::Args;
use docxy_host::byte_size::ByteSize;
use docxy_host::logging::{Filter, LogFormat};
use docxy_host::net::listen_address::ListenAddress;
use docxy_host::net::proxy::Proxy;
use std::path::PathBuf;

/// The command line. The links of the environment are added while loading.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// The config file.
    pub config: Option<PathBuf>,
    /// How to connect.
    pub connection: ConnectionFlags,
    /// How to serve.
    pub serving: ServingFlags,
    /// What to log.
    pub log: Option<Filter>,
}

/// How to connect.
#[derive(Debug, Clone, Default, Args)]
pub struct ConnectionFlags {
    /// A file of links to use instead of the joined ones [env: DOCXY_LINK_FILE]
    #[arg(long, value_name = "FILE")]
    pub link_file: Option<PathBuf>,
    /// How both ends send: auto, cubic, or the rates of your link as in down=95Mbit/s,up=20Mbit/s [default:
    /// auto]
    ///
    /// auto follows the measured rate of the link, regardless of loss. State rates if you know those of the
    /// link and auto stays below them: 95 % of each, since a higher rate overloads the link and also drops
    /// other traffic. A direction without a rate is auto; the server may have a limit. cubic slows down at
    /// every loss, as most TCP programs do, so it is the slowest on a bad link. On the TCP leg, the kernel sends: with
    /// CUBIC, or with BBR, for which a stated rate is the most that it may use.
    #[arg(long, value_name = "HOW", env = "DOCXY_CONGESTION")]
    pub congestion: Option<Congestion>,
    /// How fast both ends may send at most, whatever --congestion says, as in down=50Mbit/s,up=5Mbit/s [default: no
    /// limit]
    ///
    /// For a provider that bans heavy traffic, or to leave room for others. It holds on each leg for all that is sent, but
    /// acknowledgements are never held back, and what the kernel sends again over TCP is not counted. With several servers,
    /// one of them sends all large bodies. Clients with one link and the same limit share it. The server may have a lower
    /// limit.
    #[arg(long, value_name = "RATES", env = "DOCXY_MAX_RATE")]
    pub max_rate: Option<Rates>,
    /// The leg of the tunnel: auto, the better one, quic (over UDP), or tcp (HTTP/2 over TLS) [default: auto]
    ///
    /// Both reach the server at the same port. auto finds out where UDP is blocked or slowed down.
    #[arg(long, value_name = "LEG", env = "DOCXY_LEG")]
    pub leg: Option<LegChoice>,
    /// The proxy on the way to the servers: http://HOST:PORT or socks5://HOST:PORT. A password must not be in an
    /// argument: see client/README.md [env: DOCXY_PROXY]
    ///
    /// Servers are then reached through it only, by TCP. Without one, the proxy that HTTPS_PROXY or ALL_PROXY names is
    /// one more way, except to the hosts in NO_PROXY. This machine itself is never reached through a proxy.
    #[arg(long, value_name = "URL", value_parser = Proxy::without_password)]
    pub proxy: Option<Proxy>,
    /// Directory for public manifests, layers and the challenges of registries, which need not be requested again;
    /// may be deleted at any time [default: /var/cache/docxy as root, else ~/.cache/docxy]
    #[arg(long, value_name = "DIR", env = "DOCXY_CACHE")]
    pub cache: Option<PathBuf>,
    /// How much of the disk public layers may use, as in "20 GB"; 0 keeps none [default: a tenth of the file system, from
    /// 1 to 20 GB]
    ///
    /// They are in the directory `blobs` of --cache. The least recently used go first. 5 % of the file system, and no less
    /// than 1 GB, are always left free.
    #[arg(long, value_name = "SIZE", env = "DOCXY_CACHE_SIZE")]
    pub cache_size: Option<ByteSize>,
}

/// How to serve.
#[derive(Debug, Clone, Default, Args)]
pub struct ServingFlags {
    /// Address and TCP port to listen on; may be given several times. 5081, :5081 and localhost:5081 are loopback, IPv4
    /// and IPv6 [default: 127.0.0.1:5080]
    #[arg(long, value_name = "ADDR", env = "DOCXY_LISTEN", value_delimiter = ',')]
    pub listen: Vec<ListenAddress>,
    /// Another host name that engines may use; may be given several times. Loopback names are always accepted
    #[arg(long = "host", value_name = "NAME", env = "DOCXY_HOST", value_delimiter = ',')]
    pub hosts: Vec<String>,
    /// The networks whose machines may use this client, as in 192.168.1.0/24,fd00::/8; without a value all
    ///
    /// Needed to listen on addresses that other machines can reach. Others get 403. Those machines pull through your
    /// link, and never with your logins.
    #[arg(
        long,
        value_name = "NETWORKS",
        env = "DOCXY_ALLOW_REMOTE",
        num_args = 0..=1,
        default_missing_value = "all"
    )]
    pub allow_remote: Option<Networks>,
    /// Share public layers with other clients in this network, at this port or address [default: off; without a value:
    /// port 5082]
    ///
    /// They get those that are whole on this disk, by digest, and nothing is fetched for them; only machines in this
    /// machine's private networks are served. Multicast DNS announces the port, and finds others, which are asked before a
    /// layer crosses the tunnel: so they learn which public layers are pulled here.
    #[arg(long, value_name = "ADDR", env = "DOCXY_SHARE", num_args = 0..=1, default_missing_value = "true")]
    pub share: Option<Share>,
    /// Another client that shares, as in 192.168.1.7:5082, where multicast does not reach it; may be given several times
    #[arg(long = "neighbour", value_name = "ADDR", env = "DOCXY_NEIGHBOUR", value_delimiter = ',')]
    pub neighbours: Vec<NeighbourAddress>,
    /// How long an interrupted pull waits for its next byte before its response is aborted [default: 600]
    #[arg(long, value_name = "SECONDS", env = "DOCXY_PATIENCE")]
    pub patience: Option<u64>,
    /// Without a link, serve and wait for `docxy-client join`, as a service does that starts at boot
    #[arg(long)]
    pub wait_for_link: bool,
    /// How log lines look: text, or json for programs [default: text]
    #[arg(long, value_name = "FORMAT", env = "DOCXY_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}
