//! The scenarios: what can happen on a link, and what is worth knowing of a contender when it does.
//! Must never look into a contender: only what its reader got and what the link saw counts.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use docxy_tests::wan::{Link, NamedLink, Rate, ladder};

use super::{
    LINKS,
    figure::Figure,
    result::Outcome,
    scenario::{STEADY, Scenario, Stage, cost},
};
use crate::{
    contender::{Contender as _, Tcp},
    peer::Appetite,
};

/// When the link changes, in seconds from the request: long after the start is over.
const EVENT: f64 = 8.0;

/// How long the link is out in an outage.
const OUTAGE: f64 = 3.0;

/// Share of what is possible that counts as full rate again. Less than what is reached in the long run, so that a lost
/// packet in the wrong place isn't told as a slow recovery.
const FULL: f64 = 0.9;

/// Payload's share of the link's rate at best: headers take the rest.
const CEILING: f64 = 0.96;

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "plain", story: "nothing happens", links: &LINKS, play: plain },
    Scenario {
        name: "idle",
        story: "a second pull after a minute without any",
        links: &[ladder::TRANSPACIFIC, ladder::TRANSPACIFIC_5],
        play: idle,
    },
    Scenario {
        name: "outage",
        story: "nothing gets through for 3 s",
        links: &[ladder::TRANSPACIFIC, ladder::TRANSPACIFIC_5],
        play: outage,
    },
    Scenario { name: "halved", story: "the rate is halved", links: CHANGING, play: halved },
    Scenario { name: "doubled", story: "the rate is doubled", links: CHANGING, play: doubled },
    Scenario { name: "longer", story: "the round trip is doubled", links: CHANGING, play: longer },
    Scenario {
        name: "stopped-reader",
        story: "the reader stops reading for 10 s",
        links: &[ladder::TRANSPACIFIC, ladder::FAT_TRANSPACIFIC_5],
        play: stopped_reader,
    },
    Scenario { name: "beside-bbr", story: "a TCP BBR flow was there first", links: SHARED, play: beside_bbr },
    Scenario {
        name: "beside-cubic",
        story: "a TCP Cubic flow was there first",
        links: SHARED,
        play: beside_cubic,
    },
];

const CHANGING: &[NamedLink] = &[ladder::TRANSPACIFIC];
const SHARED: &[NamedLink] = &[ladder::CONTINENTAL];

/// The scenario of this name.
pub(super) fn find(name: &str) -> Result<&'static Scenario> {
    let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
    found.with_context(|| format!("no scenario {name:?}; --help has them"))
}

/// All scenarios, for `--help`.
pub(super) fn help() -> String {
    let line = |scenario: &Scenario| {
        let links: Vec<_> = scenario.links.iter().map(|link| link.name).collect();
        format!("  {:15} {} ({})\n", scenario.name, scenario.story, links.join(", "))
    };
    format!(
        "Scenarios, and the links on which they are played if none is named:\n{}",
        SCENARIOS.iter().map(line).collect::<String>()
    )
}

fn plain(stage: &Stage<'_>) -> Result<Outcome> {
    let running = stage.start()?;
    let before = stage.counters()?;
    let measured = running.measure(&stage.appetite())?;
    let (cold, steady) = (stage.cold(&measured), measured.reading.goodput(STEADY, stage.seconds));
    let mut figures = vec![
        Figure::new("cold Mbit/s", cold / 1e6, 1),
        Figure::percent("%", stage.share(cold)),
        Figure::new("steady Mbit/s", steady / 1e6, 1),
        Figure::percent("steady %", stage.share(steady)),
        Figure::percent("lost %", stage.lost_since(before)?),
    ];
    figures.extend(stage.small(&measured));
    figures.extend(cost(&measured));
    Ok(Outcome::new(figures, vec![measured]))
}

fn idle(stage: &Stage<'_>) -> Result<Outcome> {
    const IDLE: Duration = Duration::from_secs(60);
    let running = stage.start()?;
    let first = running.measure(&stage.appetite())?;
    thread::sleep(IDLE);
    let before = stage.counters()?;
    let second = running.measure(&stage.appetite())?;
    let figures = vec![
        Figure::percent("first, cold %", stage.share(stage.cold(&first))),
        Figure::percent("second, first 12 s %", stage.share(stage.cold(&second))),
        Figure::percent("lost %", stage.lost_since(before)?),
    ];
    Ok(Outcome::new(figures, vec![first, second]))
}

fn outage(stage: &Stage<'_>) -> Result<Outcome> {
    let full = FULL * CEILING * rate(&stage.link);
    changed(stage, EVENT + OUTAGE, full, |stage| stage.wan.outage(Duration::from_secs_f64(OUTAGE)))
}

fn halved(stage: &Stage<'_>) -> Result<Outcome> {
    rate_changed(stage, 0.5)
}

fn doubled(stage: &Stage<'_>) -> Result<Outcome> {
    rate_changed(stage, 2.0)
}

fn rate_changed(stage: &Stage<'_>, factor: f64) -> Result<Outcome> {
    let changed_rate = Rate::new((rate(&stage.link) * factor) as u64);
    let full = FULL * CEILING * rate(&stage.link) * factor;
    changed(stage, EVENT, full, |stage| {
        stage.wan.change(|link| link.each_way().into_iter().for_each(|way| way.rate = changed_rate));
    })
}

fn longer(stage: &Stage<'_>) -> Result<Outcome> {
    let full = FULL * CEILING * rate(&stage.link);
    changed(stage, EVENT, full, |stage| {
        stage.wan.change(|link| link.each_way().into_iter().for_each(|way| way.delay *= 2));
    })
}

/// A transfer during which the link changes; from second `over` on, `full` bits per second are possible.
fn changed(stage: &Stage<'_>, over: f64, full: f64, change: impl FnOnce(&Stage<'_>)) -> Result<Outcome> {
    let running = stage.start()?;
    let appetite = stage.appetite();
    let transfer = running.begin(&appetite)?;
    sleep_until(transfer.begun + Duration::from_secs_f64(EVENT));
    let before = stage.counters()?;
    change(stage);
    let measured = running.finish(transfer)?;
    let reading = &measured.reading;
    let worst = reading.worst_second(over, stage.seconds).map_or(f64::NAN, |(_, least)| least);
    let figures = vec![
        Figure::percent("before %", stage.share(reading.goodput(STEADY, EVENT))),
        Figure::seconds("full again after s", reading.recovery(over, stage.seconds, full)),
        Figure::percent(
            "since then, of what is possible %",
            reading.goodput(over, stage.seconds) / (full / FULL),
        ),
        Figure::new("worst second Mbit/s", worst / 1e6, 1),
        Figure::percent("lost %", stage.lost_since(before)?),
    ];
    Ok(Outcome::new(figures, vec![measured]))
}

fn stopped_reader(stage: &Stage<'_>) -> Result<Outcome> {
    const STOPPED: f64 = 10.0;
    let running = stage.start()?;
    let appetite =
        Appetite { pause_at: EVENT, pause_for: STOPPED, seconds: EVENT + STOPPED, ..stage.appetite() };
    let transfer = running.begin(&appetite)?;
    sleep_until(transfer.begun + Duration::from_secs_f64(EVENT + STOPPED / 2.0));
    let early = stage.counters()?.offered.bytes;
    sleep_until(transfer.begun + Duration::from_secs_f64(EVENT + STOPPED - 1.0));
    let late = stage.counters()?.offered.bytes;
    let measured = running.finish(transfer)?;
    let mut figures = vec![
        Figure::percent("before %", stage.share(measured.reading.goodput(STEADY, EVENT))),
        Figure::new("still sent KB/s", (late - early) as f64 / (STOPPED / 2.0 - 1.0) / 1e3, 1),
    ];
    figures.extend(stage.small(&measured));
    figures.extend(cost(&measured));
    Ok(Outcome::new(figures, vec![measured]))
}

fn beside_bbr(stage: &Stage<'_>) -> Result<Outcome> {
    beside(stage, &Tcp::BBR)
}

fn beside_cubic(stage: &Stage<'_>) -> Result<Outcome> {
    beside(stage, &Tcp::CUBIC)
}

/// A transfer on a link that another flow fills already.
fn beside(stage: &Stage<'_>, other: &Tcp) -> Result<Outcome> {
    /// The other's head start in seconds.
    const AHEAD: f64 = 5.0;
    let theirs = other.start(&stage.place)?;
    let ours = stage.start()?;
    let their_transfer = theirs.begin(&Appetite::seconds(AHEAD + stage.seconds + STEADY))?;
    sleep_until(their_transfer.begun + Duration::from_secs_f64(AHEAD));
    let our_transfer = ours.begin(&stage.appetite())?;
    let lead = (our_transfer.begun - their_transfer.begun).as_secs_f64();
    let measured = ours.finish(our_transfer)?;
    let others = theirs.finish(their_transfer)?;
    let kept = others.reading.goodput(lead + STEADY, lead + stage.seconds);
    let taken = measured.reading.goodput(STEADY, stage.seconds);
    let figures = vec![
        Figure::percent("other alone %", stage.share(others.reading.goodput(lead - 2.0, lead))),
        Figure::percent("other keeps %", stage.share(kept)),
        Figure::percent("this one gets %", stage.share(taken)),
    ];
    Ok(Outcome::new(figures, vec![measured, others]))
}

fn rate(link: &Link) -> f64 {
    link.right_to_left.rate.map_or(f64::INFINITY, |rate| rate.bits_per_second() as f64)
}

fn sleep_until(instant: Instant) {
    thread::sleep(instant.saturating_duration_since(Instant::now()));
}
