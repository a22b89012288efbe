//! Child processes of the tests: their output is in a file, a test waits for what they do (a socket bound, a file
//! written), and they end with the test, passed or failed.
//! Must never signal a process that it did not start, nor wait without a deadline.

mod binary;
mod finished;
mod owner;
mod procfs;
mod scratch;

use std::{
    fs::{self, OpenOptions},
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

pub use binary::binary;
pub use finished::{Finished, run};
pub use owner::{is_abandoned, unique_name};
pub use procfs::{Memory, connections_from, processor_seconds};
pub use scratch::scratch;

/// How long a process may take for what a test waits for, such as to listen.
pub const PROCESS_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a process may take to end after SIGTERM before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The time between two checks of a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A process that ends with the test.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; stdout and stderr are appended to `NAME.log` in `log_dir`.
    pub fn spawn(name: &str, command: Command, log_dir: &Path) -> Result<Self> {
        Self::spawn_with(name, command, log_dir, None)
    }

    /// The same with these streams (stdin, stdout, stderr), if any are given: then there is no log.
    pub fn spawn_with(
        name: &str,
        mut command: Command,
        log_dir: &Path,
        streams: Option<[Stdio; 3]>,
    ) -> Result<Self> {
        let log = log_dir.join(format!("{name}.log"));
        let [stdin, stdout, stderr] = match streams {
            Some(streams) => streams,
            None => {
                let output = OpenOptions::new().create(true).append(true).open(&log)?;
                [Stdio::null(), output.try_clone()?.into(), output.into()]
            }
        };
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has written to stdout and stderr so far: for failure messages, searches for secrets, and peers whose
    /// output is their protocol. No test matches texts of our own programs in it: they are for people, and change.
    pub fn output(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// How many bytes it has written so far.
    pub fn output_size(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |log| log.len())
    }

    /// Its current and peak memory.
    pub fn memory(&self) -> Result<Memory> {
        procfs::memory(self.pid())
    }

    /// Processor time that it has used so far, in seconds.
    pub fn processor_seconds(&self) -> Result<f64> {
        processor_seconds(self.pid())
    }

    /// The number of its open descriptors.
    pub fn descriptors(&self) -> Result<usize> {
        procfs::descriptors(self.pid())
    }

    /// The number of its TCP connections.
    pub fn connections(&self) -> Result<usize> {
        procfs::connections(self.pid())
    }

    /// The number of its threads.
    pub fn threads(&self) -> Result<usize> {
        procfs::threads(self.pid())
    }

    /// The addresses on which it listens by TCP, in its network namespace.
    pub fn listening(&self) -> Result<Vec<SocketAddr>> {
        procfs::listening(self.pid())
    }

    /// Waits until it listens by TCP. Returns the first address, so ports need not be fixed.
    pub fn wait_until_listening(&mut self) -> Result<SocketAddr> {
        self.wait_for("listen", PROCESS_TIMEOUT, |process| Ok(process.listening()?.first().copied()))
    }

    /// Waits until it has done all that it can do now: its threads have slept from one look to the next.
    pub fn wait_until_asleep(&mut self) -> Result<()> {
        let mut before = None;
        self.wait_for("sleep", PROCESS_TIMEOUT, |process| {
            let last = std::mem::replace(&mut before, procfs::switches_if_asleep(process.pid())?);
            Ok((last.is_some() && last == before).then_some(()))
        })
    }

    /// Waits until `probe` returns something. Fails with the end of the log if the process ends, or at the timeout.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        timeout: Duration,
        mut probe: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = Instant::now() + timeout;
        loop {
            // Before the probe, so that the probe still sees all that an ended process did.
            let ended = self.child.try_wait()?;
            if let Some(found) = probe(self)? {
                return Ok(found);
            }
            if let Some(status) = ended {
                bail!("{} was to {what}, but ended with {status}\n{}", self.name, self.log_tail());
            }
            if Instant::now() > deadline {
                bail!("{} did not {what} within {timeout:?}\n{}", self.name, self.log_tail());
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Sends a signal by its name (`TERM`, `STOP`, …), unless the process has ended.
    pub fn signal(&mut self, signal: &str) -> Result<()> {
        // After the child's end another process may have its id.
        if self.child.try_wait()?.is_none() {
            // The shell's `kill`, which needs no unsafe code and no package that a minimal Debian lacks.
            let kill = ["-c", r#"kill -s "$0" "$1""#, signal, &self.pid().to_string()];
            Command::new("sh").args(kill).stderr(Stdio::null()).status()?;
        }
        Ok(())
    }

    /// Waits until it ends by itself.
    pub fn wait_until_ended(&mut self, timeout: Duration) -> Result<ExitStatus> {
        wait(&mut self.child, timeout)?
            .with_context(|| format!("{} still runs after {timeout:?}\n{}", self.name, self.log_tail()))
    }

    /// Sends SIGTERM, and kills it if it does not end within five seconds.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        match wait(&mut self.child, STOP_TIMEOUT)? {
            Some(status) => Ok(status),
            None => self.kill(),
        }
    }

    /// Kills it at once, like a crash.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    fn log_tail(&self) -> String {
        const LINES: usize = 40;
        let log = self.output();
        let lines: Vec<_> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LINES)..];
        format!("--- end of the log of {} ---\n{}\n---", self.name, tail.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A failure cannot be returned here, and the test's own outcome matters more.
        let _ = self.stop();
        if thread::panicking() {
            // Written to the stream itself: the test runner captures the macros' output, and this must be shown.
            let _ = writeln!(std::io::stderr(), "{}", self.log_tail());
        }
    }
}

/// The child's status once it has ended, `None` if it still runs at the deadline.
fn wait(child: &mut Child, timeout: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + timeout;
    loop {
        match child.try_wait()? {
            None if Instant::now() < deadline => thread::sleep(POLL_INTERVAL),
            status => return Ok(status),
        }
    }
}
