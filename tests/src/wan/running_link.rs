//! A link that is up: a thread moves its packets, and its handle watches and changes it.
//! Must never outlive its handle.

use std::{
    net::Ipv4Addr,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::wan::{
    error::Error,
    link::{
        conditions::{Direction, Link},
        counters::Counters,
    },
    packets::{
        device::Device,
        emulation::{DelayLine, Emulation},
        io_loop::{IoLoop, Shared},
        namespace::End,
    },
    report::{DirectionReport, Report},
};

/// A link that is up, with methods to watch and change it. Dropping it takes the link down; the namespaces stay.
pub struct Wan {
    shared: Arc<Shared>,
    devices: Arc<[Device; 2]>,
    seed: u64,
    io_loop: Option<JoinHandle<()>>,
}

impl Wan {
    /// Connects two existing namespaces. The same seed gives the same random numbers.
    pub fn join(left: &End, right: &End, link: Link, seed: u64) -> Result<Self, Error> {
        let devices = Arc::new([Device::open(left)?, Device::open(right)?]);
        let shared = Arc::new(Shared::new(Emulation::new(link, seed)).map_err(Error::Start)?);
        let io_loop = IoLoop::new(Arc::clone(&shared), Arc::clone(&devices));
        let (ready, is_ready) = mpsc::channel();
        let io_loop = thread::Builder::new()
            .name("wan".to_owned())
            .spawn(move || io_loop.run(&ready))
            .map_err(Error::Start)?;
        // An error means that the I/O loop panicked, which it has printed.
        let _ = is_ready.recv();
        Ok(Self { shared, devices, seed, io_loop: Some(io_loop) })
    }

    /// The link's conditions now.
    pub fn link(&self) -> Link {
        self.shared.emulation().link()
    }

    /// Changes the link's conditions from now on; queued packets leave at the new rate.
    pub fn change(&self, edit: impl FnOnce(&mut Link)) {
        self.control(|emulation, now| {
            let mut link = emulation.link();
            edit(&mut link);
            emulation.change(now, link);
        });
    }

    /// Drops all packets for this long, from now on; zero ends an outage.
    pub fn outage(&self, duration: Duration) {
        self.control(|emulation, now| emulation.outage_until(now + duration));
    }

    /// Drops, from now on, all flows that have used the link, UDP and TCP: only a new source port gets through.
    pub fn block_flows(&self) {
        self.control(|emulation, _| emulation.block_flows());
    }

    /// Drops, from now on, UDP and TCP from or to this port.
    pub fn block_port(&self, port: u16) {
        self.control(|emulation, _| emulation.block_port(port));
    }

    /// Gives the left end another address, as a laptop gets one that moves from Wi-Fi to cellular. Packets in
    /// flight to the old address are lost.
    pub fn set_left_address(&self, address: Ipv4Addr) -> Result<(), Error> {
        let [left, _] = &*self.devices;
        left.set_address(address)
    }

    /// Undoes all blocks of flows and ports.
    pub fn unblock(&self) {
        self.control(|emulation, _| emulation.unblock());
    }

    /// Counters of the packets in one direction.
    pub fn counters(&self, direction: Direction) -> Counters {
        self.shared.emulation().delay_line(direction).pipe().counters()
    }

    /// A report on everything that the link has done so far.
    pub fn report(&self) -> Result<Report, Error> {
        let [left, right] = &*self.devices;
        let overrun = [left.overrun()?, right.overrun()?];
        let emulation = self.shared.emulation();
        let direction = |direction: Direction| {
            direction_report(emulation.delay_line(direction), overrun[direction.index()])
        };
        Ok(Report {
            link: emulation.link().to_string(),
            seed: self.seed,
            age: self.shared.now(),
            cpu: self.shared.cpu(),
            left_to_right: direction(Direction::LeftToRight),
            right_to_left: direction(Direction::RightToLeft),
        })
    }

    fn control(&self, act: impl FnOnce(&mut Emulation, Duration)) {
        act(&mut self.shared.emulation(), self.shared.now());
        self.shared.wake();
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(io_loop) = self.io_loop.take() {
            // If it panicked, it has printed its message.
            let _ = io_loop.join();
        }
    }
}

fn direction_report(delay_line: &DelayLine, overrun: u64) -> DirectionReport {
    let pipe = delay_line.pipe();
    DirectionReport {
        counters: pipe.counters(),
        peak_queue: pipe.peak_queue(),
        overrun,
        late: delay_line.lateness().summary(),
    }
}
