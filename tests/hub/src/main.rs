//! The Docker Hub stand-in as a program, for the demo and for tests in other network namespaces.
//! It prints one line of JSON when it is ready, and serves until SIGTERM or SIGINT.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use hub_stand_in::{
    Backend, Blob, Format, Hub, HubConfig, Image, Kind, Listen, Names, PullLimit, PullLimits, Site, Store,
    seed_for_repository,
};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

/// A stand-in for Docker Hub: registry, token service and CDN, each with TLS and its real name.
///
/// Example: hub --image library/hello --image library/five:12MiB --account alice:secret --private alice/private
#[derive(Parser)]
struct Arguments {
    /// Address for registry-1.docker.io; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen_registry: SocketAddr,
    /// Address for auth.docker.io.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen_auth: SocketAddr,
    /// Address for the CDN.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen_cdn: SocketAddr,
    /// Be another registry than Docker Hub: API at HOST, token service at auth.HOST, CDN at cdn.HOST.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// How the registry differs from Docker Hub.
    #[arg(long, value_enum, default_value_t)]
    kind: Kind,
    /// A challenge that replaces the registry's own when it refuses a manifest request.
    #[arg(long, value_name = "CHALLENGE")]
    challenge: Vec<String>,
    /// Unix socket for the request log and for faults.
    #[arg(long, value_name = "SOCKET")]
    control: Option<PathBuf>,
    /// File to write the CA's certificate to.
    #[arg(long, value_name = "FILE")]
    ca_out: Option<PathBuf>,
    /// File to write the line of JSON to that is printed when ready.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Use a real registry process (Debian's docker-registry) behind the registry host.
    #[arg(long)]
    distribution: bool,
    /// A public multi-arch image, tagged latest: a small one, or five layers of SIZE in all (such as 12MiB).
    #[arg(long, value_name = "REPOSITORY[:SIZE]")]
    image: Vec<Content>,
    /// The same with Docker's media types instead of OCI's.
    #[arg(long, value_name = "REPOSITORY[:SIZE]")]
    docker_image: Vec<Content>,
    /// A public image with one layer of SIZE, generated as it is read.
    #[arg(long, value_name = "REPOSITORY:SIZE")]
    large_image: Vec<Content>,
    /// A public image with four layers of SIZE in all, generated as they are read.
    #[arg(long, value_name = "REPOSITORY:SIZE")]
    four_layer_image: Vec<Content>,
    /// An image that only the given accounts may pull.
    #[arg(long, value_name = "REPOSITORY[:SIZE]")]
    private: Vec<Content>,
    /// Let only the given accounts pull from a repository that another option fills.
    #[arg(long, value_name = "REPOSITORY")]
    lock: Vec<String>,
    /// A blob of SIZE without a manifest.
    #[arg(long, value_name = "REPOSITORY:SIZE")]
    blob: Vec<Content>,
    /// An account.
    #[arg(long, value_name = "USER:PASSWORD")]
    account: Vec<String>,
    /// How many manifests an address without an account may pull in six hours.
    #[arg(long, value_name = "N", default_value_t = 100)]
    anonymous_pulls: u32,
    /// Lifetime of tokens in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    token_lifetime: u64,
}

/// A repository and the size of its content.
#[derive(Clone)]
struct Content {
    repository: String,
    size: Option<u64>,
}

#[tokio::main]
async fn main() -> Result<()> {
    // The level is that of `RUST_LOG`, or `error`.
    let level = std::env::var("RUST_LOG").ok().and_then(|level| level.parse().ok());
    tracing_subscriber::fmt()
        .with_max_level(level.unwrap_or(tracing::Level::ERROR))
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    // Before the program is ready, so that no signal is missed.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);

    let mut published = BTreeMap::new();
    let store = fill(&arguments, &mut published)?;
    let mut hub = Hub::start(config(&arguments, store)).await?;
    if !arguments.challenge.is_empty() {
        let lines: Vec<_> = arguments.challenge.iter().map(String::as_str).collect();
        hub.challenge_with("/manifests/", &lines);
    }
    if let Some(path) = &arguments.control {
        hub.serve_control(path)?;
    }
    if let Some(path) = &arguments.ca_out {
        write(path, &hub.ca_pem())?;
    }
    let ready = json!({
        "registry": hub.address(Site::Registry),
        "auth": hub.address(Site::Auth),
        "cdn": hub.address(Site::Cdn),
        "resolve": hub.resolve_table().into_iter().collect::<BTreeMap<_, _>>(),
        "ca": arguments.ca_out.as_deref().unwrap_or(hub.ca_file()),
        "control": arguments.control,
        "published": published,
    });
    if let Some(path) = &arguments.ready_file {
        // Renamed into place, so that a reader never sees half of the file.
        let draft = path.with_extension("draft");
        write(&draft, &ready.to_string())?;
        std::fs::rename(&draft, path).with_context(|| path.display().to_string())?;
    }
    println!("{ready}");

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    if let Some(path) = &arguments.control {
        std::fs::remove_file(path).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn config(arguments: &Arguments, store: Store) -> HubConfig {
    let mut pull_limits = PullLimits::default();
    pull_limits.anonymous =
        pull_limits.anonymous.map(|limit| PullLimit { pulls: arguments.anonymous_pulls, ..limit });
    HubConfig {
        store,
        kind: arguments.kind,
        names: arguments.host.as_deref().map_or_else(Names::default, Names::of),
        backend: if arguments.distribution { Backend::Distribution } else { Backend::Memory },
        listen: Listen {
            registry: arguments.listen_registry,
            auth: arguments.listen_auth,
            cdn: arguments.listen_cdn,
        },
        pull_limits,
        token_lifetime: Duration::from_secs(arguments.token_lifetime),
        ..HubConfig::default()
    }
}

/// Creates all content; `published` gets the digest of each image and blob.
fn fill(arguments: &Arguments, published: &mut BTreeMap<String, String>) -> Result<Store> {
    let store = Store::default();
    let mut accounts = Vec::new();
    for account in &arguments.account {
        let (user, password) = account.split_once(':').context("an account is USER:PASSWORD")?;
        store.add_account(user, password);
        accounts.push(user);
    }
    let mut publish = |repository: &str, image: &Image| {
        store.publish(repository, "latest", image);
        published.insert(repository.to_owned(), image.digest().to_string());
    };
    for content in &arguments.image {
        publish(&content.repository, &content.image()?);
    }
    for content in &arguments.docker_image {
        publish(&content.repository, &content.image()?.in_format(Format::Docker));
    }
    for content in &arguments.large_image {
        publish(
            &content.repository,
            &Image::one_layer(seed_for_repository(&content.repository), content.size()?)?,
        );
    }
    for content in &arguments.four_layer_image {
        publish(
            &content.repository,
            &Image::four_layers(seed_for_repository(&content.repository), content.size()?)?,
        );
    }
    for content in &arguments.private {
        publish(&content.repository, &content.image()?);
        store.make_private(&content.repository, &accounts);
    }
    for repository in &arguments.lock {
        store.make_private(repository, &accounts);
    }
    for content in &arguments.blob {
        let blob = Blob::generated(seed_for_repository(&content.repository), content.size()?);
        published.insert(content.repository.clone(), blob.digest().to_string());
        store.add_blob(&content.repository, blob);
    }
    Ok(store)
}

impl Content {
    fn image(&self) -> Result<Image> {
        Ok(match self.size {
            None => Image::hello_from(&self.repository)?,
            Some(size) => Image::five_layers(seed_for_repository(&self.repository), size)?,
        })
    }

    fn size(&self) -> Result<u64> {
        self.size.with_context(|| format!("{} needs a size", self.repository))
    }
}

impl std::str::FromStr for Content {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (repository, size) = match text.split_once(':') {
            Some((repository, size)) => (repository, Some(parse_size(size)?)),
            None => (text, None),
        };
        Ok(Self { repository: repository.to_owned(), size })
    }
}

/// `123`, `64KiB`, `12MiB`, `2GiB`.
fn parse_size(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        unit => bail!("unknown unit {unit:?}: KiB, MiB or GiB"),
    };
    let number: u64 = digits.parse().with_context(|| format!("{text:?} is not a size"))?;
    number.checked_mul(factor).context("too large")
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
