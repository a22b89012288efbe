//! Injects each fault: arms the stand-in before the pull, acts in the middle of the pull, and checks afterwards
//! that the fault happened.
//! Must never do more than the fault's description.

use std::{
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use hub_stand_in::{Rule, Site};

use super::{
    Fault,
    fault_run::{FaultRun, PULL_TIMEOUT},
};

use crate::{
    process::Process,
    wan::{Direction, Loss, Rate},
};

/// The laptop's second address.
const NEW_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 77);

/// A draining server has 30 s for running requests, and needs a little longer to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(45);

/// A server with `--handover` ends within this time.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(2);

/// A pull goes on once this much has crossed the link: more than a handshake and requests.
const CONTINUED_BYTES: u64 = 1 << 20;

/// At this rate no large blob is complete within the drain's 30 s.
const SLOW_RATE: Rate = Rate::mbit(10);

/// Arms the stand-in's part of the fault.
pub(super) fn arm(run: &FaultRun<'_>) -> Result<()> {
    let (layer, _) = &run.content.layers[run.plan.layer];
    let [byte, ..] = run.plan.bytes;
    let cut = |byte| Rule::once(hub_stand_in::Fault::CutAt { byte });
    let rules = match run.fault {
        Fault::CdnCut => run.plan.bytes.map(cut).to_vec(),
        Fault::CdnStall => vec![Rule::once(hub_stand_in::Fault::StallAt { byte })],
        Fault::ExpiredToken => vec![Rule::once(hub_stand_in::Fault::ExpireAt { byte })],
        // The layer's first request succeeds, so that the fault happens in its middle.
        Fault::ExpiredUrl => vec![cut(byte), Rule::once(hub_stand_in::Fault::ExpiredUrl).after(1)],
        Fault::Registry503 => {
            let unavailable =
                hub_stand_in::Fault::Status { site: Site::Registry, status: 503, retry_after: None };
            vec![cut(byte), Rule::times(unavailable, 2).after(1)]
        }
        _ => Vec::new(),
    };
    rules.into_iter().try_for_each(|rule| run.testbed.hub.arm(&rule.on(layer.hex())))
}

/// Whether the fault acts on the link or the processes in the middle of the pull.
pub(super) fn is_mid_pull(fault: Fault) -> bool {
    use Fault::{CdnCut, CdnStall, ExpiredToken, ExpiredUrl, None, Registry503};
    !matches!(fault, None | CdnCut | CdnStall | ExpiredToken | ExpiredUrl | Registry503)
}

/// Injects the fault. Returns the pull that must succeed.
pub(super) fn inject(run: &mut FaultRun<'_>, mut pull: Process) -> Result<Process> {
    let short_delays = run.testbed.options.short_delays;
    let (downtime, outage) = if short_delays { (2, 5) } else { (10, 30) };
    match run.fault {
        Fault::ServerKilled => {
            run.server.process().kill()?;
            thread::sleep(Duration::from_secs(downtime));
            run.server.start_again()?;
        }
        Fault::Outage => run.wan.outage(Duration::from_secs(outage)),
        Fault::NewAddress => run.wan.set_left_address(NEW_ADDRESS)?,
        Fault::NewPortOnly => run.wan.block_flows(),
        Fault::Loss => run.wan.change(|link| {
            link.both_mut().into_iter().for_each(|direction| direction.loss = Loss::Random { share: 0.1 });
        }),
        Fault::Cancel => {
            // Not SIGINT, which a process in the background ignores, docker too.
            pull.signal("TERM")?;
            pull.wait_until_ended(PULL_TIMEOUT)?;
            // The exit status does not matter: podman exits with 0 after SIGTERM.
            ensure!(!run.has_pulled(), "the pull ended before it was interrupted");
            pull = run.pull()?;
        }
        Fault::Drain => {
            let before = run.wan.link();
            if run.plan.slow {
                run.wan.change(|link| {
                    link.both_mut().into_iter().for_each(|direction| direction.rate = Some(SLOW_RATE))
                });
            }
            run.server.process().signal("TERM")?;
            let status = run.server.process().wait_until_ended(DRAIN_TIMEOUT)?;
            ensure!(status.success(), "after SIGTERM the server ended with {status}");
            run.server.start_again()?;
            run.wan.change(|link| *link = before);
        }
        Fault::Restart => {
            for _ in 0..3 {
                let started = Instant::now();
                run.server.process().signal("TERM")?;
                let status = run.server.process().wait_until_ended(HANDOVER_TIMEOUT)?;
                ensure!(status.success(), "after SIGTERM the server ended with {status}");
                let ended = started.elapsed();
                run.server.start_again()?;
                let listening = started.elapsed();
                run.wait_for_bytes(&mut pull, CONTINUED_BYTES)?;
                let continued = started.elapsed();
                println!(
                    "the server ended after {ended:?}, listened after {listening:?}; the pull went on after {continued:?}"
                );
            }
        }
        Fault::None
        | Fault::CdnCut
        | Fault::CdnStall
        | Fault::ExpiredToken
        | Fault::ExpiredUrl
        | Fault::Registry503 => {}
    }
    Ok(pull)
}

/// Fails unless the fault really happened: a pull without its fault proves nothing.
pub(super) fn ensure_injected(run: &mut FaultRun<'_>) -> Result<()> {
    let armed = run.testbed.hub.armed()?;
    ensure!(armed.is_empty(), "these faults never happened: {armed:?}");
    let dropped = run.wan.counters(Direction::RightToLeft).dropped;
    let packets = match run.fault {
        Fault::Outage => dropped.outage,
        Fault::NewPortOnly => dropped.flow_blocked,
        Fault::Loss => dropped.lost,
        Fault::ExpiredToken => {
            ensure!(run.client.count("transfers/tokens_renewed")? > 0, "no token was renewed");
            return Ok(());
        }
        _ => return Ok(()),
    };
    ensure!(packets.packets > 0, "the link dropped no packet");
    Ok(())
}
