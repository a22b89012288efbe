//! The real client and server over an emulated link.
//! Must never judge the speed: `scripts/bench wan` does.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use docxy_tests::{
    docxy::Launch,
    tunnel_lab::{Abroad, TunnelLab},
    wan::{Conditions, Link, Loss, Queue, Rate, UdpRule},
};

/// Six times the bandwidth-delay product of the fastest of these links, so that every window opens.
const BLOB_MIB: u64 = 48;

/// quinn with default settings closes the connection when a stream with a large window has 1024 gaps: at this rate
/// and loss with any congestion control, and without loss if the start of a transfer overruns the queue. TCP has no gaps;
/// there, what is lost several times can look like silence.
#[test]
fn gaps_in_the_data_never_close_the_connection() -> Result<()> {
    let fat = Conditions::clean(Rate::mbit(300), Duration::from_millis(100));
    let shallow = Conditions { queue: Queue::Bytes(64 * 1024), ..fat };
    let lab = TunnelLab::new(BLOB_MIB)?;
    for conditions in [
        Conditions { loss: Loss::Random { share: 0.05 }, ..fat },
        shallow,
        Conditions { loss: Loss::Random { share: 0.10 }, ..fat },
    ] {
        let _wan = lab.link(Abroad::FIRST, Link::symmetric(conditions), 1)?;
        let server = lab.server(Abroad::FIRST, &Launch::default())?;
        let client = lab.connected_client(&server.invite("laptop")?, &Launch::default())?;
        lab.pull(&client)?;
        let is_lost = client.count("tunnel/connects")? > 1 || client.count("tunnel/disconnects")? > 0;
        ensure!(!is_lost || client.health()?["leg"] == "tcp");
    }
    Ok(())
}

#[test]
fn a_second_connection_starts_at_the_rate_of_the_first() -> Result<()> {
    let lab = TunnelLab::new(BLOB_MIB)?;
    let link = Link::symmetric(Conditions::clean(Rate::mbit(100), Duration::from_millis(25)));
    let _wan = lab.link(Abroad::FIRST, link, 1)?;
    let mut server = lab.server(Abroad::FIRST, &Launch::default())?;
    let link = server.invite("laptop")?;
    // On TCP, the kernel measures paths.
    let quic = Launch::with(&["--leg=quic"]);
    let first = lab.connected_client(&link, &quic)?;
    lab.pull(&first)?;
    ensure!(server.status()?["known_paths"]["recalls"] == 0);
    drop(first);
    let second = lab.connected_client(&link, &quic)?;
    let status = server.status()?;
    // It is about 93 Mbit/s. It must be the link's rate, not a default.
    let rate = status["known_paths"]["last_bits_per_second"].as_u64();
    ensure!(rate.is_some_and(|rate| (50_000_000..110_000_000).contains(&rate)), "{status:#}");
    lab.pull(&second).map(drop)
}

/// QUIC gets a fifth of this link. The client must find that out by itself, in one pull. On a busy machine, the first
/// trial of TCP may be lost: over QUIC, the body takes 40 s, long enough for the second one.
#[test]
fn a_client_leaves_a_policed_leg() -> Result<()> {
    const POLICED_MIB: u64 = 2 * BLOB_MIB;
    let lab = TunnelLab::new(POLICED_MIB)?;
    let conditions = Conditions {
        udp: UdpRule::policed(Rate::mbit(20)),
        ..Conditions::clean(Rate::mbit(100), Duration::from_millis(100))
    };
    let _wan = lab.link(Abroad::FIRST, Link::symmetric(conditions), 1)?;
    let server = lab.server(Abroad::FIRST, &Launch::default())?;
    let client = lab.connected_client(&server.invite("laptop")?, &Launch::with(&["--leg", "auto"]))?;
    let body = lab.begin(&client)?;
    let begun = Instant::now();
    while client.health()?["leg"] != "tcp" {
        let left = (POLICED_MIB << 20) - body.bytes();
        let is_over = left == 0 || begun.elapsed() > Duration::from_secs(120);
        ensure!(!is_over, "{left} bytes left after {:?} of QUIC: {:#}", begun.elapsed(), client.health()?);
        thread::sleep(Duration::from_millis(50));
    }
    println!("on TCP after {:?} and {} bytes", begun.elapsed(), body.bytes());
    lab.finish(body).map(drop)
}
