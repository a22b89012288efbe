//! `bench page`: what an open page costs the client while many pulls run.
//! Must never compare across runs: windows with and without a page alternate, and ratios are of medians of the same run.

use std::{
    fmt::{self, Display},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Args;
use docxy_tests::{
    docxy::{Client, Server, ServerConfig, Upstream},
    process::PROCESS_TIMEOUT,
    statistics::median,
    table::{Table, median_and_range, number},
};
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty};
use hub_stand_in::{Hub, HubConfig, Image, ImageSpec, PullLimit, PullLimits};
use hyper::{body::Incoming, client::conn::http1::handshake};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::Value;
use tokio::{net::TcpStream, runtime::Runtime, time::sleep};

use crate::{
    report::machine::Machine,
    report::output::{print, progress, write_json},
    report::usage::Usage,
    topology::Topology,
};

/// Time for the pulls, or the page, to begin.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// Less than the machine can do, so that all windows have the same work.
const RATE: &str = "down=800 Mbit/s";

/// Bytes of each image, in this many layers.
const IMAGE: (u64, u64) = (64 << 20, 4);

#[derive(Args)]
pub(crate) struct Options {
    /// Concurrent pulls, each of an image of its own, again and again
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pulls: u32,
    /// Pages at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pages: u32,
    /// Pairs of windows, one with the pages and one without
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Length of a window
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Write all measurements to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What the client used in one window.
#[derive(Serialize)]
struct Window {
    pages: u32,
    seconds: f64,
    processor_seconds: f64,
    bytes_pulled: u64,
    bytes_shown: u64,
}

#[derive(Serialize)]
struct Results(Vec<Window>);

pub(crate) fn run(options: &Options) -> Result<()> {
    let machine = Machine::this();
    let results = Runtime::new()?.block_on(measure(options))?;
    if let Some(path) = &options.json {
        write_json(path, "page", &machine, &results)?;
    }
    print(&format!("{} pulls at once on loopback, {} pages\n{machine}\n", options.pulls, options.pages))?;
    print(&results)
}

async fn measure(options: &Options) -> Result<Results> {
    let limit = PullLimit { pulls: 1_000_000, window: Duration::from_secs(3600) };
    let limits = PullLimits { anonymous: Some(limit), account: None };
    let hub = Hub::start(HubConfig { pull_limits: limits, ..HubConfig::default() }).await?;
    let image = Image::from_spec(ImageSpec { seed: 1, layers: IMAGE.1, len: IMAGE.0 })?;
    for n in 0..options.pulls {
        hub.store().publish(&format!("bench/app{n}"), "1", &image);
    }
    let api = format!("https://{}", hub.names().registry);
    let resolve = hub.resolve_table().into_iter().collect();
    let upstream = Upstream { api, ca: hub.ca_file().to_owned(), resolve, account: None };
    let registries = [("docker.io".to_owned(), upstream)].into();
    let config = ServerConfig { registries, ..ServerConfig::default() };
    let (server, mut client) = tokio::task::block_in_place(|| start(Topology::LOOPBACK, &config))?;

    let (address, pulled, shown) =
        (client.address(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    for n in 0..options.pulls {
        let pulled = Arc::clone(&pulled);
        tokio::spawn(async move {
            while let Err(error) = pull_for_ever(address, &format!("bench/app{n}"), &pulled).await {
                progress(&format!("a pull failed: {error:#}"));
                sleep(SETTLE_TIME).await;
            }
        });
    }
    while pulled.load(Relaxed) < u64::from(options.pulls) << 20 {
        sleep(SETTLE_TIME).await;
    }
    let mut windows = Vec::new();
    for run in 0..2 * options.runs {
        // The first of a pair is with the pages in every second one.
        let pages = if (run + run / 2) % 2 == 0 { 0 } else { options.pages };
        let watchers: Vec<_> = (0..pages)
            .map(|_| {
                let shown = Arc::clone(&shown);
                tokio::spawn(async move { read(address, "/api/events", &shown).await })
            })
            .collect();
        sleep(SETTLE_TIME).await;
        let pid = client.process().pid();
        let (before, bytes, events) = (Usage::of(pid)?, pulled.load(Relaxed), shown.load(Relaxed));
        sleep(Duration::from_secs(options.seconds)).await;
        let used = Usage::of(pid)? - before;
        let window = Window {
            pages,
            seconds: options.seconds as f64,
            processor_seconds: used.cpu,
            bytes_pulled: pulled.load(Relaxed) - bytes,
            bytes_shown: shown.load(Relaxed) - events,
        };
        for watcher in watchers {
            ensure!(!watcher.is_finished(), "the page's events have ended");
            watcher.abort();
        }
        progress(&format!(
            "window {} of {}: {pages} pages, {:.2} s of the client's processor, {:.0} MB pulled, {:.1} MB shown",
            run + 1,
            2 * options.runs,
            window.processor_seconds,
            window.bytes_pulled as f64 / 1e6,
            window.bytes_shown as f64 / 1e6
        ));
        windows.push(window);
    }
    drop(server);
    Ok(Results(windows))
}

fn start(ip: IpAddr, config: &ServerConfig) -> Result<(Server, Client)> {
    let server = Server::start(None, ip, config)?;
    let mut client = Client::start_with(None, &server.invite("page")?, &["--max-rate", RATE])?;
    client.wait_until_up(PROCESS_TIMEOUT)?;
    Ok((server, client))
}

/// Pulls the image again and again, as an engine does. Ends with an error.
async fn pull_for_ever(client: SocketAddr, repository: &str, bytes: &AtomicU64) -> Result<()> {
    let digest = |entry: &Value| entry["digest"].as_str().map(str::to_owned).context("no digest");
    let manifest = async |reference: &str| -> Result<Value> {
        let body = get(client, &format!("/v2/{repository}/manifests/{reference}")).await?;
        Ok(serde_json::from_slice(&body.collect().await?.to_bytes())?)
    };
    loop {
        let chosen = digest(&manifest("1").await?["manifests"][0])?;
        let manifest = manifest(&chosen).await?;
        for layer in manifest["layers"].as_array().context("no layers")? {
            read(client, &format!("/v2/{repository}/blobs/{}", digest(layer)?), bytes).await?;
        }
    }
}

/// Reads a body to its end, and counts its bytes.
async fn read(client: SocketAddr, path: &str, bytes: &AtomicU64) -> Result<()> {
    let mut body = get(client, path).await?;
    while let Some(frame) = body.frame().await {
        bytes.fetch_add(frame?.data_ref().map_or(0, Bytes::len) as u64, Relaxed);
    }
    Ok(())
}

async fn get(client: SocketAddr, path: &str) -> Result<Incoming> {
    let (mut sender, connection) = handshake(TokioIo::new(TcpStream::connect(client).await?)).await?;
    // It ends with the body.
    tokio::spawn(connection);
    let request = Request::get(path).header(header::HOST, client.to_string()).header(header::ACCEPT, "*/*");
    let request = request.header(header::USER_AGENT, "docker/29.1.0");
    let request = request.header(header::AUTHORIZATION, "Bearer docxy-public");
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    ensure!(response.status().is_success(), "{path}: {}", response.status());
    Ok(response.into_body())
}

/// Both kinds of windows, and by how much the client's processor time rises for the same bytes.
impl Display for Results {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |is_watched: bool, value: fn(&Window) -> f64| -> Vec<f64> {
            self.0.iter().filter(|window| (window.pages > 0) == is_watched).map(value).collect()
        };
        let per_gb = |window: &Window| window.processor_seconds / (window.bytes_pulled as f64 / 1e9);
        let mut table = Table::new(&[
            "",
            "s of the client's processor per GB",
            "processors",
            "MB/s pulled",
            "MB/s shown",
        ]);
        for (is_watched, name) in [(false, "without a page"), (true, "with pages")] {
            table.row([
                name.to_owned(),
                median_and_range(&of(is_watched, per_gb), 2),
                median_and_range(&of(is_watched, |window| window.processor_seconds / window.seconds), 2),
                median_and_range(
                    &of(is_watched, |window| window.bytes_pulled as f64 / 1e6 / window.seconds),
                    0,
                ),
                median_and_range(
                    &of(is_watched, |window| window.bytes_shown as f64 / 1e6 / window.seconds),
                    2,
                ),
            ]);
        }
        let rise = 100.0 * (median(of(true, per_gb)) / median(of(false, per_gb)) - 1.0);
        write!(
            out,
            "{table}\nThe client's processor time for the same bytes rises by {} % (wanted: at most 3 %).",
            number(rise, 1)
        )
    }
}
