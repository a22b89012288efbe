//! The two ends of a transfer as processes of their own, so that each one's cost can be told from the other's.
//! A sender says where it listens and serves until it is ended; a reader prints a [`Reading`] and ends.
//! Must never know which bench it runs for.
//!
//! Raw contenders speak the least protocol that there is: a request is a number of bytes (eight bytes, big-endian), and
//! the answer is as many.

mod http;
mod identity;
mod meter;
mod quic;
mod tcp;
mod wire;

use std::{
    io::{Write as _, stdout},
    net::SocketAddr,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Subcommand;
use docxy_protocol::identity::Pin;

use crate::reading::Reading;

pub(crate) use meter::Appetite;
pub(crate) use quic::Tuning;

/// What a sender prints before its address and its pin.
pub(crate) const LISTENING: &str = "listening on ";

/// What a reader prints when its clock starts.
pub(crate) const BEGUN: &str = "begun";

/// Bytes written at once: large enough that the calls don't count.
const CHUNK: usize = 256 * 1024;

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

/// Runs it to its end.
pub(crate) fn run(peer: Peer) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        match peer {
            Peer::ReadHttp(options) => report(&http::read(options).await?),
            Peer::SendQuic(options) => quic::send(options).await,
            Peer::ReadQuic(options) => report(&quic::read(options).await?),
            Peer::SendTcp(options) => tcp::send(options).await,
            Peer::ReadTcp(options) => report(&tcp::read(options).await?),
        }
    })
}

/// What a sender tells when it listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announcement {
    /// Where.
    pub(crate) address: SocketAddr,
    /// Who it is.
    pub(crate) pin: Pin,
}

impl Announcement {
    /// Out of a line of its output.
    pub(crate) fn read(line: &str) -> Result<Self> {
        let told = line.strip_prefix(LISTENING).and_then(|told| told.split_once(' '));
        let (address, pin) = told.with_context(|| format!("no announcement: {line:?}"))?;
        Ok(Self { address: address.parse()?, pin: pin.parse()? })
    }

    fn print(&self) -> Result<()> {
        Ok(writeln!(stdout(), "{LISTENING}{} {}", self.address, self.pin)?)
    }
}

fn report(reading: &Reading) -> Result<()> {
    Ok(writeln!(stdout(), "{}", serde_json::to_string(reading)?)?)
}

/// What raw senders send, without end.
fn content() -> Bytes {
    vec![0x5a; CHUNK].into()
}
