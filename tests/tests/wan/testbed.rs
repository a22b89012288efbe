//! An emulated link with sockets at both ends, and what can be measured on it.
//! Must never share the machine between two measurements: worlds take turns.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
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

/// How long an answer is waited for that is to come.
pub(crate) const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a measurement is made that a busy machine may spoil.
const ATTEMPTS: usize = 10;

/// IPv4 and UDP headers.
pub(crate) const UDP_HEADERS: u64 = 28;

/// A link between two namespaces of its own.
pub(crate) struct Testbed {
    pub(crate) wan: Wan,
    pub(crate) pair: NamespacePair,
    _serial: MutexGuard<'static, ()>,
}

/// A UDP socket at each end; the left one is connected to the right one.
pub(crate) struct UdpSockets {
    pub(crate) left: UdpSocket,
    pub(crate) right: UdpSocket,
}

impl Testbed {
    pub(crate) fn new(link: Link) -> Result<Self> {
        static SERIAL: Mutex<()> = Mutex::new(());
        // A test that failed says nothing about the next one.
        let serial = SERIAL.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = NamespacePair::new()?;
        let wan = Wan::join(&pair.left, &pair.right, link, 1)?;
        Ok(Self { wan, pair, _serial: serial })
    }

    /// The same conditions both directions.
    pub(crate) fn symmetric(conditions: Conditions) -> Result<Self> {
        Self::new(Link::symmetric(conditions))
    }

    pub(crate) fn udp(&self) -> Result<UdpSockets> {
        UdpSockets::between(&self.pair.left, &self.pair.right)
    }

    /// A TCP connection from left to right.
    pub(crate) fn tcp(&self) -> Result<(TcpStream, TcpStream)> {
        let listener =
            run_in_namespace(&self.pair.right.namespace, || TcpListener::bind((NamespacePair::RIGHT, 0)))??;
        let address = listener.local_addr()?;
        let left = run_in_namespace(&self.pair.left.namespace, || {
            TcpStream::connect_timeout(&address, REPLY_TIMEOUT)
        })??;
        let (right, _) = listener.accept()?;
        left.set_write_timeout(Some(REPLY_TIMEOUT))?;
        right.set_read_timeout(Some(REPLY_TIMEOUT))?;
        Ok((left, right))
    }

    pub(crate) fn left_to_right(&self) -> Result<DirectionReport> {
        Ok(self.wan.report()?.left_to_right)
    }

    /// What comes out on the right gets to `rate`, to 3 %, and never beyond. In which second depends on how busy the
    /// machine is: a sender that does not get to run does not fill a link.
    pub(crate) fn assert_throughput(&self, rate: Rate) -> Result<()> {
        let mut off = 0.0;
        for _ in 0..ATTEMPTS {
            off = self.throughput()? / rate.bits_per_second() as f64 - 1.0;
            if off > -0.03 {
                break;
            }
        }
        ensure!(off.abs() < 0.03, "off {rate} by {:.1} %: {}", off * 100.0, self.wan.report()?);
        Ok(())
    }

    /// Bits per second that come out on the right, over a second from now.
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
                        // The right end's socket may be full: nobody reads it.
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

    /// Everything offered was delivered or dropped, once what is on its way has arrived.
    pub(crate) fn assert_adds_up(&self) -> Result<()> {
        let deadline = Instant::now() + REPLY_TIMEOUT;
        loop {
            let report = self.wan.report()?;
            let directions = [report.left_to_right, report.right_to_left];
            ensure!(
                directions.iter().all(|way| way.overrun == 0),
                "the machine is too slow for this link: {report}"
            );
            if directions.iter().all(|way| way.counters.in_flight() == Traffic::default()) {
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

    /// Goes on from a new source port.
    pub(crate) fn rebind(&mut self, left: &End) -> Result<()> {
        self.left = connected(left, self.right.local_addr()?)?;
        Ok(())
    }

    /// How long a small packet takes there and back, or `None` if it is lost.
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

    /// A ping takes `expected` or up to a millisecond more, in the median, and never less. In which round depends on how
    /// busy the machine is: the ends' threads too must run on time.
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

/// `None` if nothing came in time.
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
