//! `bench trips --day`: a scripted day of pulls by all engines, and its cost.
//! Must never repeat a failed pull: on a real day it counts.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result};
use docxy_tests::{
    statistics::median,
    table::{Table, number},
};
use hub_stand_in::{LoggedRequest, Site};
use serde::Serialize;

use super::{
    Options,
    engine::EngineKind,
    prefetch_usage::PrefetchUsage,
    route::Route,
    testbed::Testbed,
    update_checker::check,
    workload::{self, PullEvent},
};
use crate::{
    report::machine::Machine,
    report::output::{print, progress, write_json},
};

/// The link's round-trip time, which affects the duration of a day but not its cost.
const RTT: Duration = Duration::from_millis(50);

/// The totals of a day.
#[derive(Default, Serialize)]
struct DayTotals {
    pulls: usize,
    /// The duration of each pull in seconds.
    seconds: Vec<f64>,
    /// Pulls of an image that was published just before. Each has two new manifests: an index, and this platform's
    /// manifest.
    new_images: usize,
    /// Update checks, which do not count as pulls.
    checks: usize,
    /// `GET`s of manifests, which count against Docker Hub's limit.
    quota: usize,
    manifest_heads: usize,
    token_requests: usize,
    blobs: usize,
    cdn: usize,
    prefetch: PrefetchUsage,
}

/// Runs a day with this number of pulls.
pub(super) fn run(options: &Options, route: Route, pulls: u32) -> Result<()> {
    let machine = Machine::this();
    let mut testbed = Testbed::new(RTT, options, route)?;
    testbed.clear_request_log()?;
    let mut totals = DayTotals::default();
    let mut present: BTreeSet<(EngineKind, String)> = BTreeSet::new();
    let day = workload::generate(pulls, &options.engine, options.seed);
    for (number, event) in day.iter().enumerate() {
        let seconds = run_event(&mut testbed, event, &mut present, route)
            .with_context(|| format!("pull {number}: {event:?}"))?
            .as_secs_f64();
        progress(&format!("{} of {pulls}: {} {} {seconds:.2} s", number + 1, event.engine, event.repository));
        totals.seconds.push(seconds);
        totals.new_images += usize::from(event.publish.is_some());
        totals.checks += usize::from(route == Route::Tunnel && event.checked.is_some());
    }
    totals.pulls = day.len();
    totals.count(&testbed.request_log()?);
    totals.prefetch = PrefetchUsage::of(testbed.client())?;
    if let Some(path) = &options.json {
        write_json(path, "day", &machine, &totals)?;
    }
    print(&format!("a day of {pulls} pulls {route}, seed {}\n{machine}\n", options.seed))?;
    print(&totals.table())
}

fn run_event(
    testbed: &mut Testbed,
    event: &PullEvent,
    present: &mut BTreeSet<(EngineKind, String)>,
    route: Route,
) -> Result<Duration> {
    let PullEvent { engine, repository, publish, remove_first, checked } = event;
    let image = format!("docker.io/{repository}:latest");
    if let Some(image_spec) = publish {
        testbed.publish_as(repository, *image_spec)?;
    }
    let is_present = !present.insert((*engine, image.clone()));
    if is_present && *remove_first {
        testbed.remove(*engine, &image)?;
    }
    let taken = testbed.time(*engine, &image)?;
    if let Some(repository) = checked.as_ref().filter(|_| route == Route::Tunnel) {
        let client = testbed.client().address();
        check(testbed.laptop(), client, repository)?;
    }
    Ok(taken)
}

impl DayTotals {
    fn count(&mut self, requests: &[LoggedRequest]) {
        let is_manifest = |entry: &&LoggedRequest| entry.path.contains("/manifests/");
        let by = |method: &'static str| move |entry: &&LoggedRequest| entry.method == method;
        let at = |site: Site| requests.iter().filter(move |entry| entry.site == site);
        self.quota = at(Site::Registry).filter(is_manifest).filter(by("GET")).count();
        self.manifest_heads = at(Site::Registry).filter(is_manifest).filter(by("HEAD")).count();
        self.blobs = at(Site::Registry).filter(|entry| entry.path.contains("/blobs/")).count();
        self.token_requests = at(Site::Auth).count();
        self.cdn = at(Site::Cdn).count();
    }

    fn table(&self) -> Table {
        let PrefetchUsage { items, bytes, unused_items, unused_bytes } = &self.prefetch;
        let mut table = Table::new(&["what", "total", "per pull"]);
        let mut row = |what: &str, count: f64, decimals| {
            let each = count / self.pulls as f64;
            table.row([what.to_owned(), number(count, decimals), number(each, 2)]);
        };
        row("new images, of two manifests each", self.new_images as f64, 0);
        row("counted pulls (GETs of manifests)", self.quota as f64, 0);
        row("HEADs of manifests (free)", self.manifest_heads as f64, 0);
        row("token requests", self.token_requests as f64, 0);
        row("blobs at the registry", self.blobs as f64, 0);
        row("blobs at the CDN", self.cdn as f64, 0);
        row("update checks", self.checks as f64, 0);
        row("prefetched items", *items as f64, 0);
        row("  KiB", *bytes as f64 / 1024.0, 1);
        row("of them unused", *unused_items as f64, 0);
        row("  KiB", *unused_bytes as f64 / 1024.0, 1);
        table.row([
            "median pull, ms".to_owned(),
            String::new(),
            number(1e3 * median(self.seconds.iter().copied()), 0),
        ]);
        table
    }
}
