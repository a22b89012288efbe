//! Reads a blob from a registry as an engine does: ping, token, blob, redirects.
//! Must never store or verify the bytes: engines do, equally for every subject.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::Args;
use docxy_protocol::tls::provider;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use url::Url;

use super::{TransferPlan, connect::connect, meter::Meter};
use crate::report::reader_report::ReaderReport;

/// A reader of a blob.
#[derive(Args)]
pub(crate) struct Options {
    /// Scheme, host and port of the registry
    #[arg(long)]
    registry: Url,
    /// The blob's repository
    #[arg(long)]
    repository: String,
    /// The blob's digest
    #[arg(long)]
    digest: String,
    /// The address of a host name, instead of DNS
    #[arg(long, value_name = "HOST=ADDRESS", value_parser = parse_resolve)]
    resolve: Vec<(String, SocketAddr)>,
    /// The CA certificate to trust
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Where to go instead of the host in a redirect
    #[arg(long)]
    redirect_to: Option<Url>,
    #[command(flatten)]
    plan: TransferPlan,
}

pub(super) async fn read(options: Options) -> Result<ReaderReport> {
    let network = Network::new(options.resolve, options.ca.as_deref())?;
    let base = options.registry.join(&format!("/v2/{}/", options.repository))?;
    let token = network.token(&options.registry, &options.repository).await?;
    let mut probe_connection = network.open(&base).await?;
    // An engine has fetched a manifest before, so the path has been used, but not for bulk.
    probe(&mut probe_connection, &base, token.as_ref(), 0).await?;
    let meter = Meter::start(options.plan)?;

    let blob = base.join(&format!("blobs/{}", options.digest))?;
    let mut body = network.blob(blob, token.as_ref(), options.redirect_to.as_ref()).await?.into_body();
    let counting = Arc::clone(&meter);
    let reading = async move {
        while let Some(frame) = body.frame().await {
            let bytes = frame?.into_data().map_or(0, |data| data.len());
            if !counting.record(bytes).await {
                break;
            }
        }
        Ok(())
    };
    let mut number = 0;
    let small = async || {
        number += 1;
        probe(&mut probe_connection, &base, token.as_ref(), number).await
    };
    meter.measure(reading, small).await
}

/// A small request. Each number gives another URL, so that no cache can response.
async fn probe(
    probe_connection: &mut SendRequest<Empty<Bytes>>,
    base: &Url,
    token: Option<&HeaderValue>,
    number: u32,
) -> Result<()> {
    let page = base.join(&format!("tags/list?n=1&last=none-{number}"))?;
    let response = get(probe_connection, &page, token).await?;
    ensure!(response.status() == StatusCode::OK, "{page}: {}", response.status());
    response.into_body().collect().await?;
    Ok(())
}

/// How hosts are resolved and trusted.
struct Network {
    addresses: BTreeMap<String, SocketAddr>,
    tls: Arc<ClientConfig>,
}

impl Network {
    fn new(resolve: Vec<(String, SocketAddr)>, ca: Option<&Path>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = ca {
            roots.add(CertificateDer::from_pem_file(path)?)?;
        }
        let tls = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { addresses: resolve.into_iter().collect(), tls: Arc::new(tls) })
    }

    /// A token for pulls from the repository; `None` if the registry needs none.
    async fn token(&self, registry: &Url, repository: &str) -> Result<Option<HeaderValue>> {
        let response = self.ping(registry).await?;
        if response.status() == StatusCode::OK {
            return Ok(None);
        }
        ensure!(response.status() == StatusCode::UNAUTHORIZED, "/v2/ responds with {}", response.status());
        let challenge = response.headers().get(header::WWW_AUTHENTICATE).context("no challenge")?.to_str()?;
        let value = |name: &str| {
            let (_, value) = challenge.split_once(&format!("{name}=\""))?;
            value.split('"').next()
        };
        let mut url = Url::parse(value("realm").context("no realm")?)?;
        let scope = format!("repository:{repository}:pull");
        url.query_pairs_mut()
            .append_pair("service", value("service").unwrap_or_default())
            .append_pair("scope", &scope);
        let response = self.get(&url, None).await?.into_body().collect().await?.to_bytes();
        let response: serde_json::Value = serde_json::from_slice(&response)?;
        let token = response["token"].as_str().context("no token")?;
        Ok(Some(HeaderValue::try_from(format!("Bearer {token}"))?))
    }

    /// The response of `/v2/`. Retries 503, as a tunnel may still be connecting.
    async fn ping(&self, registry: &Url) -> Result<Response<Incoming>> {
        const PING_TIMEOUT: Duration = Duration::from_secs(15);
        const RETRY_INTERVAL: Duration = Duration::from_millis(50);
        let url = registry.join("/v2/")?;
        let started = Instant::now();
        loop {
            let response = self.get(&url, None).await?;
            if response.status() != StatusCode::SERVICE_UNAVAILABLE || started.elapsed() > PING_TIMEOUT {
                return Ok(response);
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// The response with the blob's bytes, after redirects.
    async fn blob(
        &self,
        mut url: Url,
        token: Option<&HeaderValue>,
        redirect_to: Option<&Url>,
    ) -> Result<Response<Incoming>> {
        const REDIRECTS_MAX: usize = 5;
        let mut token = token;
        for _ in 0..REDIRECTS_MAX {
            let response = self.get(&url, token).await?;
            if response.status() == StatusCode::OK {
                return Ok(response);
            }
            ensure!(response.status().is_redirection(), "the blob: {}", response.status());
            let location =
                response.headers().get(header::LOCATION).context("a redirect without a Location")?;
            let target = url.join(location.to_str()?)?;
            url = match redirect_to {
                // A URL with the scheme, host and port of the base, and the path and query of the target.
                Some(base) => base.join(&target[url::Position::BeforePath..])?,
                None => target,
            };
            // The token is for the registry alone.
            token = None;
        }
        bail!("more than {REDIRECTS_MAX} redirects to the blob")
    }

    async fn get(&self, url: &Url, token: Option<&HeaderValue>) -> Result<Response<Incoming>> {
        get(&mut self.open(url).await?, url, token).await
    }

    /// Opens a connection to the URL's host.
    async fn open(&self, url: &Url) -> Result<SendRequest<Empty<Bytes>>> {
        let host = url.host_str().with_context(|| format!("no host in {url}"))?;
        let address = match self.addresses.get(host) {
            Some(address) => *address,
            None => *url.socket_addrs(|| None)?.first().with_context(|| format!("no address of {host}"))?,
        };
        let tls = (url.scheme() == "https").then(|| (Arc::clone(&self.tls), host));
        let wire = connect(address, tls).await?;
        let (sender, connection) = handshake(TokioIo::new(wire)).await?;
        // An error of the connection is reported by the requests on it.
        tokio::spawn(connection);
        Ok(sender)
    }
}

async fn get(
    connection: &mut SendRequest<Empty<Bytes>>,
    url: &Url,
    token: Option<&HeaderValue>,
) -> Result<Response<Incoming>> {
    let mut request = Request::get(&url[url::Position::BeforePath..url::Position::AfterQuery]);
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    request = request.header(header::HOST, host);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, token);
    }
    // The previous response may have ended just now.
    connection.ready().await?;
    Ok(connection.send_request(request.body(Empty::new())?).await?)
}

fn parse_resolve(text: &str) -> Result<(String, SocketAddr)> {
    let (host, address) = text.split_once('=').context("HOST=ADDRESS")?;
    Ok((host.to_owned(), address.parse()?))
}
