//! Pulls as an engine does, without one: HTTP/1.1 from inside a namespace, and the time at which each byte arrived.
//! Must never retry: what an engine would see as an error is one here.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{net::Namespace, wan::run_in_namespace};

/// A response may take as long as the client waits for its tunnel.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(120);

/// Arrivals closer than this are one.
const ARRIVAL_INTERVAL: Duration = Duration::from_millis(5);

/// The media types of images.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                      application/vnd.docker.distribution.manifest.list.v2+json, \
                      application/vnd.docker.distribution.manifest.v2+json";

/// A registry client in a namespace.
#[derive(Clone, Debug)]
pub struct PlainEngine {
    namespace: Namespace,
    client: SocketAddr,
}

/// A body that is being read. Dropping it closes the connection, as an engine that cancels does.
pub struct Body {
    connection: TcpStream,
    arrivals: Arc<Mutex<Arrivals>>,
    reader: Option<JoinHandle<Result<String>>>,
}

/// When the bytes of a body arrived.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    /// Times, with all bytes until then.
    points: Vec<(Instant, u64)>,
}

/// The head of a response, and the connection behind it.
struct Response {
    status: u16,
    length: Option<u64>,
    reader: BufReader<TcpStream>,
}

impl PlainEngine {
    /// An engine that has this client as its mirror.
    pub fn new(namespace: &Namespace, client: SocketAddr) -> Self {
        Self { namespace: namespace.clone(), client }
    }

    /// Asks for the challenge and a token, as engines do before anything else. Returns the token.
    pub fn log_in(&self, repository: &str) -> Result<String> {
        let ping = self.get("/v2/", None)?;
        ensure!(ping.status == 401, "/v2/: {}", ping.text()?);
        let path = format!("/auth/token?service=registry.docker.io&scope=repository:{repository}:pull");
        let token: Value = serde_json::from_str(&self.get(&path, None)?.text()?)?;
        Ok(token["token"].as_str().context("no token")?.to_owned())
    }

    /// When the first byte of the manifest that has the tag `latest` arrived.
    pub fn manifest(&self, repository: &str, token: &str) -> Result<Instant> {
        let mut response = self.get(&format!("/v2/{repository}/manifests/latest"), Some(token))?;
        if response.status != 200 {
            bail!("the manifest: {}", response.text()?);
        }
        response.reader.read_exact(&mut [0])?;
        Ok(Instant::now())
    }

    /// The status of a response, and its small body.
    pub fn ask(&self, path: &str) -> Result<(u16, String)> {
        let response = self.get(path, None)?;
        Ok((response.status, response.text()?))
    }

    /// Begins to read a blob.
    pub fn blob(&self, repository: &str, digest: &str, token: &str) -> Result<Body> {
        let response = self.get(&format!("/v2/{repository}/blobs/{digest}"), Some(token))?;
        if response.status != 200 {
            bail!("the blob: {}", response.text()?);
        }
        let length = response.length.context("a blob without a length")?;
        let connection = response.reader.get_ref().try_clone()?;
        let arrivals = Arc::new(Mutex::new(Arrivals::default()));
        let recorded = Arc::clone(&arrivals);
        let reader = thread::spawn(move || read(response.reader, length, &recorded));
        Ok(Body { connection, arrivals, reader: Some(reader) })
    }

    fn get(&self, path: &str, token: Option<&str>) -> Result<Response> {
        let connect = || TcpStream::connect(self.client);
        let connection = run_in_namespace(self.namespace.name(), connect)??;
        connection.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
        let authorization =
            token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let host = self.client;
        write!(
            &connection,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {ACCEPT}\r\n{authorization}Connection: close\r\n\r\n"
        )?;
        Response::read(BufReader::new(connection)).with_context(|| path.to_owned())
    }
}

impl Response {
    fn read(mut reader: BufReader<TcpStream>) -> Result<Self> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("no status: {line:?}"))?;
        let mut length = None;
        loop {
            line.clear();
            ensure!(reader.read_line(&mut line)? > 0, "no end of the head");
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = Some(value.trim().parse()?);
                }
                Some(_) => {}
                None => return Ok(Self { status, length, reader }),
            }
        }
    }

    /// The rest of a small response.
    fn text(mut self) -> Result<String> {
        let mut text = String::new();
        self.reader.read_to_string(&mut text)?;
        Ok(text)
    }
}

impl Body {
    /// Bytes that have arrived so far.
    pub fn bytes(&self) -> u64 {
        self.arrivals().bytes()
    }

    /// The arrivals so far.
    pub fn arrivals(&self) -> Arrivals {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads to the end. Returns the digest and the arrivals; a body that ends early is an error.
    pub fn finish(mut self) -> Result<(String, Arrivals)> {
        let reader = self.reader.take().context("it has ended")?;
        let digest = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        Ok((digest, self.arrivals()))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // It ends the reading thread, too.
        let _ = self.connection.shutdown(Shutdown::Both);
    }
}

impl Arrivals {
    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.points.last().map_or(0, |(_, bytes)| *bytes)
    }

    /// When the last byte arrived.
    pub fn last(&self) -> Option<Instant> {
        self.points.last().map(|(time, _)| *time)
    }

    /// Bytes that had arrived by then.
    pub fn bytes_at(&self, time: Instant) -> u64 {
        let before = self.points.partition_point(|(arrived, _)| *arrived <= time);
        before.checked_sub(1).map_or(0, |at| self.points[at].1)
    }

    /// The longest time without a byte that ended after `from`.
    pub fn longest_silence(&self, from: Instant) -> Duration {
        let silences = self.points.windows(2).filter(|pair| pair[1].0 > from);
        silences.map(|pair| pair[1].0 - pair[0].0).max().unwrap_or_default()
    }

    fn record(&mut self, bytes: u64) {
        let now = Instant::now();
        let total = self.bytes() + bytes;
        match self.points.last_mut() {
            Some((time, last)) if now - *time < ARRIVAL_INTERVAL => *last = total,
            _ => self.points.push((now, total)),
        }
    }
}

fn read(mut reader: BufReader<TcpStream>, length: u64, arrivals: &Mutex<Arrivals>) -> Result<String> {
    let mut hash = Sha256::new();
    let (mut buffer, mut left) = (vec![0; 64 * 1024], length);
    while left > 0 {
        let read = reader.read(&mut buffer)?;
        ensure!(read > 0, "the body ended {left} bytes early");
        hash.update(&buffer[..read]);
        left = left.saturating_sub(read as u64);
        arrivals.lock().unwrap_or_else(PoisonError::into_inner).record(read as u64);
    }
    Ok(format!("sha256:{}", hex(&hash.finalize())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
