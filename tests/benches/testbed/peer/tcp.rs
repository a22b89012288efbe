//! Bulk over TCP, with TLS or without, with a given congestion control.
//! Must never set a socket buffer: TCP is at its best with the kernel's own tuning.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context, Result};
use clap::Args;
use docxy_protocol::{
    identity::{Pin, PinnedServer},
    tls::provider,
};
use rustls::{ClientConfig, ServerConfig};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::{
    Announcement, CHUNK_BYTES, TransferPlan,
    connect::{AsyncStream, connect},
    content,
    identity::{Identity, NAME},
    meter::Meter,
};
use crate::report::reader_report::ReaderReport;

/// A TCP sender.
#[derive(Args)]
pub(crate) struct SendOptions {
    /// Where to listen, at a port that the kernel picks
    #[arg(long)]
    ip: IpAddr,
    /// A congestion control of the kernel
    #[arg(long)]
    congestion: Option<String>,
    /// Use TLS
    #[arg(long)]
    tls: bool,
}

/// A TCP reader.
#[derive(Args)]
pub(crate) struct ReadOptions {
    #[arg(long)]
    from: SocketAddr,
    /// Use TLS, with a sender that has this pin
    #[arg(long)]
    tls: Option<Pin>,
    #[command(flatten)]
    plan: TransferPlan,
}

pub(super) async fn send(options: SendOptions) -> Result<()> {
    let identity = Identity::new()?;
    let pin = identity.pin;
    let tls = if options.tls { Some(acceptor(identity)?) } else { None };
    let listener = listen(options.ip, options.congestion.as_deref())?;
    Announcement { address: listener.local_addr()?, pin }.print()?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream, tls.clone()));
    }
}

pub(super) async fn read(options: ReadOptions) -> Result<ReaderReport> {
    let tls = options.tls.map(pinned).transpose()?;
    let tls = || tls.clone().map(|config| (config, NAME));
    let mut bulk = connect(options.from, tls()).await?;
    let mut small = connect(options.from, tls()).await?;
    let meter = Meter::start(options.plan)?;
    let counting = Arc::clone(&meter);
    let reading = async move {
        bulk.write_u64(u64::MAX).await?;
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let read = bulk.read(&mut buffer).await?;
            anyhow::ensure!(read > 0, "the sender closed the connection");
            if !counting.record(read).await {
                return Ok(());
            }
        }
    };
    let probe = async || {
        small.write_u64(1).await?;
        small.read_u8().await?;
        Ok(())
    };
    meter.measure(reading, probe).await
}

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut wire: Box<dyn AsyncStream> = match tls {
        Some(tls) => Box::new(tls.accept(stream).await?),
        None => Box::new(stream),
    };
    let content = content();
    // Ends with an error when the reader disconnects.
    loop {
        let mut left = wire.read_u64().await?;
        while left > 0 {
            let part = content.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            wire.write_all(&content[..part]).await?;
            left -= part as u64;
        }
        wire.flush().await?;
    }
}

/// Accepted connections inherit the listener's congestion control.
fn listen(ip: IpAddr, congestion: Option<&str>) -> Result<TcpListener> {
    let address = SocketAddr::new(ip, 0);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(name) = congestion {
        let refused =
            || format!("TCP {name}: the kernel has no such congestion control, or allows it for root only");
        socket.set_tcp_congestion(name.as_bytes()).with_context(refused)?;
    }
    socket.bind(&address.into())?;
    socket.listen(16)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into())?)
}

fn acceptor(identity: Identity) -> Result<TlsAcceptor> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate], identity.key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn pinned(pin: Pin) -> Result<Arc<ClientConfig>> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedServer::new(pin, provider())))
        .with_no_client_auth();
    Ok(Arc::new(config))
}
