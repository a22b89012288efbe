//! `docxy-client setup` beside a running client: without a list of its own it takes the server's.

use docxy_tests::{docxy::Client, process::PROCESS_TIMEOUT};
use tokio::task::block_in_place;

use crate::support::two_registries::{OTHER, TwoRegistries};

#[tokio::test(flavor = "multi_thread")]
async fn setup_lists_the_registries_of_the_running_clients_server() {
    let mut two = TwoRegistries::new().await;
    let setup = ["setup", "podman", "--print"];
    let print =
        |client: &Client| block_in_place(|| client.command_without_link(&setup, PROCESS_TIMEOUT)).unwrap();
    let beside = print(&two.testbed.client);
    assert!(
        beside.contains(OTHER) && beside.contains("docker.io") && !beside.contains("quay.io"),
        "{beside}"
    );
    block_in_place(|| two.testbed.client.stop()).unwrap();
    let alone = print(&two.testbed.client);
    assert!(alone.contains("quay.io") && !alone.contains(OTHER), "{alone}");
}
