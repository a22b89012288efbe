//! What server and client hold before a scene, at most while it lasts, and after it.
//! Must never end before they hold what they did before, or enough time has passed to say that they won't; nor pass
//! over what is left unless it is a connection that the server keeps warm.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use docxy_tests::docxy::{Client, Footprint, Server};
use serde::Serialize;

/// How often they are looked at.
const TICK: Duration = Duration::from_millis(250);

/// How long they may take to come back: the server keeps connections to a registry for 50 s in case of another pull.
const SETTLED: Duration = Duration::from_secs(75);

/// How many connections a server keeps for the next pull while a registry is in use: to it, to its token service, and to
/// its CDN.
const WARM: usize = 3;

/// One look.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    /// Resident memory, in bytes.
    pub(crate) rss: u64,
    #[serde(flatten)]
    pub(crate) footprint: Footprint,
}

/// What one of them held.
#[derive(Debug, Serialize)]
pub(crate) struct Held {
    pub(crate) of: &'static str,
    pub(crate) before: Sample,
    /// The most of each.
    pub(crate) most: Sample,
    pub(crate) after: Sample,
    /// Seconds from the end of the scene until all but the memory, and at most [`WARM`] connections, was as before.
    pub(crate) settled: Option<f64>,
}

impl Held {
    /// How many connections are kept that weren't there before.
    pub(crate) fn warm(&self) -> usize {
        self.after.footprint.tcp.saturating_sub(self.before.footprint.tcp)
    }
}

/// One that is watched.
pub(crate) struct Watched<'a> {
    name: &'static str,
    /// Connections that it may keep.
    warm: usize,
    look: Box<dyn FnMut() -> Result<Sample> + Send + 'a>,
}

impl<'a> Watched<'a> {
    pub(crate) fn server(server: &'a mut Server) -> Self {
        let look = || Ok(Sample { rss: server.process().memory()?.now, footprint: server.footprint()? });
        Self { name: "server", warm: WARM, look: Box::new(look) }
    }

    pub(crate) fn client(client: &'a mut Client) -> Self {
        let look = || Ok(Sample { rss: client.process().memory()?.now, footprint: client.footprint()? });
        Self { name: "client", warm: 0, look: Box::new(look) }
    }
}

/// Runs a scene, and watches.
pub(crate) fn during<T>(
    parties: Vec<Watched<'_>>,
    scene: impl FnOnce() -> Result<T>,
) -> Result<(T, Vec<Held>)> {
    let mut watched = Vec::new();
    for mut party in parties {
        let before = (party.look)()?;
        watched.push((party, before.clone(), before));
    }
    let over = AtomicBool::new(false);
    let (outcome, watched) = thread::scope(|scope| {
        let watching = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for (party, _, most) in &mut watched {
                    most.raise_to(&(party.look)()?);
                }
                thread::sleep(TICK);
            }
            Ok::<_, anyhow::Error>(watched)
        });
        let outcome = scene();
        over.store(true, Ordering::Relaxed);
        (outcome, watching.join().expect("it does not panic"))
    });
    let ended = Instant::now();
    let held = watched?.into_iter().map(|(party, before, most)| settle(party, before, most, ended));
    Ok((outcome?, held.collect::<Result<_>>()?))
}

fn settle(mut party: Watched<'_>, before: Sample, most: Sample, ended: Instant) -> Result<Held> {
    loop {
        let after = (party.look)()?;
        let back = after.footprint.tcp <= party.warm && cold(&after.footprint) == cold(&before.footprint);
        if back || ended.elapsed() > SETTLED {
            let settled = back.then(|| ended.elapsed().as_secs_f64());
            return Ok(Held { of: party.name, before, most, after, settled });
        }
        thread::sleep(TICK);
    }
}

/// The same without its connections to registries. Each takes a descriptor and a task, and all of them together one
/// more task, which looks for those that have become old.
fn cold(footprint: &Footprint) -> Footprint {
    let mut cold = footprint.clone();
    cold.tcp = 0;
    // They were counted one after the other.
    cold.descriptors = cold.descriptors.saturating_sub(footprint.tcp);
    if let Some(tasks) = cold.counts.get_mut("tasks") {
        *tasks = tasks.saturating_sub(footprint.tcp as u64 + u64::from(footprint.tcp > 0));
    }
    cold
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
