//! A server restarts at the same address: its clients must not wait for their idle timeout.

use std::time::Instant;

use docxy_protocol::limits::IDLE_TIMEOUT;
use docxy_tests::docxy::Client;
use tokio::task::block_in_place;

use crate::support::{
    http_client::HttpClient,
    testbed::{config, count, hub, invite, server, wait_for_count},
};

const CLIENTS: usize = 50;

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
        // The server's reset ended the connection. Otherwise the client would have replaced it as silent.
        assert_eq!(
            ["tunnel/disconnects", "tunnel/silent_connections"].map(|name| count(client, name)),
            [1, 0]
        );
    }
    // A client notices the restart at its next ping, of which there is one per 2 s: 3 s in all on an idle machine, where
    // `bench load` measures it for 500 clients.
    assert!(took < IDLE_TIMEOUT / 2, "{took:?}");
    let response = HttpClient::at(clients[0].address()).get("/v2/", &[]).await;
    assert_eq!(response.status, 401);
}
