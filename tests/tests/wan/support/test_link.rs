//! An emulated link with sockets at both ends, and measurements on it.
//! Must never run two measurements at once on this machine: tests take turns.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket},
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{self, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use docxy_tests::wan::{
    Conditions, DirectionReport, End, Link, NamespacePair, Rate, Report, Traffic, Wan, run_in_namespace,
};

pub(crate) const MS: Duration = Duration::from_millis(1);

/// Timeout of a reply that must arrive.
pub(crate) const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a measurement is repeated that a busy machine may disturb.
const ATTEMPTS: usize = 10;

/// Bytes of IPv4 and UDP headers.
pub(crate) const UDP_HEADERS: u64 = 28;

/// A link between two namespaces of its own.
pub(crate) struct TestLink {
    pub(crate) wan: Wan,
    pub(crate) pair: NamespacePair,
    _serial: MutexGuard<'static, ()>,
}

/// A UDP socket at each end; the left one is connected to the right one.
pub(crate) struct UdpSockets {
    pub(crate) left: UdpSocket,
    pub(crate) right: UdpSocket,
}

impl TestLink {
    pub(crate) fn new(link: Link) -> Result<Self> {
        static SERIAL: Mutex<()> = Mutex::new(());
        // A failed test does not affect the next one.
        let serial = SERIAL.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = NamespacePair::new()?;
        let wan = Wan::join(&pair.left, &pair.right, link, 1)?;
        Ok(Self { wan, pair, _serial: serial })
    }

    /// The same conditions in both directions.
    pub(crate) fn symmetric(conditions: Conditions) -> Result<Self> {
        Self::new(Link::symmetric(conditions))
    }

    pub(crate) fn udp(&self) -> Result<UdpSockets> {
        UdpSockets::between(&self.pair.left, &self.pair.right)
    }

    /// A TCP connection from left to right.
    pub(crate) fn tcp(&self) -> Result<(TcpStream, TcpStream)> {
        let listener = self.listen((NamespacePair::RIGHT, 0))?;
        let left = self.connect(listener.local_addr()?)??;
        let (right, _) = listener.accept()?;
        left.set_write_timeout(Some(REPLY_TIMEOUT))?;
        right.set_read_timeout(Some(REPLY_TIMEOUT))?;
        Ok((left, right))
    }

    /// A listener at the right end.
    pub(crate) fn listen(&self, address: impl ToSocketAddrs + Send) -> Result<TcpListener> {
        Ok(run_in_namespace(&self.pair.right.namespace, || TcpListener::bind(address))??)
    }

    /// Connects from the left end.
    pub(crate) fn connect(&self, address: SocketAddr) -> Result<io::Result<TcpStream>> {
        let connect = || TcpStream::connect_timeout(&address, REPLY_TIMEOUT);
        Ok(run_in_namespace(&self.pair.left.namespace, connect)?)
    }

    pub(crate) fn left_to_right(&self) -> Result<DirectionReport> {
        Ok(self.wan.report()?.left_to_right)
    }

    /// Asserts that packets arrive on the right at `rate`, within 3 %. On a busy machine some seconds are slower,
    /// as a sender that does not run cannot fill the link, so it tries several times; a higher rate is an error at
    /// once.
    pub(crate) fn assert_throughput(&self, rate: Rate) -> Result<()> {
        let mut off = 0.0;
        for _ in 0..ATTEMPTS {
            off = self.throughput()? / rate.bits_per_second() as f64 - 1.0;
            if off > -0.03 {
                break;
            }
        }
        ensure!(off.abs() < 0.03, "{rate} is missed by {:.1} %: {}", off * 100.0, self.wan.report()?);
        Ok(())
    }

    /// Bits per second that arrive on the right, during the next second.
    fn throughput(&self) -> Result<f64> {
        let before = self.wan.report()?;
        thread::sleep(1000 * MS);
        let after = self.wan.report()?;
        let bytes = |report: &Report| report.left_to_right.counters.delivered.bytes;
        Ok((bytes(&after) - bytes(&before)) as f64 * 8.0 / (after.age - before.age).as_secs_f64())
    }

    /// Runs `act` while the left end sends UDP at `rate`.
    pub(crate) fn while_flooded<T>(&self, rate: Rate, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let sockets = self.udp()?;
        let (stop, stopped) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let packet = [0; 1472];
                let (start, mut sent) = (Instant::now(), 0);
                while stopped.try_recv() == Err(TryRecvError::Empty) && start.elapsed() < REPLY_TIMEOUT * 6 {
                    while sent < rate.bytes_in(start.elapsed()) {
                        // The right end's socket may be full, as no thread reads it.
                        let _ = sockets.left.send(&packet);
                        sent += packet.len() as u64 + UDP_HEADERS;
                    }
                    thread::sleep(MS);
                }
            });
            let result = act();
            drop(stop);
            result
        })
    }

    /// Asserts that every offered packet was delivered or dropped, once no packet is in flight.
    pub(crate) fn assert_all_accounted_for(&self) -> Result<()> {
        let deadline = Instant::now() + REPLY_TIMEOUT;
        loop {
            let report = self.wan.report()?;
            let directions = [report.left_to_right, report.right_to_left];
            ensure!(
                directions.iter().all(|direction| direction.overrun == 0),
                "the machine is too slow for this link: {report}"
            );
            if directions.iter().all(|direction| direction.counters.in_flight() == Traffic::default()) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "still in flight: {report}");
            thread::sleep(10 * MS);
        }
    }
}

impl UdpSockets {
    pub(crate) fn between(left: &End, right: &End) -> Result<Self> {
        let right = run_in_namespace(&right.namespace, || UdpSocket::bind((right.address, 0)))??;
        Ok(Self { left: connected(left, right.local_addr()?)?, right })
    }

    /// Continues from a new source port.
    pub(crate) fn rebind(&mut self, left: &End) -> Result<()> {
        self.left = connected(left, self.right.local_addr()?)?;
        Ok(())
    }

    /// The round-trip time of a small packet, or `None` if it is lost.
    pub(crate) fn ping(&self, timeout: Duration) -> Result<Option<Duration>> {
        let mut buffer = [0; 16];
        self.left.set_read_timeout(Some(timeout))?;
        self.right.set_read_timeout(Some(timeout))?;
        let start = Instant::now();
        self.left.send(b"ping")?;
        let Some((_, from)) = received(self.right.recv_from(&mut buffer))? else { return Ok(None) };
        self.right.send_to(b"pong", from)?;
        let answered = received(self.left.recv(&mut buffer))?;
        Ok(answered.map(|_| start.elapsed()))
    }

    /// Asserts that the median round-trip time is `expected` or up to a millisecond more, and none is less. On a
    /// busy machine the threads at the ends may run late, so it tries several times.
    pub(crate) fn assert_round_trip(&self, expected: Duration) -> Result<()> {
        const PINGS: usize = 21;
        let mut median = Duration::ZERO;
        for _ in 0..ATTEMPTS {
            let ping = |_| self.ping(REPLY_TIMEOUT)?.context("a ping was lost");
            let mut times = (0..PINGS).map(ping).collect::<Result<Vec<_>>>()?;
            times.sort();
            ensure!(times[0] >= expected, "{:?} is less than {expected:?}", times[0]);
            median = times[PINGS / 2];
            if median < expected + MS {
                return Ok(());
            }
        }
        bail!("{median:?} instead of {expected:?}")
    }
}

/// `None` if nothing arrived in time.
pub(crate) fn received<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
        Err(error) => Err(error),
    }
}

fn connected(left: &End, right: SocketAddr) -> Result<UdpSocket> {
    let left = run_in_namespace(&left.namespace, || UdpSocket::bind((left.address, 0)))??;
    left.connect(right)?;
    Ok(left)
}
