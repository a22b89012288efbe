//! `bench trips --day`: a scripted day of pulls by all engines, and what it costs.
//! Must never repeat a pull that failed: a day has none.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result};
use docxy_tests::{
    hub::{Entry, Site},
    statistics::median,
    table::{Table, number},
};
use serde::Serialize;

use super::{
    Options,
    checker::check,
    gain::Gain,
    plan::{self, Event},
    puller::EngineKind,
    way::Way,
    world::World,
};
use crate::{
    machine::Machine,
    report::{print, progress, write_json},
};

/// The link: what a day costs doesn't depend on it, how long it takes does.
const RTT: Duration = Duration::from_millis(50);

/// What a day has cost.
#[derive(Default, Serialize)]
struct Account {
    pulls: usize,
    /// Seconds of each.
    seconds: Vec<f64>,
    /// Those of something that had just been published. Each has two new manifests: an index, and this platform's.
    new_images: usize,
    /// Update checks, which cost no pull anywhere.
    checks: usize,
    /// `GET`s of manifests: what Docker Hub counts.
    quota: usize,
    manifest_heads: usize,
    token_requests: usize,
    blobs: usize,
    cdn: usize,
    ahead: Gain,
}

/// Plays a day of so many pulls.
pub(super) fn run(options: &Options, way: Way, pulls: u32) -> Result<()> {
    let machine = Machine::this();
    let mut world = World::new(RTT, &options.engine, way)?;
    world.clear_journal()?;
    let mut account = Account::default();
    let mut has: BTreeSet<(EngineKind, String)> = BTreeSet::new();
    let day = plan::day(pulls, &options.engine, options.seed);
    for (number, event) in day.iter().enumerate() {
        let seconds = play(&mut world, event, &mut has, way)
            .with_context(|| format!("pull {number}: {event:?}"))?
            .as_secs_f64();
        progress(&format!("{} of {pulls}: {} {} {seconds:.2} s", number + 1, event.engine, event.repository));
        account.seconds.push(seconds);
        account.new_images += usize::from(event.publish.is_some());
        account.checks += usize::from(way == Way::Tunnel && event.checked.is_some());
    }
    account.pulls = day.len();
    account.count(&world.journal()?);
    account.ahead = Gain::of(&world.client().process().log());
    if let Some(path) = &options.json {
        write_json(path, "day", &machine, &account)?;
    }
    print(&format!("a day of {pulls} pulls {way}, seed {}\n{machine}\n", options.seed))?;
    print(&account.table())
}

fn play(
    world: &mut World,
    event: &Event,
    has: &mut BTreeSet<(EngineKind, String)>,
    way: Way,
) -> Result<Duration> {
    let Event { engine, repository, publish, forgotten, checked } = event;
    let image = format!("docker.io/{repository}:latest");
    if let Some(recipe) = publish {
        world.put(repository, *recipe)?;
    }
    let is_there = !has.insert((*engine, image.clone()));
    if is_there && *forgotten {
        world.remove(*engine, &image)?;
    }
    let taken = world.time(*engine, &image)?;
    if let Some(repository) = checked.as_ref().filter(|_| way == Way::Tunnel) {
        let client = world.client().address();
        check(world.laptop(), client, repository)?;
    }
    Ok(taken)
}

impl Account {
    fn count(&mut self, journal: &[Entry]) {
        let is_manifest = |entry: &&Entry| entry.path.contains("/manifests/");
        let by = |method: &'static str| move |entry: &&Entry| entry.method == method;
        let at = |site: Site| journal.iter().filter(move |entry| entry.site == site);
        self.quota = at(Site::Registry).filter(is_manifest).filter(by("GET")).count();
        self.manifest_heads = at(Site::Registry).filter(is_manifest).filter(by("HEAD")).count();
        self.blobs = at(Site::Registry).filter(|entry| entry.path.contains("/blobs/")).count();
        self.token_requests = at(Site::Auth).count();
        self.cdn = at(Site::Cdn).count();
    }

    fn table(&self) -> Table {
        let Gain { items, bytes, in_vain, bytes_in_vain } = &self.ahead;
        let mut table = Table::new(&["what", "in all", "a pull"]);
        let mut row = |what: &str, count: f64, decimals| {
            let each = count / self.pulls as f64;
            table.row([what.to_owned(), number(count, decimals), number(each, 2)]);
        };
        row("new images, of two manifests each", self.new_images as f64, 0);
        row("quota spent (GETs of manifests)", self.quota as f64, 0);
        row("HEADs of manifests, which are free", self.manifest_heads as f64, 0);
        row("token requests", self.token_requests as f64, 0);
        row("blobs at the registry", self.blobs as f64, 0);
        row("blobs at the CDN", self.cdn as f64, 0);
        row("update checks", self.checks as f64, 0);
        row("items that came ahead", *items as f64, 0);
        row("  KiB", *bytes as f64 / 1024.0, 1);
        row("of them in vain: not asked for", in_vain.len() as f64, 0);
        row("  KiB", *bytes_in_vain as f64 / 1024.0, 1);
        table.row([
            "median pull, ms".to_owned(),
            String::new(),
            number(1e3 * median(self.seconds.iter().copied()), 0),
        ]);
        table
    }
}
