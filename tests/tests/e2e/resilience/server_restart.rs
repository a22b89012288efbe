//! A server that comes back at the same address: its clients must not wait until they time out.

use std::time::{Duration, Instant};

use docxy_tests::docxy::Client;
use tokio::task::block_in_place;

use crate::support::{
    http_client::HttpClient,
    testbed::{config, count, hub, invite, server, wait_for_count},
};

const CLIENTS: usize = 50;

/// Being told takes a ping, of which there is one in 2 s, and the way back another round trip or two: 3 s in all on a
/// machine that has nothing else to do, where `bench load` measures it for 500.
const BACK_WITHIN: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn clients_reconnect_at_once_to_a_restarted_server() {
    let hub = hub().await;
    let mut server = server(&config(&hub));
    let mut clients = Vec::new();
    for n in 0..CLIENTS {
        let link = invite(&mut server, &format!("client-{n}"));
        clients.push(block_in_place(|| Client::start(None, &link)).unwrap());
    }
    for client in &mut clients {
        wait_for_count(client, "tunnel/connects", 1);
    }
    block_in_place(|| {
        server.process().kill().unwrap();
        server.start_again().unwrap();
    });
    let started = Instant::now();
    for client in &mut clients {
        wait_for_count(client, "tunnel/connects", 2);
    }
    let took = started.elapsed();
    println!("{CLIENTS} clients were back after {took:?}");
    for client in &mut clients {
        // They were told. Otherwise they would have replaced a silent connection.
        assert_eq!(["tunnel/disconnects", "tunnel/stalls"].map(|name| count(client, name)), [1, 0]);
    }
    assert!(took < BACK_WITHIN, "{took:?}");
    let response = HttpClient::at(clients[0].address()).get("/v2/", &[]).await;
    assert_eq!(response.status, 401);
}
