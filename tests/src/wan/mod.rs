//! The link emulator: joins two network namespaces by a link that has delay, a bottleneck, loss and malice, as those
//! have that Docxy is for. TUN devices at the ends, a thread of this process between them.
//! Must never touch the machine's own network, nor need anything that outlives the process.
//!
//! ```no_run
//! use docxy_tests::wan::{Pair, Rate, Wan, ladder};
//!
//! let pair = Pair::new()?;
//! let wan = Wan::join(&pair.left, &pair.right, ladder::TRANSPACIFIC_5.link, 1)?;
//! pair.right.command("docxy-server").arg("run").spawn()?;
//! wan.change(|link| link.right_to_left.rate = Some(Rate::mbit(50)));
//! println!("{}", wan.report()?);
//! # Ok::<(), anyhow::Error>(())
//! ```

mod bottleneck;
mod conditions;
pub mod control;
mod counters;
mod device;
mod direction;
mod emulation;
pub mod ladder;
mod lateness;
mod loss;
mod namespace;
mod notation;
mod options;
mod packet;
mod pair;
mod policer;
mod pump;
mod rate;
mod report;
mod udp;

use std::{
    io,
    net::Ipv4Addr,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

pub use conditions::{Conditions, Link, Loss, LossPoint, Outages, Queue, Udp, Way};
pub use counters::{Cause, Counters, Drops, Tally};
pub use direction::{Direction, Retiming, Timing, Verdict};
pub use ladder::{LADDER, NamedLink};
pub use lateness::LatenessSummary;
pub use namespace::inside;
pub use notation::NotationError;
pub use options::LinkOptions;
pub use packet::{Flow, Packet, Payload};
pub use pair::Pair;
pub use rate::Rate;
pub use report::{Report, WayReport};

use device::Device;
use emulation::{Emulation, Lane};
use pump::{Pump, Shared};

/// One end of a link: where it is, and its address on the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The network namespace, as `ip netns` knows it.
    pub namespace: String,
    /// Both ends' addresses are in one /24.
    pub address: Ipv4Addr,
}

/// A link that is up, and the handle by which it is watched and changed. Dropping it takes the link down; the
/// namespaces stay.
pub struct Wan {
    shared: Arc<Shared>,
    devices: Arc<[Device; 2]>,
    seed: u64,
    pump: Option<JoinHandle<()>>,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not root.
    #[error("the link emulator makes network namespaces and TUN devices: run it as root")]
    NotRoot,
    /// The namespace is not there, or it may not be entered.
    #[error("cannot enter the network namespace {namespace}: {source} (root is needed)")]
    Enter {
        /// Its name.
        namespace: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// The device could not be made, or not be asked.
    #[error("no TUN device in the network namespace {namespace}: {source}")]
    Device {
        /// The namespace's name.
        namespace: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// iproute2 did not do its part.
    #[error("{0:#}")]
    Ip(anyhow::Error),
    /// No thread or no descriptor for it.
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
    /// Joins two namespaces, which may be anyone's. The same seed rolls the same dice.
    pub fn join(left: &End, right: &End, link: Link, seed: u64) -> Result<Self, Error> {
        let devices = Arc::new([Device::open(left)?, Device::open(right)?]);
        let shared = Arc::new(Shared::new(Emulation::new(link, seed)).map_err(Error::Start)?);
        let pump = Pump::new(Arc::clone(&shared), Arc::clone(&devices));
        let (ready, is_ready) = mpsc::channel();
        let pump = thread::Builder::new()
            .name("wan".to_owned())
            .spawn(move || pump.run(&ready))
            .map_err(Error::Start)?;
        // An error is a panic of the pump, whose message is out already.
        let _ = is_ready.recv();
        Ok(Self { shared, devices, seed, pump: Some(pump) })
    }

    /// The link's conditions now.
    pub fn link(&self) -> Link {
        self.shared.emulation().link()
    }

    /// Changes the link's conditions, from now on and for what is queued.
    pub fn change(&self, edit: impl FnOnce(&mut Link)) {
        self.steer(|emulation, now| {
            let mut link = emulation.link();
            edit(&mut link);
            emulation.change(now, link);
        });
    }

    /// Nothing goes in or comes out for so long, from now; zero ends an outage.
    pub fn outage(&self, lasting: Duration) {
        self.steer(|emulation, now| emulation.outage_until(now + lasting));
    }

    /// Drops, from now on, all UDP flows that have been seen so far: only a new source port gets through.
    pub fn block_udp_flows(&self) {
        self.steer(|emulation, _| emulation.block_udp_flows());
    }

    /// Drops, from now on, UDP from or to this port.
    pub fn block_udp_port(&self, port: u16) {
        self.steer(|emulation, _| emulation.block_udp_port(port));
    }

    /// Gives the left end another address, as a laptop gets one that goes from Wi-Fi to cellular: the old one is gone at
    /// once, with what is on its way there.
    pub fn move_left(&self, address: Ipv4Addr) -> Result<(), Error> {
        let [left, _] = &*self.devices;
        left.readdress(address)
    }

    /// Undoes all blocks of flows and ports.
    pub fn unblock_udp(&self) {
        self.steer(|emulation, _| emulation.unblock_udp());
    }

    /// What has become so far of what one end sent.
    pub fn counters(&self, way: Way) -> Counters {
        self.shared.emulation().lane(way).direction().counters()
    }

    /// What the link has done so far.
    pub fn report(&self) -> Result<Report, Error> {
        let [left, right] = &*self.devices;
        let overrun = [left.overrun()?, right.overrun()?];
        let emulation = self.shared.emulation();
        let way = |way: Way| way_report(emulation.lane(way), overrun[way.index()]);
        Ok(Report {
            link: emulation.link().to_string(),
            seed: self.seed,
            age: self.shared.now(),
            cpu: self.shared.cpu(),
            left_to_right: way(Way::LeftToRight),
            right_to_left: way(Way::RightToLeft),
        })
    }

    fn steer(&self, act: impl FnOnce(&mut Emulation, Duration)) {
        act(&mut self.shared.emulation(), self.shared.now());
        self.shared.wake();
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(pump) = self.pump.take() {
            // If it panicked, its message is out already.
            let _ = pump.join();
        }
    }
}

fn way_report(lane: &Lane, overrun: u64) -> WayReport {
    let direction = lane.direction();
    WayReport {
        counters: direction.counters(),
        peak_queue: direction.peak_queue(),
        overrun,
        late: lane.lateness().summary(),
    }
}
