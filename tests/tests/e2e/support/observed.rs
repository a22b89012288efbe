//! A testbed whose server has an admin page.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use docxy_tests::docxy::{Launch, Server};
use tokio::task::block_in_place;

use crate::support::{
    http_client::HttpClient,
    testbed::{Testbed, client, config, hub, invite},
};

/// The testbed, and its admin page. Both programs have these arguments too.
pub(crate) async fn observed(arguments: &[&str]) -> (Testbed, HttpClient) {
    let (hub, admin) = (hub().await, free_address());
    let launch = Launch::with(&[&["--admin", &admin.to_string()], arguments].concat());
    let start = || Server::start_as(&launch, None, Ipv4Addr::LOCALHOST.into(), &config(&hub));
    let mut server = block_in_place(start).unwrap();
    let client = client(&invite(&mut server, "laptop"), arguments);
    (Testbed { engine: HttpClient::at(client.address()), client, server, hub }, HttpClient::at(admin))
}

/// An address that nothing listens on now.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).unwrap()
}
