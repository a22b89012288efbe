//! The two ends of a transfer as processes of their own, so that their costs are measured separately. A sender
//! prints its address and serves until it is ended; a reader prints a [`ReaderReport`] and ends.
//! Must never know which bench it runs for.
//!
//! The protocol of raw subjects is minimal: a request is a number of bytes (eight bytes, big-endian), and the
//! response is that many bytes.

mod connect;
mod http;
mod identity;
mod meter;
mod quic;
mod tcp;

use std::{
    io::{Write as _, stdout},
    net::SocketAddr,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Subcommand;
use docxy_protocol::identity::Pin;

use crate::report::reader_report::ReaderReport;

pub(crate) use meter::TransferPlan;
pub(crate) use quic::Tuning;

/// What a sender prints before its address and its pin.
pub(crate) const LISTENING_PREFIX: &str = "listening on ";

/// What a reader prints when its clock starts.
pub(crate) const STARTED_LINE: &str = "started";

/// Bytes per write: large enough that the number of calls does not matter.
const CHUNK_BYTES: usize = 256 * 1024;

/// One end of a transfer.
#[derive(Subcommand)]
pub(crate) enum Peer {
    /// Reads a blob as an engine does
    ReadHttp(http::Options),
    /// Sends over QUIC
    SendQuic(quic::SendOptions),
    /// Reads over QUIC
    ReadQuic(quic::ReadOptions),
    /// Sends over TCP
    SendTcp(tcp::SendOptions),
    /// Reads over TCP
    ReadTcp(tcp::ReadOptions),
}

/// Runs a peer to its end.
pub(crate) fn run(peer: Peer) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        match peer {
            Peer::ReadHttp(options) => print_report(&http::read(options).await?),
            Peer::SendQuic(options) => quic::send(options).await,
            Peer::ReadQuic(options) => print_report(&quic::read(options).await?),
            Peer::SendTcp(options) => tcp::send(options).await,
            Peer::ReadTcp(options) => print_report(&tcp::read(options).await?),
        }
    })
}

/// What a sender prints when it listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announcement {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// Its pin.
    pub(crate) pin: Pin,
}

impl Announcement {
    /// Parses a line of its output.
    pub(crate) fn parse(line: &str) -> Result<Self> {
        let fields = line.strip_prefix(LISTENING_PREFIX).and_then(|fields| fields.split_once(' '));
        let (address, pin) = fields.with_context(|| format!("no announcement: {line:?}"))?;
        Ok(Self { address: address.parse()?, pin: pin.parse()? })
    }

    fn print(&self) -> Result<()> {
        Ok(writeln!(stdout(), "{LISTENING_PREFIX}{} {}", self.address, self.pin)?)
    }
}

fn print_report(report: &ReaderReport) -> Result<()> {
    Ok(writeln!(stdout(), "{}", serde_json::to_string(report)?)?)
}

/// The repeated content that raw senders send.
fn content() -> Bytes {
    vec![0x5a; CHUNK_BYTES].into()
}
