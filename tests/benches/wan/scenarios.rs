//! The scenarios: what happens on a link, and the metrics of it.
//! Must never look into a subject: only its reader and the link are measured.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use docxy_tests::wan::{Link, LinkPreset, Rate, presets};

use super::{
    DEFAULT_LINKS, bodies,
    metric::Metric,
    results::Outcome,
    scenario::{STEADY_AFTER_SECONDS, Scenario, ScenarioContext, cost},
    two_servers,
};
use crate::{
    peer::TransferPlan,
    subject::{Subject as _, Tcp},
};

/// When the link changes, in seconds from the request: long after the start of the transfer.
const EVENT_AT_SECONDS: f64 = 8.0;

/// Duration of the outage.
const OUTAGE_SECONDS: f64 = 3.0;

/// The share of the possible rate that counts as recovered. It is less than the steady rate, so that a single lost
/// packet does not look like a slow recovery.
const RECOVERED_SHARE: f64 = 0.9;

/// The maximum share of payload in the link's rate; headers take the rest.
const PAYLOAD_SHARE_MAX: f64 = 0.96;

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "plain", description: "nothing happens", links: &DEFAULT_LINKS, run: plain },
    Scenario {
        name: "idle",
        description: "a second pull after an idle minute",
        links: &[presets::TRANSPACIFIC, presets::TRANSPACIFIC_5],
        run: idle,
    },
    Scenario {
        name: "outage",
        description: "all packets are dropped for 3 s",
        links: &[presets::TRANSPACIFIC, presets::TRANSPACIFIC_5],
        run: outage,
    },
    Scenario { name: "halved", description: "the rate is halved", links: LINKS_FOR_CHANGES, run: halved },
    Scenario { name: "doubled", description: "the rate is doubled", links: LINKS_FOR_CHANGES, run: doubled },
    Scenario {
        name: "longer",
        description: "the round trip is doubled",
        links: LINKS_FOR_CHANGES,
        run: longer,
    },
    Scenario {
        name: "stopped-reader",
        description: "the reader stops reading for 10 s",
        links: &[presets::TRANSPACIFIC, presets::FAT_TRANSPACIFIC_5],
        run: stopped_reader,
    },
    Scenario {
        name: "cancel",
        description: "a pull is cancelled; nothing follows, or the next pull at once",
        links: LINKS_FOR_BODIES,
        run: bodies::cancel,
    },
    Scenario {
        name: "second-body",
        description: "a second body begins beside a running one, then two more",
        links: LINKS_FOR_BODIES,
        run: bodies::second_body,
    },
    Scenario {
        name: "two-servers",
        description: "four bodies from one server, then from two; only with --only ours",
        links: &[presets::TRANSPACIFIC_50M],
        run: two_servers::two_servers,
    },
    Scenario {
        name: "beside-bbr",
        description: "a TCP BBR flow started first",
        links: LINKS_FOR_FAIRNESS,
        run: beside_bbr,
    },
    Scenario {
        name: "beside-cubic",
        description: "a TCP Cubic flow started first",
        links: LINKS_FOR_FAIRNESS,
        run: beside_cubic,
    },
];

const LINKS_FOR_CHANGES: &[LinkPreset] = &[presets::TRANSPACIFIC];
const LINKS_FOR_BODIES: &[LinkPreset] =
    &[presets::TRANSPACIFIC_5M, presets::TRANSPACIFIC_20M, presets::TRANSPACIFIC];
const LINKS_FOR_FAIRNESS: &[LinkPreset] = &[presets::CONTINENTAL];

/// The scenario with this name.
pub(super) fn find(name: &str) -> Result<&'static Scenario> {
    let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
    found.with_context(|| format!("no scenario {name:?}; see --help"))
}

/// All scenarios, for `--help`.
pub(super) fn help() -> String {
    let line = |scenario: &Scenario| {
        let links: Vec<_> = scenario.links.iter().map(|link| link.name).collect();
        format!("  {:15} {} ({})\n", scenario.name, scenario.description, links.join(", "))
    };
    format!("Scenarios, and their default links:\n{}", SCENARIOS.iter().map(line).collect::<String>())
}

fn plain(context: &ScenarioContext<'_>) -> Result<Outcome> {
    let running = context.start()?;
    let before = context.counters()?;
    let measured = running.measure(&context.plan())?;
    let (cold, steady) =
        (context.cold(&measured), measured.report.goodput(STEADY_AFTER_SECONDS, context.seconds));
    let mut metrics = vec![
        Metric::new("cold Mbit/s", cold / 1e6, 1),
        Metric::percent("%", context.share(cold)),
        Metric::new("steady Mbit/s", steady / 1e6, 1),
        Metric::percent("steady %", context.share(steady)),
        Metric::percent("lost %", context.lost_since(before)?),
    ];
    metrics.extend(context.small(&measured));
    metrics.extend(cost(&measured));
    Ok(Outcome::new(metrics, vec![measured]))
}

fn idle(context: &ScenarioContext<'_>) -> Result<Outcome> {
    const IDLE_PERIOD: Duration = Duration::from_secs(60);
    let running = context.start()?;
    let first = running.measure(&context.plan())?;
    thread::sleep(IDLE_PERIOD);
    let before = context.counters()?;
    let second = running.measure(&context.plan())?;
    let metrics = vec![
        Metric::percent("first, cold %", context.share(context.cold(&first))),
        Metric::percent("second, first 12 s %", context.share(context.cold(&second))),
        Metric::percent("lost %", context.lost_since(before)?),
    ];
    Ok(Outcome::new(metrics, vec![first, second]))
}

fn outage(context: &ScenarioContext<'_>) -> Result<Outcome> {
    let full = RECOVERED_SHARE * PAYLOAD_SHARE_MAX * rate(&context.link);
    changed(context, EVENT_AT_SECONDS + OUTAGE_SECONDS, full, |context| {
        context.wan.outage(Duration::from_secs_f64(OUTAGE_SECONDS))
    })
}

fn halved(context: &ScenarioContext<'_>) -> Result<Outcome> {
    rate_changed(context, 0.5)
}

fn doubled(context: &ScenarioContext<'_>) -> Result<Outcome> {
    rate_changed(context, 2.0)
}

fn rate_changed(context: &ScenarioContext<'_>, factor: f64) -> Result<Outcome> {
    let changed_rate = Rate::new((rate(&context.link) * factor) as u64);
    let full = RECOVERED_SHARE * PAYLOAD_SHARE_MAX * rate(&context.link) * factor;
    changed(context, EVENT_AT_SECONDS, full, |context| {
        context
            .wan
            .change(|link| link.both_mut().into_iter().for_each(|direction| direction.rate = changed_rate));
    })
}

fn longer(context: &ScenarioContext<'_>) -> Result<Outcome> {
    let full = RECOVERED_SHARE * PAYLOAD_SHARE_MAX * rate(&context.link);
    changed(context, EVENT_AT_SECONDS, full, |context| {
        context.wan.change(|link| link.both_mut().into_iter().for_each(|direction| direction.delay *= 2));
    })
}

/// A transfer during which the link changes. From second `over` on, `full` bits per second are the recovered rate.
fn changed(
    context: &ScenarioContext<'_>,
    over: f64,
    full: f64,
    change: impl FnOnce(&ScenarioContext<'_>),
) -> Result<Outcome> {
    let running = context.start()?;
    let plan = context.plan();
    let transfer = running.start_transfer(&plan)?;
    sleep_until(transfer.started + Duration::from_secs_f64(EVENT_AT_SECONDS));
    let before = context.counters()?;
    change(context);
    let measured = running.finish(transfer)?;
    let report = &measured.report;
    let worst = report.worst_second(over, context.seconds).map_or(f64::NAN, |(_, lowest)| lowest);
    let metrics = vec![
        Metric::percent("before %", context.share(report.goodput(STEADY_AFTER_SECONDS, EVENT_AT_SECONDS))),
        Metric::seconds("full again after s", report.recovery(over, context.seconds, full)),
        Metric::percent(
            "since then, of what is possible %",
            report.goodput(over, context.seconds) / (full / RECOVERED_SHARE),
        ),
        Metric::new("worst second Mbit/s", worst / 1e6, 1),
        Metric::percent("lost %", context.lost_since(before)?),
    ];
    Ok(Outcome::new(metrics, vec![measured]))
}

fn stopped_reader(context: &ScenarioContext<'_>) -> Result<Outcome> {
    const PAUSE_SECONDS: f64 = 10.0;
    let running = context.start()?;
    let plan = TransferPlan {
        pause_at: EVENT_AT_SECONDS,
        pause_for: PAUSE_SECONDS,
        seconds: EVENT_AT_SECONDS + PAUSE_SECONDS,
        ..context.plan()
    };
    let transfer = running.start_transfer(&plan)?;
    sleep_until(transfer.started + Duration::from_secs_f64(EVENT_AT_SECONDS + PAUSE_SECONDS / 2.0));
    let early = context.counters()?.offered.bytes;
    sleep_until(transfer.started + Duration::from_secs_f64(EVENT_AT_SECONDS + PAUSE_SECONDS - 1.0));
    let late = context.counters()?.offered.bytes;
    let measured = running.finish(transfer)?;
    let mut metrics = vec![
        Metric::percent(
            "before %",
            context.share(measured.report.goodput(STEADY_AFTER_SECONDS, EVENT_AT_SECONDS)),
        ),
        Metric::new("still sent KB/s", (late - early) as f64 / (PAUSE_SECONDS / 2.0 - 1.0) / 1e3, 1),
    ];
    metrics.extend(context.small(&measured));
    metrics.extend(cost(&measured));
    Ok(Outcome::new(metrics, vec![measured]))
}

fn beside_bbr(context: &ScenarioContext<'_>) -> Result<Outcome> {
    beside(context, &Tcp::BBR)
}

fn beside_cubic(context: &ScenarioContext<'_>) -> Result<Outcome> {
    beside(context, &Tcp::CUBIC)
}

/// A transfer on a link that another flow already fills.
fn beside(context: &ScenarioContext<'_>, other: &Tcp) -> Result<Outcome> {
    /// The other flow's head start.
    const HEAD_START_SECONDS: f64 = 5.0;
    let theirs = other.start(&context.topology)?;
    let ours = context.start()?;
    let their_transfer = theirs.start_transfer(&TransferPlan::seconds(
        HEAD_START_SECONDS + context.seconds + STEADY_AFTER_SECONDS,
    ))?;
    sleep_until(their_transfer.started + Duration::from_secs_f64(HEAD_START_SECONDS));
    let our_transfer = ours.start_transfer(&context.plan())?;
    let lead = (our_transfer.started - their_transfer.started).as_secs_f64();
    let measured = ours.finish(our_transfer)?;
    let others = theirs.finish(their_transfer)?;
    let other_rate = others.report.goodput(lead + STEADY_AFTER_SECONDS, lead + context.seconds);
    let own_rate = measured.report.goodput(STEADY_AFTER_SECONDS, context.seconds);
    let metrics = vec![
        Metric::percent("other alone %", context.share(others.report.goodput(lead - 2.0, lead))),
        Metric::percent("other gets %", context.share(other_rate)),
        Metric::percent("this one gets %", context.share(own_rate)),
    ];
    Ok(Outcome::new(metrics, vec![measured, others]))
}

pub(super) fn rate(link: &Link) -> f64 {
    link.right_to_left.rate.map_or(f64::INFINITY, |rate| rate.bits_per_second() as f64)
}

pub(super) fn sleep_until(instant: Instant) {
    thread::sleep(instant.saturating_duration_since(Instant::now()));
}
