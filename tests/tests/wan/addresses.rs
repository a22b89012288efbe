//! A server's name with addresses that lead nowhere, from a hosts file of the client's own.
//! Must never judge the speed: it counts datagrams.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    time::Duration,
};

use anyhow::{Result, ensure};
use docxy_tests::{
    docxy::{Launch, Server},
    process::{PROCESS_TIMEOUT, scratch},
    tunnel_lab::{Abroad, TunnelLab},
    wan::{Conditions, Link, Rate, run_in_namespace},
};

/// A QUIC client that gets no answer has sent so many datagrams when its attempt ends, after 2.5 s.
const DATAGRAMS_OF_A_LOST_ATTEMPT: usize = 4;

const SERVER_ADDRESS: Ipv4Addr = Abroad::FIRST.server();

/// No test of these pulls a blob.
const BLOB_MIB: u64 = 1;

fn line() -> Link {
    Link::symmetric(Conditions::clean(Rate::mbit(100), Duration::from_millis(25)))
}

/// Launch settings of a client that reads this hosts file. Its attempts are counted as datagrams, so it uses QUIC.
fn with_hosts(hosts: &Path) -> Launch {
    Launch { arguments: vec!["--leg=quic".to_owned()], ..Launch::with_hosts(hosts) }
}

/// A UDP socket on the client's machine that never answers.
fn silent_socket(lab: &TunnelLab, address: SocketAddr) -> Result<UdpSocket> {
    let socket = run_in_namespace(lab.lab.laptop.name(), || UdpSocket::bind(address))??;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A link that names the server, whose addresses are in the file.
fn link_by_name(server: &Server, hosts: &Path, addresses: &[&str]) -> Result<String> {
    write_hosts(hosts, addresses)?;
    let public = format!("docxy.invalid:{}", server.address().port());
    Ok(server.command(&["invite", "laptop", "--public", &public])?.trim().to_owned())
}

fn write_hosts(hosts: &Path, addresses: &[&str]) -> Result<()> {
    let lines: String = addresses.iter().map(|address| format!("{address} docxy.invalid\n")).collect();
    Ok(fs::write(hosts, lines)?)
}

fn datagrams(socket: &UdpSocket) -> usize {
    let mut buffer = [0; 2048];
    std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count()
}

#[test]
fn a_black_holed_ipv6_address_does_not_cost_an_attempt() -> Result<()> {
    let (lab, folder) = (TunnelLab::new(BLOB_MIB)?, scratch()?);
    let _wan = lab.link(Abroad::FIRST, line(), 1)?;
    let server = lab.server(Abroad::FIRST, &Launch::default())?;
    let hosts = folder.path().join("hosts");
    let link = link_by_name(&server, &hosts, &["::1", &SERVER_ADDRESS.to_string()])?;
    let silent = silent_socket(&lab, format!("[::1]:{}", server.address().port()).parse()?)?;
    let client = lab.connected_client(&link, &with_hosts(&hosts))?;
    ensure!(client.health()?["server"] == server.address().to_string());
    let lost = datagrams(&silent);
    ensure!(
        (1..DATAGRAMS_OF_A_LOST_ATTEMPT).contains(&lost),
        "{lost} datagrams to the address that is silent"
    );
    Ok(())
}

#[test]
fn a_poisoned_name_does_not_keep_a_client_from_a_server_that_it_knows() -> Result<()> {
    let (lab, folder) = (TunnelLab::new(BLOB_MIB)?, scratch()?);
    let _wan = lab.link(Abroad::FIRST, line(), 1)?;
    let server = lab.server(Abroad::FIRST, &Launch::default())?;
    let hosts = folder.path().join("hosts");
    let link = link_by_name(&server, &hosts, &[&SERVER_ADDRESS.to_string()])?;
    let launch = with_hosts(&hosts);
    let mut client = lab.connected_client(&link, &launch)?;
    let silent = silent_socket(&lab, format!("127.0.0.9:{}", server.address().port()).parse()?)?;
    // The resolver lies, then it knows the name no more.
    for addresses in [&["127.0.0.9"][..], &[]] {
        client.stop()?;
        write_hosts(&hosts, addresses)?;
        client.start_again_as(&launch)?;
        client.wait_until_up(PROCESS_TIMEOUT)?;
        ensure!(client.health()?["server"] == server.address().to_string());
        ensure!((datagrams(&silent) > 0) != addresses.is_empty());
    }
    Ok(())
}
