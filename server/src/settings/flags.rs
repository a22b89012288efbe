//! The settings that the command line may name.
//!
//! Their comments are the help of the commands.

use crate::address::PublicAddress;
use clap::Args;
use docxy_host::byte_size::ByteSize;
use docxy_host::logging::{Filter, LogFormat};
use docxy_host::net::listen_address::ListenAddress;
use docxy_host::net::proxy::Proxy;
use docxy_protocol::congestion::Rate;
use std::path::PathBuf;

/// The settings from the command line and the environment. The config file and the defaults complete them.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// What every command takes.
    pub common: CommonFlags,
    /// Where to listen, and what clients dial.
    pub addresses: AddressFlags,
    /// How to reach the registries.
    pub proxy: ProxyFlags,
    /// How to serve.
    pub serving: ServingFlags,
    /// What to log.
    pub log: Option<Filter>,
}

/// What every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct CommonFlags {
    /// The config file, TOML [default: /etc/docxy/server.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE", env = "DOCXY_CONFIG")]
    pub config: Option<PathBuf>,
    /// The directory for the server's key and clients [default: $STATE_DIRECTORY, or
    /// /var/lib/docxy-server as root, or ~/.local/state/docxy-server]
    #[arg(long, global = true, value_name = "DIR", env = "DOCXY_STATE")]
    pub state: Option<PathBuf>,
    /// The file of the clients, if several servers share it; they only read it, and need no right to write
    /// [default: the file that the last `run` with this state directory had, or clients in that directory]
    #[arg(long, global = true, value_name = "FILE", env = "DOCXY_CLIENTS_FILE")]
    pub clients_file: Option<PathBuf>,
}

/// Where to listen, and what clients dial.
#[derive(Debug, Clone, Default, Args)]
pub struct AddressFlags {
    /// Address and port, of UDP and TCP, to listen on; may be repeated. A port alone is that of every address
    /// [default: 61443]
    #[arg(long, value_name = "ADDR", env = "DOCXY_LISTEN", value_delimiter = ',')]
    pub listen: Vec<ListenAddress>,
    /// The address in links, which clients dial; `invite` uses the last one that `run` had [default: a public address of
    /// this machine, and the port listened on]
    #[arg(long, value_name = "HOST[:PORT]", env = "DOCXY_PUBLIC")]
    pub public: Option<PublicAddress>,
}

/// How to reach the registries.
#[derive(Debug, Clone, Default, Args)]
pub struct ProxyFlags {
    /// The proxy through which registries are reached: http://HOST:PORT or socks5://HOST:PORT. A password must not be
    /// in an argument: see server/README.md [env: DOCXY_PROXY, then HTTPS_PROXY or ALL_PROXY, with NO_PROXY]
    #[arg(long, value_name = "URL", value_parser = Proxy::without_password)]
    pub proxy: Option<Proxy>,
}

/// How to serve.
#[derive(Debug, Clone, Default, Args)]
pub struct ServingFlags {
    /// The highest fixed rate that a client may set, for each of its connections. A higher one is
    /// lowered to it. Clients without a fixed rate are not limited [default: 1 Gbit/s]
    #[arg(long, value_name = "RATE", env = "DOCXY_FIXED_RATE_LIMIT")]
    pub fixed_rate_limit: Option<Rate>,
    /// How fast the server may send to one client, over all its connections, whatever its congestion control is
    /// [default: no limit]
    #[arg(long, value_name = "RATE", env = "DOCXY_CLIENT_MAX_RATE")]
    pub client_max_rate: Option<Rate>,
    /// Keep public layers on this server's disk, for all its clients, up to this size, as in "50 GB": each is fetched once.
    /// 5 % of the file system stay free, and no less than 1 GB [default: 0, none]
    #[arg(long, value_name = "SIZE", env = "DOCXY_LAYER_CACHE")]
    pub layer_cache: Option<ByteSize>,
    /// The directory for these layers, of one server [default: $CACHE_DIRECTORY, or /var/cache/docxy-server as root, or
    /// ~/.cache/docxy-server]
    #[arg(long, value_name = "DIR", env = "DOCXY_CACHE")]
    pub cache: Option<PathBuf>,
    /// At the first SIGTERM, hand running transfers back to the clients and end within 2 seconds. The clients continue
    /// them with the next process, which a service manager starts at once
    #[arg(long, value_name = "BOOL", env = "DOCXY_HANDOVER", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub handover: Option<bool>,
    /// A certificate of your own for what strangers see on TCP, PEM with its chain. Handshakes that ask for one of its
    /// DNS names get it, all others the server's own, whose pin is in the links [default: none]
    #[arg(long, value_name = "FILE", env = "DOCXY_TLS_CERTIFICATE")]
    pub tls_certificate: Option<PathBuf>,
    /// Its private key, PEM, not encrypted
    #[arg(long, value_name = "FILE", env = "DOCXY_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Where to serve metrics for Prometheus (/metrics), and a page for the operator. A port alone is that of 127.0.0.1;
    /// another address needs tls_certificate [default: nowhere]
    #[arg(long, value_name = "ADDR", env = "DOCXY_ADMIN")]
    pub admin: Option<ListenAddress>,
    /// Whether the log names the images that clients pull [default: false, the registry and a trace id only]
    #[arg(long, value_name = "BOOL", env = "DOCXY_LOG_IMAGES", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub log_images: Option<bool>,
    /// How log lines look: text, or json for programs [default: text]
    #[arg(long, value_name = "FORMAT", env = "DOCXY_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}
