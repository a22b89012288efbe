//! A client that keeps layers, its server and a layer, on loopback, with a disk that is empty.

use std::{net::SocketAddr, thread, thread::JoinHandle};

use anyhow::{Result, anyhow};
use docxy_tests::{
    docxy::{Client, Server},
    process::PROCESS_TIMEOUT,
    stand_in::StandIn,
    stored,
};

use super::KEEPING;
use crate::{bulk_source::REPOSITORY, topology::Topology};

pub(super) struct Scene {
    pub(super) client: Client,
    _server: Server,
    pub(super) path: String,
    pub(super) length: u64,
    /// What crossed before the measurement began.
    before: u64,
}

impl Scene {
    pub(super) fn start(source: &StandIn, length: u64) -> Result<Self> {
        let server = Server::start(None, Topology::LOOPBACK, &source.server_config())?;
        let mut client = Client::start_with(None, &server.invite("bench")?, &[KEEPING])?;
        client.wait_until_up(PROCESS_TIMEOUT)?;
        let path = format!("/v2/{REPOSITORY}/blobs/{}", source.digest(REPOSITORY)?);
        Ok(Self { client, _server: server, path, length, before: 0 })
    }

    /// What has crossed since the measurement began, as a share of the layer.
    pub(super) fn share(&self) -> Result<f64> {
        let crossed = self.client.count("transfers/bytes_crossed")? - self.before;
        Ok(crossed as f64 / self.length as f64)
    }

    /// Reads this range of the layer, or the whole, up to so many bytes.
    fn read(&self, start: Option<u64>, bytes: u64) -> JoinHandle<Result<()>> {
        let (address, path): (SocketAddr, _) = (self.client.address(), self.path.clone());
        thread::spawn(move || stored::read(address, &path, start, bytes))
    }

    pub(super) fn read_whole(&self) -> Result<()> {
        end(self.read(None, self.length))
    }

    /// Starts the client again.
    pub(super) fn start_again(&mut self) -> Result<()> {
        self.client.start_again_with(&[KEEPING])?;
        self.client.wait_until_up(PROCESS_TIMEOUT)
    }

    /// Kills the client when 60 % are stored, and pulls again.
    pub(super) fn killed(&mut self) -> Result<()> {
        let arrives = self.length * 6 / 10;
        end(self.read(None, arrives))?;
        // The line of a user is slower than a disk.
        let is_stored = |health: &serde_json::Value| {
            health["cache"]["bytes"].as_u64().is_some_and(|bytes| bytes + (1 << 20) >= arrives)
        };
        self.client.wait_for_health("store 60 %", PROCESS_TIMEOUT, is_stored)?;
        self.client.process().kill()?;
        self.start_again()?;
        self.read_whole()
    }

    pub(super) fn second_engine(&mut self) -> Result<()> {
        self.read_whole()?;
        self.before = self.client.count("transfers/bytes_crossed")?;
        self.read_whole()
    }

    pub(super) fn eight_engines(&mut self) -> Result<()> {
        let readings: Vec<_> = (0..8).map(|_| self.read(None, self.length)).collect();
        readings.into_iter().try_for_each(end)
    }

    pub(super) fn eight_ranges(&mut self) -> Result<()> {
        let part = self.length / 8;
        let readings: Vec<_> = (0..8).map(|n| self.read(Some(n * part), part)).collect();
        readings.into_iter().try_for_each(end)
    }
}

fn end(reading: JoinHandle<Result<()>>) -> Result<()> {
    reading.join().map_err(|_| anyhow!("a reader panicked"))?
}
