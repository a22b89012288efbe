//! How each fault is done: what is armed before the pull, what happens in its middle, and by what it shows afterwards
//! that it did.
//! Must never do more than the fault says.

use std::{net::Ipv4Addr, thread, time::Duration};

use anyhow::{Result, ensure};

use super::{
    Fault,
    run::{FaultRun, PULL_TIMEOUT},
};
use crate::{
    hub::{self, Rule, Site},
    process::Process,
    wan::{Direction, Loss, Rate},
};

/// The laptop's second address.
const NEW_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 77);

/// A server is given 30 s to finish what runs, and a little to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(45);

/// A rate at which nothing large is finished within that.
const SLOW_RATE: Rate = Rate::mbit(10);

/// Tells the stand-in what shall go wrong at its side.
pub(super) fn arm(run: &FaultRun<'_>) -> Result<()> {
    let (layer, _) = &run.content.layers[run.plan.layer];
    let [byte, ..] = run.plan.bytes;
    let cut = |byte| Rule::once(hub::Fault::CutAt { byte });
    let rules = match run.fault {
        Fault::CdnCut => run.plan.bytes.map(cut).to_vec(),
        Fault::CdnStall => vec![Rule::once(hub::Fault::StallAt { byte })],
        Fault::ExpiredToken => vec![cut(byte)],
        // The layer's first request goes well, or there would be no middle of it.
        Fault::ExpiredUrl => vec![cut(byte), Rule::once(hub::Fault::ExpiredUrl).after(1)],
        Fault::Registry503 => {
            let unavailable = hub::Fault::Status { site: Site::Registry, status: 503, retry_after: None };
            vec![cut(byte), Rule::times(unavailable, 2).after(1)]
        }
        _ => Vec::new(),
    };
    rules.into_iter().try_for_each(|rule| run.testbed.hub.arm(&rule.on(layer.hex())))
}

/// Whether anything happens to the link, the processes or the tokens in the middle of a pull.
pub(super) fn is_mid_pull(fault: Fault) -> bool {
    use Fault::{CdnCut, CdnStall, ExpiredUrl, None, Registry503};
    !matches!(fault, None | CdnCut | CdnStall | ExpiredUrl | Registry503)
}

/// Lets it happen, and returns the pull that must succeed.
pub(super) fn inject(run: &mut FaultRun<'_>, mut pull: Process) -> Result<Process> {
    let short_delays = run.testbed.options.short_delays;
    let (away, outage) = if short_delays { (2, 5) } else { (10, 30) };
    match run.fault {
        Fault::ServerKilled => {
            run.server.process().kill()?;
            thread::sleep(Duration::from_secs(away));
            run.server.start_again()?;
        }
        Fault::Outage => run.wan.outage(Duration::from_secs(outage)),
        Fault::NewAddress => run.wan.set_left_address(NEW_ADDRESS)?,
        Fault::NewPortOnly => run.wan.block_udp_flows(),
        Fault::ExpiredToken => run.testbed.hub.revoke_tokens()?,
        Fault::Loss => run.wan.change(|link| {
            link.both_mut().into_iter().for_each(|way| way.loss = Loss::Random { share: 0.1 });
        }),
        Fault::Cancel => {
            // Not SIGINT: who was started in the background ignores it, and docker with it.
            pull.signal("TERM")?;
            pull.wait_until_ended(PULL_TIMEOUT)?;
            // How it ended says nothing: podman ends well when it is told to.
            ensure!(!run.has_pulled(), "the pull was over before it was interrupted");
            pull = run.pull()?;
        }
        Fault::Drain => {
            let before = run.wan.link();
            if run.plan.slow {
                run.wan.change(|link| link.both_mut().into_iter().for_each(|way| way.rate = Some(SLOW_RATE)));
            }
            run.server.process().signal("TERM")?;
            let status = run.server.process().wait_until_ended(DRAIN_TIMEOUT)?;
            ensure!(status.success(), "the server that was told to end did so with {status}");
            run.server.start_again()?;
            run.wan.change(|link| *link = before);
        }
        Fault::None | Fault::CdnCut | Fault::CdnStall | Fault::ExpiredUrl | Fault::Registry503 => {}
    }
    Ok(pull)
}

/// Fails unless it really happened: a pull that nothing befell proves nothing.
pub(super) fn ensure_injected(run: &mut FaultRun<'_>) -> Result<()> {
    let armed = run.testbed.hub.armed()?;
    ensure!(armed.is_empty(), "this was never met: {armed:?}");
    let dropped = run.wan.counters(Direction::RightToLeft).dropped;
    let packets = match run.fault {
        Fault::Outage => dropped.outage,
        Fault::NewPortOnly => dropped.flow_blocked,
        Fault::Loss => dropped.lost,
        Fault::ExpiredToken => {
            let log = run.client.process().log();
            ensure!(log.contains("a token that has expired was renewed"), "no token was renewed");
            return Ok(());
        }
        _ => return Ok(()),
    };
    ensure!(packets.packets > 0, "the link dropped nothing");
    Ok(())
}
