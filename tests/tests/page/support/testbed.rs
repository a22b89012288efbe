//! Client, server and stand-in on this machine's loopback, and an engine that pulls as docker does.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use docxy_tests::{
    docxy::{Client, Launch, Server, ServerConfig, Upstream},
    process::PROCESS_TIMEOUT,
};
use futures_util::future::try_join_all;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty};
use hub_stand_in::{Hub, HubConfig, Image, ImageSpec, PullLimit, PullLimits};
use hyper_util::{client::legacy::Client as HttpClient, rt::TokioExecutor};
use serde_json::Value;
use tokio::task::block_in_place;

/// Drop order: each requester before its responder.
pub(crate) struct Testbed {
    pub(crate) client: Client,
    pub(crate) server: Server,
    pub(crate) hub: Hub,
    admin: SocketAddr,
    config: ServerConfig,
}

impl Testbed {
    pub(crate) async fn new() -> Result<Self> {
        Self::with(&[]).await
    }

    /// The same, whose client has these arguments.
    pub(crate) async fn with(arguments: &[&str]) -> Result<Self> {
        // More than two hundred pulls.
        let limit = PullLimit { pulls: 1000, window: Duration::from_secs(3600) };
        let limits = PullLimits { anonymous: Some(limit), account: None };
        let hub = Hub::start(HubConfig { pull_limits: limits, ..HubConfig::default() }).await?;
        let api = format!("https://{}", hub.names().registry);
        let resolve = hub.resolve_table().into_iter().collect();
        let upstream = Upstream { api, ca: hub.ca_file().to_owned(), resolve, account: None };
        let mut config = ServerConfig::default();
        config.registries.insert("docker.io".to_owned(), upstream);
        block_in_place(|| {
            let admin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
            let launch = Launch::with(&["--admin", &admin.to_string()]);
            let server = Server::start_as(&launch, None, IpAddr::V4(Ipv4Addr::LOCALHOST), &config)?;
            let link = server.invite("laptop")?;
            let mut client = Client::start_with(None, &link, arguments)?;
            client.wait_until_up(PROCESS_TIMEOUT)?;
            Ok(Self { client, server, hub, admin, config })
        })
    }

    /// Joins a second server, which the client dials.
    pub(crate) fn join_second(&self) -> Result<Server> {
        let server = Server::start(None, IpAddr::V4(Ipv4Addr::LOCALHOST), &self.config)?;
        let links = self.client.link_file();
        let joined = format!("{}\n{}\n", fs::read_to_string(&links)?.trim(), server.invite("laptop")?);
        fs::write(links, joined)?;
        Ok(server)
    }

    /// The operator's page.
    pub(crate) fn admin_url(&self) -> String {
        format!("http://{}/", self.admin)
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/", self.client.url())
    }

    /// Publishes an image with this many layers, and so many bytes in all, as `REPOSITORY:1`.
    pub(crate) fn publish(&self, repository: &str, seed: u64, layers: u64, len: u64) -> Result<Image> {
        let image = Image::from_spec(ImageSpec { seed, layers, len })?;
        self.hub.store().publish(repository, "1", &image);
        Ok(image)
    }

    /// Pulls `REPOSITORY:1` in the background.
    pub(crate) fn pull(&self, repository: &str) -> tokio::task::JoinHandle<Result<()>> {
        tokio::spawn(pull(self.client.address(), repository.to_owned()))
    }
}

async fn pull(client: SocketAddr, repository: String) -> Result<()> {
    let http = HttpClient::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let get = async |path: String| {
        let request = Request::get(format!("http://{client}/v2/{repository}/{path}"));
        let request = request.header(header::ACCEPT, "*/*").header(header::USER_AGENT, "docker/29.1.0");
        // What the token endpoint gives an engine without an account.
        let request = request.header(header::AUTHORIZATION, "Bearer docxy-public");
        let response = http.request(request.body(Empty::new())?).await?;
        ensure!(response.status().is_success(), "{path}: {}", response.status());
        Ok::<_, anyhow::Error>(response.into_body().collect().await?.to_bytes())
    };
    let digest = |entry: &Value| entry["digest"].as_str().map(str::to_owned).context("no digest");
    let index: Value = serde_json::from_slice(&get("manifests/1".to_owned()).await?)?;
    let chosen = digest(&index["manifests"][0])?;
    let manifest: Value = serde_json::from_slice(&get(format!("manifests/{chosen}")).await?)?;
    let mut blobs = vec![digest(&manifest["config"])?];
    for layer in manifest["layers"].as_array().context("no layers")? {
        blobs.push(digest(layer)?);
    }
    try_join_all(blobs.into_iter().map(|blob| get(format!("blobs/{blob}")))).await.map(drop)
}
