//! How each fault is done: what is armed before the pull, what happens in its middle, and by what it shows afterwards
//! that it did.
//! Must never do more than the fault says.

use std::{net::Ipv4Addr, thread, time::Duration};

use anyhow::{Result, ensure};

use super::{
    Fault,
    turn::{PULL, Turn},
};
use crate::{
    hub::{self, Rule, Site},
    process::Process,
    wan::{Loss, Rate, Way},
};

/// The laptop's second address.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 77);

/// A server is given 30 s to finish what runs, and a little to end.
const DRAINED: Duration = Duration::from_secs(45);

/// A rate at which nothing large is finished within that.
const SLOW: Rate = Rate::mbit(10);

/// Tells the stand-in what shall go wrong at its side.
pub(super) fn arm(turn: &Turn<'_>) -> Result<()> {
    let (layer, _) = &turn.content.layers[turn.plan.layer];
    let [byte, ..] = turn.plan.bytes;
    let cut = |byte| Rule::once(hub::Fault::CutAt { byte });
    let rules = match turn.fault {
        Fault::CdnCut => turn.plan.bytes.map(cut).to_vec(),
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
    rules.into_iter().try_for_each(|rule| turn.stage.hub.arm(&rule.on(layer.hex())))
}

/// Whether anything happens to the link, the processes or the tokens in the middle of a pull.
pub(super) fn is_sudden(fault: Fault) -> bool {
    use Fault::{CdnCut, CdnStall, ExpiredUrl, None, Registry503};
    !matches!(fault, None | CdnCut | CdnStall | ExpiredUrl | Registry503)
}

/// Lets it happen, and returns the pull that must succeed.
pub(super) fn strike(turn: &mut Turn<'_>, mut pull: Process) -> Result<Process> {
    let hasty = turn.stage.options.hasty;
    let (away, outage) = if hasty { (2, 5) } else { (10, 30) };
    match turn.fault {
        Fault::ServerKilled => {
            turn.server.process().kill()?;
            thread::sleep(Duration::from_secs(away));
            turn.server.start_again()?;
        }
        Fault::Outage => turn.wan.outage(Duration::from_secs(outage)),
        Fault::NewAddress => turn.wan.move_left(ELSEWHERE)?,
        Fault::NewPortOnly => turn.wan.block_udp_flows(),
        Fault::ExpiredToken => turn.stage.hub.revoke_tokens()?,
        Fault::Loss => turn.wan.change(|link| {
            link.each_way().into_iter().for_each(|way| way.loss = Loss::Random { share: 0.1 });
        }),
        Fault::Cancel => {
            // Not SIGINT: who was started in the background ignores it, and docker with it.
            pull.signal("TERM")?;
            pull.wait_until_ended(PULL)?;
            // How it ended says nothing: podman ends well when it is told to.
            ensure!(!turn.has_pulled(), "the pull was over before it was interrupted");
            pull = turn.pull()?;
        }
        Fault::Drain => {
            let before = turn.wan.link();
            if turn.plan.slow {
                turn.wan.change(|link| link.each_way().into_iter().for_each(|way| way.rate = Some(SLOW)));
            }
            turn.server.process().signal("TERM")?;
            let status = turn.server.process().wait_until_ended(DRAINED)?;
            ensure!(status.success(), "the server that was told to end did so with {status}");
            turn.server.start_again()?;
            turn.wan.change(|link| *link = before);
        }
        Fault::None | Fault::CdnCut | Fault::CdnStall | Fault::ExpiredUrl | Fault::Registry503 => {}
    }
    Ok(pull)
}

/// Fails unless it really happened: a pull that nothing befell proves nothing.
pub(super) fn assert_struck(turn: &mut Turn<'_>) -> Result<()> {
    let armed = turn.stage.hub.armed()?;
    ensure!(armed.is_empty(), "this was never met: {armed:?}");
    let dropped = turn.wan.counters(Way::RightToLeft).dropped;
    let packets = match turn.fault {
        Fault::Outage => dropped.outage,
        Fault::NewPortOnly => dropped.flow_blocked,
        Fault::Loss => dropped.lost,
        Fault::ExpiredToken => {
            let log = turn.client.process().log();
            ensure!(log.contains("a token that has expired was renewed"), "no token was renewed");
            return Ok(());
        }
        _ => return Ok(()),
    };
    ensure!(packets.packets > 0, "the link dropped nothing");
    Ok(())
}
