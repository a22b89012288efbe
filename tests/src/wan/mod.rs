//! The link emulator: connects two network namespaces by a link with delay, a bottleneck, loss and blocked UDP, as
//! a wide-area network (WAN) has. Each end is a TUN device; a thread of this process moves packets between them.
//! Must never touch the machine's own network, nor create anything that outlives the process.
//!
//! ```no_run
//! use docxy_tests::wan::{NamespacePair, Rate, Wan, presets};
//!
//! let pair = NamespacePair::new()?;
//! let wan = Wan::join(&pair.left, &pair.right, presets::TRANSPACIFIC_5.link, 1)?;
//! pair.right.command("docxy-server").arg("run").spawn()?;
//! wan.change(|link| link.right_to_left.rate = Some(Rate::mbit(50)));
//! println!("{}", wan.report()?);
//! # Ok::<(), anyhow::Error>(())
//! ```

mod link;
mod operation;
mod packets;

pub use link::presets;
use link::{bottleneck, conditions, loss_model, pipe, policer, rate, udp_filter};
pub use operation::control;
use operation::{counters, lateness_histogram, options, report, syntax};
use packets::{device, emulation, io_loop, namespace, namespace_pair, packet};

use std::{
    io,
    net::Ipv4Addr,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

pub use conditions::{Conditions, Direction, Link, Loss, LossPoint, Outages, Queue, UdpRule};
pub use counters::{Counters, DropCause, Drops, Traffic};
pub use lateness_histogram::LatenessSummary;
pub use namespace::run_in_namespace;
pub use namespace_pair::NamespacePair;
pub use options::LinkOptions;
pub use packet::{Flow, Packet, Payload};
pub use pipe::{Pipe, Reschedule, Timing, Verdict};
pub use presets::{LinkPreset, PRESETS};
pub use rate::Rate;
pub use report::{DirectionReport, Report};
pub use syntax::SyntaxError;

use device::Device;
use emulation::{DelayLine, Emulation};
use io_loop::{IoLoop, Shared};

/// One end of a link: its namespace, and its address on the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The network namespace, as `ip netns` names it.
    pub namespace: String,
    /// Its address; both ends are in one /24.
    pub address: Ipv4Addr,
}

/// A link that is up, with methods to watch and change it. Dropping it takes the link down; the namespaces stay.
pub struct Wan {
    shared: Arc<Shared>,
    devices: Arc<[Device; 2]>,
    seed: u64,
    io_loop: Option<JoinHandle<()>>,
}

/// Why a link could not be brought up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not root.
    #[error("the link emulator creates network namespaces and TUN devices: run it as root")]
    NotRoot,
    /// The namespace does not exist, or may not be entered.
    #[error("cannot enter the network namespace {namespace}: {source} (root is needed)")]
    Enter {
        /// Its name.
        namespace: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// The device could not be created or used.
    #[error("no TUN device in the network namespace {namespace}: {source}")]
    Device {
        /// The namespace's name.
        namespace: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// iproute2 failed.
    #[error("{0:#}")]
    Ip(anyhow::Error),
    /// There is no thread or no descriptor for the I/O loop.
    #[error("cannot start the emulator: {0}")]
    Start(io::Error),
}

impl End {
    /// An end in an existing namespace.
    pub fn new(namespace: impl Into<String>, address: Ipv4Addr) -> Self {
        Self { namespace: namespace.into(), address }
    }
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

    /// Drops, from now on, all UDP flows that have used the link: only a new source port gets through.
    pub fn block_udp_flows(&self) {
        self.control(|emulation, _| emulation.block_udp_flows());
    }

    /// Drops, from now on, UDP from or to this port.
    pub fn block_udp_port(&self, port: u16) {
        self.control(|emulation, _| emulation.block_udp_port(port));
    }

    /// Gives the left end another address, as a laptop gets one that moves from Wi-Fi to cellular. Packets in
    /// flight to the old address are lost.
    pub fn set_left_address(&self, address: Ipv4Addr) -> Result<(), Error> {
        let [left, _] = &*self.devices;
        left.set_address(address)
    }

    /// Undoes all blocks of flows and ports.
    pub fn unblock_udp(&self) {
        self.control(|emulation, _| emulation.unblock_udp());
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
