//! The I/O loop: one thread that moves packets between the two devices at the times that the emulation gives.
//! Must never decide about a packet, nor busy-wait while no packet is due.

use std::{
    num::NonZeroU64,
    os::fd::OwnedFd,
    process::Command,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::Sender,
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    io::{read, write},
    thread::{gettid, set_current_timer_slack},
    time::{ClockId, clock_gettime},
};

use crate::process::run;
use crate::wan::{
    link::conditions::Direction,
    packets::{
        device::{Device, MTU},
        emulation::Emulation,
    },
};

/// The number of packets that the loop moves before it goes on to its next task.
const BATCH_PACKETS: usize = 64;

/// Packets that are due within this time are delivered together: at 300 Mbit/s one is due every 40 µs, and waking
/// up for each would cost more than moving it. This bounds the emulator's intended error.
const COALESCING_WINDOW: Duration = Duration::from_micros(100);

/// The state that the loop shares with the link's handle.
#[derive(Debug)]
pub(in crate::wan) struct Shared {
    emulation: Mutex<Emulation>,
    start: Instant,
    wake: OwnedFd,
    stop: AtomicBool,
    cpu_nanos: AtomicU64,
}

/// The loop with its devices, before it runs.
pub(in crate::wan) struct IoLoop {
    shared: Arc<Shared>,
    /// The left end's device and the right end's: packets from device n go in direction n.
    devices: Arc<[Device; 2]>,
}

impl Shared {
    pub(in crate::wan) fn new(emulation: Emulation) -> std::io::Result<Self> {
        Ok(Self {
            emulation: Mutex::new(emulation),
            start: Instant::now(),
            wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            stop: AtomicBool::new(false),
            cpu_nanos: AtomicU64::new(0),
        })
    }

    /// The link's clock.
    pub(in crate::wan) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(in crate::wan) fn emulation(&self) -> MutexGuard<'_, Emulation> {
        // A panicked thread has reported its failure; the link must still be taken down in order.
        self.emulation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the loop check again which packets are due.
    pub(in crate::wan) fn wake(&self) {
        // Fails only if the counter is full, and then the loop wakes up anyway.
        let _ = write(&self.wake, &1u64.to_ne_bytes());
    }

    pub(in crate::wan) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Processor time of the loop: the emulator's own and, within its system calls, that of the receiving network
    /// stack.
    pub(in crate::wan) fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_nanos.load(Ordering::Relaxed))
    }
}

impl IoLoop {
    pub(in crate::wan) fn new(shared: Arc<Shared>, devices: Arc<[Device; 2]>) -> Self {
        Self { shared, devices }
    }

    /// Runs until it is stopped, or until a device disappears with its namespace. Sends on `ready` when packets
    /// will be on time.
    pub(in crate::wan) fn run(self, ready: &Sender<()>) {
        set_realtime_priority();
        // Without a receiver the loop is stopped at once.
        let _ = ready.send(());
        while !self.shared.stop.load(Ordering::Relaxed) {
            let moved = self.deliver().max(match self.collect() {
                Ok(moved) => moved,
                Err(error) => {
                    tracing::warn!("the emulated link is down: {error}");
                    return;
                }
            });
            if moved < BATCH_PACKETS {
                self.wait();
            }
        }
    }

    /// Writes all due packets. Returns the larger number of packets of both directions.
    fn deliver(&self) -> usize {
        let mut emulation = self.shared.emulation();
        let deliver = |direction: Direction| {
            let [left, right] = &*self.devices;
            let receiver = match direction {
                Direction::LeftToRight => right,
                Direction::RightToLeft => left,
            };
            let delay_line = emulation.delay_line_mut(direction);
            (0..BATCH_PACKETS)
                .take_while(|_| delay_line.deliver(self.shared.now(), |packet| receiver.write(packet)))
                .count()
        };
        Direction::BOTH.map(deliver).into_iter().max().unwrap_or(0)
    }

    /// Reads the packets that the ends have sent. Returns the larger number of both directions.
    fn collect(&self) -> std::io::Result<usize> {
        let mut buffer = [0; MTU as usize];
        let mut emulation = self.shared.emulation();
        let mut count = 0;
        for direction in Direction::BOTH {
            let sender = &self.devices[direction.index()];
            for moved in 1..=BATCH_PACKETS {
                let Some(length) = sender.read(&mut buffer)? else { break };
                emulation.accept(self.shared.now(), direction, &buffer[..length]);
                count = count.max(moved);
            }
        }
        Ok(count)
    }

    /// Sleeps until a packet is sent, a packet is due, or the loop is woken up.
    fn wait(&self) {
        let due = self.shared.emulation().next_arrival();
        let timeout = due.map(|due| due.saturating_sub(self.shared.now()).max(COALESCING_WINDOW));
        let timeout = timeout.map(|timeout| Timespec {
            // The timeout saturates, at more than a hundred years.
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let [left, right] = &*self.devices;
        let mut sources = [
            PollFd::new(left, PollFlags::IN),
            PollFd::new(right, PollFlags::IN),
            PollFd::new(&self.shared.wake, PollFlags::IN),
        ];
        // An interrupted wait only ends early.
        let _ = poll(&mut sources, timeout.as_ref());
        if !sources[2].revents().is_empty() {
            // Resets the counter; its value is not needed.
            let _ = read(&self.shared.wake, &mut [0; 8]);
        }
        self.record_cpu();
    }

    fn record_cpu(&self) {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let nanos = time.tv_sec * 1_000_000_000 + time.tv_nsec;
        self.shared.cpu_nanos.store(nanos.unsigned_abs(), Ordering::Relaxed);
    }
}

/// Asks the scheduler for a real-time class, and for timers without slack. Without them the link works, but less
/// accurately while other processes compute; the report has the error.
fn set_realtime_priority() {
    const ROUND_ROBIN_PRIORITY: &str = "10";
    let mut command = Command::new("chrt");
    command.args(["--rr", "--pid", ROUND_ROBIN_PRIORITY, &gettid().to_string()]);
    let result = run(command, Duration::from_secs(5)).and_then(|finished| finished.succeeded());
    if let Err(error) = result {
        tracing::warn!("the emulated link runs without real-time priority: {error:#}");
    }
    if let Err(error) = set_current_timer_slack(NonZeroU64::new(1)) {
        tracing::warn!("the emulated link's timers have slack: {error}");
    }
}
