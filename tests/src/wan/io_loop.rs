//! The I/O loop: one thread that moves packets between the two devices, when the emulation says so.
//! Must never decide about a packet, nor busy-wait while nothing is due.

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

use super::{
    Direction,
    device::{Device, MTU},
    emulation::Emulation,
};
use crate::process::run;

/// Packets moved before the other tasks of the loop get their turn.
const BATCH_PACKETS: usize = 64;

/// Packets that fall due within so short a time are delivered together: at 300 Mbit/s one comes every 40 µs, and waking
/// for each would cost more than moving it. This bounds the emulator's intended error.
const COALESCING_WINDOW: Duration = Duration::from_micros(100);

/// What the loop shares with those who watch and steer the link.
#[derive(Debug)]
pub(super) struct Shared {
    emulation: Mutex<Emulation>,
    start: Instant,
    wake: OwnedFd,
    stop: AtomicBool,
    cpu_nanos: AtomicU64,
}

/// The loop with its devices, before it runs.
pub(super) struct IoLoop {
    shared: Arc<Shared>,
    /// The left end's, and the right end's: what comes from device n goes the direction n.
    devices: Arc<[Device; 2]>,
}

impl Shared {
    pub(super) fn new(emulation: Emulation) -> std::io::Result<Self> {
        Ok(Self {
            emulation: Mutex::new(emulation),
            start: Instant::now(),
            wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            stop: AtomicBool::new(false),
            cpu_nanos: AtomicU64::new(0),
        })
    }

    /// The link's clock.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(super) fn emulation(&self) -> MutexGuard<'_, Emulation> {
        // Whoever panicked has failed already; the link still has to be taken down in order.
        self.emulation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the loop look again at what is due.
    pub(super) fn wake(&self) {
        // Fails only when the counter is full, and then it wakes anyway.
        let _ = write(&self.wake, &1u64.to_ne_bytes());
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Processor time of the loop: the emulator's own and, within its system calls, the receiving network stack's.
    pub(super) fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_nanos.load(Ordering::Relaxed))
    }
}

impl IoLoop {
    pub(super) fn new(shared: Arc<Shared>, devices: Arc<[Device; 2]>) -> Self {
        Self { shared, devices }
    }

    /// Runs until it is stopped, or until a device is gone with its namespace. Says when packets will be on time.
    pub(super) fn run(self, ready: &Sender<()>) {
        set_realtime_priority();
        // Nobody waits any more: then it is stopped at once.
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

    /// Writes what is due; how much it was.
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

    /// Reads what the ends have sent; how much it was.
    fn collect(&self) -> std::io::Result<usize> {
        let mut buffer = [0; MTU as usize];
        let mut emulation = self.shared.emulation();
        let mut most = 0;
        for direction in Direction::BOTH {
            let sender = &self.devices[direction.index()];
            let delay_line = emulation.delay_line_mut(direction);
            for moved in 1..=BATCH_PACKETS {
                let Some(length) = sender.read(&mut buffer)? else { break };
                delay_line.accept(self.shared.now(), &buffer[..length]);
                most = most.max(moved);
            }
        }
        Ok(most)
    }

    /// Sleeps until a packet comes, one is due, or somebody wakes it.
    fn wait(&self) {
        let due = self.shared.emulation().next_arrival();
        let timeout = due.map(|due| due.saturating_sub(self.shared.now()).max(COALESCING_WINDOW));
        let timeout = timeout.map(|timeout| Timespec {
            // A link that delays for longer than a hundred years has other problems.
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let [left, right] = &*self.devices;
        let mut sources = [
            PollFd::new(left, PollFlags::IN),
            PollFd::new(right, PollFlags::IN),
            PollFd::new(&self.shared.wake, PollFlags::IN),
        ];
        // An interrupted wait is a short one.
        let _ = poll(&mut sources, timeout.as_ref());
        if !sources[2].revents().is_empty() {
            // Resets the counter; what it was does not matter.
            let _ = read(&self.shared.wake, &mut [0; 8]);
        }
        self.note_cpu();
    }

    fn note_cpu(&self) {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let nanos = time.tv_sec * 1_000_000_000 + time.tv_nsec;
        self.shared.cpu_nanos.store(nanos.unsigned_abs(), Ordering::Relaxed);
    }
}

/// Asks the scheduler to run this thread when it wants to run: a real-time class, and timers without slack. Without
/// either the link works, less accurately while others compute; how much is in its report.
fn set_realtime_priority() {
    const ROUND_ROBIN_PRIORITY: &str = "10";
    let mut command = Command::new("chrt");
    command.args(["--rr", "--pid", ROUND_ROBIN_PRIORITY, &gettid().to_string()]);
    let asked = run(command, Duration::from_secs(5)).and_then(|finished| finished.succeeded());
    if let Err(error) = asked {
        tracing::warn!("the emulated link runs without real-time priority: {error:#}");
    }
    if let Err(error) = set_current_timer_slack(NonZeroU64::new(1)) {
        tracing::warn!("the emulated link's timers have slack: {error}");
    }
}
