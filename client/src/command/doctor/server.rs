//! One server: its name, both legs, the handshake, the Hello, its clock, and 64 KiB each way.
//!
//! Must never hold more than one TCP connection to a server: a running client has others, and networks count them.

use super::{Check, Finding, Subject, Tell, Verdict, registry};
use crate::tunnel::{
    EchoError, JoinedLink, LegChoice, ProbeError, ProbedSession, ProxyChoice, ServerProbe, TunnelConfig,
};
use docxy_protocol::control::CloseCode;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::link::Link;
use docxy_protocol::version::upgrade_server;
use docxy_transport::Leg;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A difference of the clocks that is named. Tokens and certificates are valid for minutes, and logs are compared.
const SKEW_MAX: Duration = Duration::from_secs(120);

/// The hops behind the server.
const AFTER_ECHO: [Check; 4] = [Check::Registry, Check::TokenService, Check::Quota, Check::Cdn];

/// What became of one leg: a session, or how far it came.
type Reached = Result<ProbedSession, ProbeError>;

/// Walks all hops of one server. Returns whether it can be used.
pub(super) async fn walk(
    config: &TunnelConfig,
    joined: &JoinedLink,
    image: &ImageName,
    tell: Tell<'_>,
) -> bool {
    let link = &joined.link;
    let mut found = |check, verdict| {
        tell(Finding { check, subject: Subject::Server(link.address()), verdict });
    };
    let probe = ServerProbe::new(config, joined);
    let (name, is_resolved) = name(&probe, config, link).await;
    found(Check::Name, name);
    let not_tried = |leg| match (&config.leg, &config.proxy) {
        _ if !is_resolved => Some("the server's name has no address"),
        (LegChoice::Only(only), _) if *only != leg => Some("the leg is set to the other one"),
        (_, Some(ProxyChoice::Only(_))) if leg == Leg::Quic => {
            Some("the way is by a proxy, which only TCP can use")
        }
        _ => None,
    };
    let dial = async |leg| -> Reached {
        match not_tried(leg) {
            Some(why) => Err(ProbeError::NotTried(why)),
            None => probe.dial(leg).await,
        }
    };
    let (quic, tcp) = tokio::join!(dial(Leg::Quic), dial(Leg::Tcp));
    found(Check::Udp, reach(Leg::Quic, &quic, &tcp, link));
    found(Check::Tcp, reach(Leg::Tcp, &tcp, &quic, link));
    found(Check::Pin, pin(&quic, &tcp));
    found(Check::Hello, hello(&quic, &tcp, link));
    let (quic, tcp) = (quic.ok(), tcp.ok());
    let sessions: Vec<&ProbedSession> = quic.iter().chain(&tcp).collect();
    let Some(session) = sessions.first() else {
        for check in [Check::Clock, Check::Up, Check::Down].into_iter().chain(AFTER_ECHO) {
            found(check, Verdict::not_tried("there is no session with the server"));
        }
        return false;
    };
    found(Check::Clock, clock(session));
    let ([up, down], carrier) = echo(&sessions).await;
    found(Check::Up, up);
    found(Check::Down, down);
    match carrier {
        Some(carrier) => registry::walk(&carrier.session, image, &mut found).await,
        None => {
            AFTER_ECHO.into_iter().for_each(|check| found(check, Verdict::not_tried("64 KiB do not pass")))
        }
    }
    let is_usable = carrier.is_some();
    for session in quic.into_iter().chain(tcp) {
        session.close().await;
    }
    is_usable
}

/// Whether the name has addresses, and whether there are addresses to dial.
async fn name(probe: &ServerProbe, config: &TunnelConfig, link: &Link) -> (Verdict, bool) {
    if matches!(config.proxy, Some(ProxyChoice::Only(_))) {
        return (Verdict::not_tried("the proxy resolves it"), true);
    }
    match probe.resolve().await {
        Ok(addresses) => {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            (Verdict::Ok(addresses.join(" ")), true)
        }
        Err(error) => {
            let what = format!("{} cannot be resolved: {error}", link.host);
            let what = match probe.last_good() {
                Some(address) => format!("{what}; its last address is used, {address}"),
                None => what,
            };
            let remedy = format!(
                "docxy-server invite {}-2 --public ADDRESS, there; docxy-client join, here",
                link.name
            );
            (Verdict::fault(what, remedy), probe.last_good().is_some())
        }
    }
}

/// Whether the server answers over this leg.
fn reach(leg: Leg, this: &Reached, other: &Reached, link: &Link) -> Verdict {
    let protocol = protocol(leg);
    match this {
        Ok(session) => Verdict::Ok(format!(
            "{} accepts this client after {} ms",
            session.address,
            session.took.as_millis()
        )),
        Err(ProbeError::NotTried(why)) => Verdict::not_tried(why),
        Err(ProbeError::Unreachable(why)) => {
            let is_up = matches!(other, Ok(_) | Err(ProbeError::OtherKey(_) | ProbeError::NotAccepted(..)));
            let remedy = match is_up {
                true => format!(
                    "sudo ufw allow {}/{}, on the server, or the same in its provider's firewall; where this network blocks \
                     {protocol}, pulls go by the other leg",
                    link.ports[0],
                    protocol.to_lowercase()
                ),
                false => "sudo systemctl start docxy-server, on the server".to_owned(),
            };
            Verdict::fault(why, remedy)
        }
        Err(ProbeError::NotAccepted(None, why)) if other.is_ok() => Verdict::fault(
            why,
            format!("set leg in the config file to the other one, since this network filters {protocol}"),
        ),
        Err(ProbeError::OtherKey(_) | ProbeError::NotAccepted(..)) => {
            Verdict::Ok(format!("{protocol} is answered"))
        }
    }
}

/// Whether the server has the key of the link.
fn pin(quic: &Reached, tcp: &Reached) -> Verdict {
    let other_key = [quic, tcp].into_iter().find_map(|leg| match leg {
        Err(ProbeError::OtherKey(why)) => Some(why),
        _ => None,
    });
    let is_shown = |leg: &Reached| match leg {
        Ok(_) => true,
        // With QUIC the handshake itself fails.
        Err(ProbeError::NotAccepted(Some(CloseCode::ServerOutdated | CloseCode::Draining), _)) => false,
        Err(ProbeError::NotAccepted(..)) => true,
        Err(_) => false,
    };
    match other_key {
        Some(why) => Verdict::fault(why, "docxy-client join, with a link of the server that is there now"),
        None if is_shown(quic) || is_shown(tcp) => Verdict::Ok("the server has the key of the link".into()),
        None => Verdict::not_tried("no handshake came so far"),
    }
}

/// Whether the server accepts this client.
fn hello(quic: &Reached, tcp: &Reached, link: &Link) -> Verdict {
    let legs = [quic, tcp];
    if let Some(session) = legs.iter().find_map(|leg| leg.as_ref().ok()) {
        let version = session.session.welcome().map(|(welcome, _)| welcome.version.to_string());
        return Verdict::Ok(format!("as {}; docxy-server {}", link.name, version.unwrap_or_default()));
    }
    let refused = legs.iter().find_map(|leg| match leg {
        Err(ProbeError::NotAccepted(code, why)) => Some((code, why)),
        _ => None,
    });
    let Some((code, why)) = refused else { return Verdict::not_tried("no handshake came so far") };
    match code {
        Some(CloseCode::ServerOutdated) => Verdict::fault(why, upgrade_server(env!("CARGO_PKG_VERSION"))),
        Some(CloseCode::ClientOutdated) => Verdict::fault(why, "upgrade docxy-client"),
        Some(code) if code.is_refusal() => {
            let remedy = format!("docxy-server invite {}, there; docxy-client join, here", link.name);
            Verdict::fault(code.reason(), remedy)
        }
        _ => Verdict::fault(why, "docxy-client doctor, in a minute"),
    }
}

/// Compares this clock with the server's, which it told some milliseconds before.
fn clock(session: &ProbedSession) -> Verdict {
    let Some((welcome, now)) = session.session.welcome() else {
        return Verdict::not_tried("the server has not told its time");
    };
    let Some(server) = UNIX_EPOCH.checked_add(Duration::from_secs(welcome.time)) else {
        return Verdict::not_tried("the server tells no time");
    };
    let (ahead, skew) = skew(*now, server);
    if skew <= SKEW_MAX {
        return Verdict::Ok("both agree to two minutes".into());
    }
    let (minutes, side) = (skew.as_secs() / 60, if ahead { "ahead of" } else { "behind" });
    let what = format!("this machine's clock is {minutes} min {side} the server's");
    Verdict::fault(what, "sudo timedatectl set-ntp true, where the clock is wrong")
}

/// Whether the first is ahead, and by how much they differ.
fn skew(now: SystemTime, server: SystemTime) -> (bool, Duration) {
    match now.duration_since(server) {
        Ok(ahead) => (true, ahead),
        Err(behind) => (false, behind.duration()),
    }
}

/// Whether 64 KiB arrive at the server, and here, over each session; and the first session that carries them.
async fn echo<'a>(sessions: &[&'a ProbedSession]) -> ([Verdict; 2], Option<&'a ProbedSession>) {
    let (mut carrier, mut times, mut lost) = (None, [Vec::new(), Vec::new()], None);
    for session in sessions {
        let leg = session.session.transport().leg();
        match session.echo().await {
            Ok(taken) => {
                carrier = carrier.or(Some(*session));
                let text = |taken: Duration| format!("over {} in {} ms", protocol(leg), taken.as_millis());
                times.iter_mut().zip(taken).for_each(|(times, taken)| times.push(text(taken)));
            }
            Err(way) => lost = lost.or(Some((leg, way))),
        }
    }
    let verdicts = times.map(|times| Verdict::Ok(times.join(", ")));
    let Some((leg, way)) = lost else { return (verdicts, carrier) };
    let (other, direction) = (
        if leg == Leg::Quic { Leg::Tcp } else { Leg::Quic },
        if way == EchoError::Up { "to" } else { "from" },
    );
    let what =
        format!("over {}, the handshake passes, and 64 KiB {direction} the server do not", protocol(leg));
    let fault = Verdict::fault(
        what,
        format!("set leg = \"{other}\" in the config file: something on the way filters {}", protocol(leg)),
    );
    let [up, down] = verdicts;
    let verdicts = match way {
        EchoError::Up if carrier.is_some() => [fault, down],
        EchoError::Up => [fault, Verdict::not_tried("nothing arrived at the server")],
        EchoError::Down => [up, fault],
    };
    (verdicts, carrier)
}

const fn protocol(leg: Leg) -> &'static str {
    match leg {
        Leg::Quic => "UDP",
        Leg::Tcp => "TCP",
    }
}
