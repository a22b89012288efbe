//! The resources of server and client before, during and after a phase.
//! Must never end before they return to the initial state or the timeout is over, nor ignore a difference other
//! than the connections that the server keeps alive, and a few threads for file work.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use docxy_tests::docxy::{Client, Footprint, Server};
use serde::Serialize;

/// How often resources are sampled.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

/// How long they may take to return: the server keeps connections to a registry for 50 s after a pull.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(75);

/// Threads for file work that a program may have more than before: the server checks its files twice a second, and such a
/// thread ends after an idle second.
const FILE_THREADS_MAX: usize = 3;

/// The number of connections that a server keeps alive while a registry is in use: to the registry, its token
/// service and its CDN.
const KEPT_ALIVE_MAX: usize = 3;

/// One sample.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    /// Resident memory, in bytes.
    pub(crate) rss: u64,
    #[serde(flatten)]
    pub(crate) footprint: Footprint,
}

/// The resources of one process.
#[derive(Debug, Serialize)]
pub(crate) struct ResourceUse {
    pub(crate) process: &'static str,
    pub(crate) before: Sample,
    /// The maximum of each value.
    pub(crate) peak: Sample,
    pub(crate) after: Sample,
    /// Seconds from the end of the phase until everything but the memory, up to [`KEPT_ALIVE_MAX`] connections, and up to
    /// [`FILE_THREADS_MAX`] threads was as before.
    pub(crate) settled: Option<f64>,
}

impl ResourceUse {
    /// The number of connections that are kept alive since the phase.
    pub(crate) fn kept_alive(&self) -> usize {
        self.after.footprint.tcp.saturating_sub(self.before.footprint.tcp)
    }
}

/// A monitored process.
pub(crate) struct Monitored<'a> {
    name: &'static str,
    /// How many connections it may keep alive.
    kept_alive: usize,
    sample: Box<dyn FnMut() -> Result<Sample> + Send + 'a>,
}

impl<'a> Monitored<'a> {
    pub(crate) fn server(server: &'a mut Server) -> Self {
        let sample = || Ok(Sample { rss: server.process().memory()?.now, footprint: server.footprint()? });
        Self { name: "server", kept_alive: KEPT_ALIVE_MAX, sample: Box::new(sample) }
    }

    pub(crate) fn client(client: &'a mut Client) -> Self {
        let sample = || Ok(Sample { rss: client.process().memory()?.now, footprint: client.footprint()? });
        Self { name: "client", kept_alive: 0, sample: Box::new(sample) }
    }
}

/// Runs a phase while sampling the processes.
pub(crate) fn during<T>(
    processes: Vec<Monitored<'_>>,
    phase: impl FnOnce() -> Result<T>,
) -> Result<(T, Vec<ResourceUse>)> {
    let mut watched = Vec::new();
    for mut process in processes {
        let before = (process.sample)()?;
        watched.push((process, before.clone(), before));
    }
    let over = AtomicBool::new(false);
    let (outcome, watched) = thread::scope(|scope| {
        let watching = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for (process, _, peak) in &mut watched {
                    peak.raise_to(&(process.sample)()?);
                }
                thread::sleep(SAMPLE_INTERVAL);
            }
            Ok::<_, anyhow::Error>(watched)
        });
        let outcome = phase();
        over.store(true, Ordering::Relaxed);
        (outcome, watching.join().expect("it does not panic"))
    });
    let ended = Instant::now();
    let usage =
        watched?.into_iter().map(|(process, before, peak)| wait_until_settled(process, before, peak, ended));
    Ok((outcome?, usage.collect::<Result<_>>()?))
}

fn wait_until_settled(
    mut process: Monitored<'_>,
    before: Sample,
    peak: Sample,
    ended: Instant,
) -> Result<ResourceUse> {
    loop {
        let after = (process.sample)()?;
        let back = after.footprint.tcp <= process.kept_alive
            && after.footprint.threads <= before.footprint.threads + FILE_THREADS_MAX
            && without_kept_alive(&after.footprint) == without_kept_alive(&before.footprint);
        if back || ended.elapsed() > SETTLE_TIMEOUT {
            let settled = back.then(|| ended.elapsed().as_secs_f64());
            return Ok(ResourceUse { process: process.name, before, peak, after, settled });
        }
        thread::sleep(SAMPLE_INTERVAL);
    }
}

/// The same without its threads, and without connections to registries. Each of these uses a descriptor and a task, and
/// all together use one more task, which closes old ones.
fn without_kept_alive(footprint: &Footprint) -> Footprint {
    let mut without_kept_alive = footprint.clone();
    without_kept_alive.threads = 0;
    without_kept_alive.tcp = 0;
    // The kernel's counts were read one after the other, so they may differ.
    without_kept_alive.descriptors = without_kept_alive.descriptors.saturating_sub(footprint.tcp);
    if let Some(tasks) = without_kept_alive.counts.get_mut("tasks") {
        *tasks = tasks.saturating_sub(footprint.tcp as u64 + u64::from(footprint.tcp > 0));
    }
    without_kept_alive
}

impl Sample {
    fn raise_to(&mut self, other: &Self) {
        self.rss = self.rss.max(other.rss);
        let (mine, others) = (&mut self.footprint, &other.footprint);
        mine.descriptors = mine.descriptors.max(others.descriptors);
        mine.tcp = mine.tcp.max(others.tcp);
        mine.threads = mine.threads.max(others.threads);
        for (name, count) in &others.counts {
            let mine = mine.counts.entry(name.clone()).or_default();
            *mine = (*mine).max(*count);
        }
    }
}
