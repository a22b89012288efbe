//! A server's name with addresses that lead nowhere, from a hosts file of the client's own.
//! Must never judge the speed: it counts datagrams.

use std::{fs, net::UdpSocket, path::Path, time::Duration};

use anyhow::{Result, ensure};
use docxy_tests::{
    docxy::{Launch, Server},
    process::{PROCESS_TIMEOUT, scratch},
    wan::{Conditions, Rate},
};

use crate::support::tunnel_testbed::{SERVER_ADDRESS, TunnelTestbed};

/// A QUIC client that gets no answer has sent so many datagrams when its attempt ends, after 2.5 s.
const DATAGRAMS_OF_A_LOST_ATTEMPT: usize = 4;

fn conditions() -> Conditions {
    Conditions::clean(Rate::mbit(100), Duration::from_millis(25))
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
    let (testbed, folder) = (TunnelTestbed::new()?, scratch()?);
    let _wan = testbed.link(conditions())?;
    let server = testbed.server()?;
    let hosts = folder.path().join("hosts");
    let link = link_by_name(&server, &hosts, &["::1", &SERVER_ADDRESS.to_string()])?;
    let silent = testbed.silent_socket(format!("[::1]:{}", server.address().port()).parse()?)?;
    let client = testbed.client_as(&Launch::with_hosts(&hosts), &link)?;
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
    let (testbed, folder) = (TunnelTestbed::new()?, scratch()?);
    let _wan = testbed.link(conditions())?;
    let server = testbed.server()?;
    let hosts = folder.path().join("hosts");
    let link = link_by_name(&server, &hosts, &[&SERVER_ADDRESS.to_string()])?;
    let launch = Launch::with_hosts(&hosts);
    let mut client = testbed.client_as(&launch, &link)?;
    let silent = testbed.silent_socket(format!("127.0.0.9:{}", server.address().port()).parse()?)?;
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
