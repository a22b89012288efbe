//! Bulk over plain QUIC: with our settings on many short streams, or with quinn's defaults on one long stream.
//! Must never differ from the product in a way that makes it faster or slower.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use docxy_protocol::{
    bulk_window::BulkWindow, congestion::Handle, identity::Pin, limits::SEGMENT_BYTES, version::WIRE_VERSION,
};
use docxy_transport::quic::{settings, tls};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, RecvStream, SendStream, ServerConfig, TransportConfig,
};
use socket2::SockRef;

use super::{
    Announcement, TransferPlan, content,
    identity::{Identity, NAME},
    meter::Meter,
};
use crate::report::reader_report::ReaderReport;

/// Requested socket buffer in each direction, as in the product.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Bytes per read, as in the product.
const CHUNK_BYTES: usize = 64 * 1024;

/// The settings of QUIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tuning {
    /// The product's transport settings, with a stream for each segment
    Ours,
    /// quinn's defaults, with one stream
    Stock,
}

/// A QUIC sender.
#[derive(Args)]
pub(crate) struct SendOptions {
    /// Where to listen, at a port that the kernel picks
    #[arg(long)]
    ip: IpAddr,
    #[arg(long)]
    tuning: Tuning,
}

/// A QUIC reader.
#[derive(Args)]
pub(crate) struct ReadOptions {
    #[arg(long)]
    from: SocketAddr,
    /// The sender's pin
    #[arg(long)]
    pin: Pin,
    #[arg(long)]
    tuning: Tuning,
    #[command(flatten)]
    plan: TransferPlan,
}

pub(super) async fn send(options: SendOptions) -> Result<()> {
    let Identity { certificate, key, pin } = Identity::new()?;
    let mut config =
        ServerConfig::with_crypto(Arc::new(tls::server_config(certificate, key, [WIRE_VERSION])?));
    let transport = match options.tuning {
        Tuning::Ours => settings::server_config(&Handle::default()),
        Tuning::Stock => TransportConfig::default(),
    };
    config.transport_config(Arc::new(transport));
    let endpoint = endpoint(options.ip, options.tuning, Some(config))?;
    Announcement { address: endpoint.local_addr()?, pin }.print()?;
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move { serve(incoming.await?).await });
    }
    Ok(())
}

pub(super) async fn read(options: ReadOptions) -> Result<ReaderReport> {
    let mut config = ClientConfig::new(Arc::new(tls::client_config(options.pin, WIRE_VERSION, false)?));
    let transport = match options.tuning {
        Tuning::Ours => settings::client_config(&Handle::default()),
        Tuning::Stock => TransportConfig::default(),
    };
    config.transport_config(Arc::new(transport));
    let endpoint = endpoint(Ipv4Addr::UNSPECIFIED.into(), options.tuning, None)?;
    let connection =
        endpoint.connect_with(config, options.from, NAME)?.await.context("no QUIC connection")?;
    let meter = Meter::start(options.plan)?;
    let (bulk, counting) = (connection.clone(), Arc::clone(&meter));
    let reading = async move {
        match options.tuning {
            Tuning::Ours => read_segments(&bulk, &counting).await,
            Tuning::Stock => {
                let mut stream = request(&bulk, u64::MAX).await?;
                while read_some(&mut stream, &counting).await? == Some(true) {}
                Ok(())
            }
        }
    };
    let small = async || {
        request(&connection, 1).await?.read_to_end(1).await?;
        Ok(())
    };
    meter.measure(reading, small).await
}

/// Reads many concurrent streams in order; their number follows the path's capacity, as in the product.
async fn read_segments(connection: &Connection, meter: &Meter) -> Result<()> {
    let mut window = BulkWindow::default();
    let mut open = VecDeque::new();
    loop {
        window.observe(Instant::now(), connection.stats().udp_rx.bytes, connection.rtt());
        while open.len() < window.segments() {
            open.push_back(request(connection, SEGMENT_BYTES.into()).await?);
        }
        let mut stream = open.pop_front().context("a window of no segments")?;
        while let Some(more) = read_some(&mut stream, meter).await? {
            if !more {
                return Ok(());
            }
        }
    }
}

/// Reads the next bytes. Returns whether to read on; `None` at the end of the stream.
async fn read_some(stream: &mut RecvStream, meter: &Meter) -> Result<Option<bool>> {
    match stream.read_chunk(CHUNK_BYTES, true).await? {
        Some(chunk) => Ok(Some(meter.record(chunk.bytes.len()).await)),
        None => Ok(None),
    }
}

async fn serve(connection: Connection) -> Result<()> {
    let content = content();
    for rank in 1.. {
        let (send, receive) = connection.accept_bi().await?;
        tokio::spawn(respond(send, receive, rank, content.clone()));
    }
    Ok(())
}

/// Earlier streams have priority, and small responses before all of them.
async fn respond(mut send: SendStream, mut receive: RecvStream, rank: i32, content: Bytes) -> Result<()> {
    let mut request = [0; 8];
    receive.read_exact(&mut request).await?;
    let mut left = u64::from_be_bytes(request);
    if left > 1024 {
        send.set_priority(-rank)?;
    }
    while left > 0 {
        let part = content.slice(..CHUNK_BYTES.min(usize::try_from(left).unwrap_or(usize::MAX)));
        left -= part.len() as u64;
        send.write_chunk(part).await?;
    }
    send.finish()?;
    Ok(())
}

async fn request(connection: &Connection, bytes: u64) -> Result<RecvStream> {
    let (mut send, receive) = connection.open_bi().await?;
    send.write_all(&bytes.to_be_bytes()).await?;
    send.finish()?;
    Ok(receive)
}

fn endpoint(ip: IpAddr, tuning: Tuning, server: Option<ServerConfig>) -> Result<Endpoint> {
    let socket = UdpSocket::bind(SocketAddr::new(ip, 0))?;
    if tuning == Tuning::Ours {
        SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
        SockRef::from(&socket).set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    }
    let runtime = Arc::new(quinn::TokioRuntime);
    Ok(Endpoint::new(EndpointConfig::default(), server, socket, runtime)?)
}
