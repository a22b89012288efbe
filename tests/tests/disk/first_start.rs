//! The first start on an almost full disk: what the server needs comes before what it would like to reserve.

use std::{net::Ipv4Addr, os::unix::fs::symlink, path::Path};

use docxy_tests::{docxy::Server, stand_in::StandIn};
use hub_stand_in::Listen;

use crate::support::mount::Disk;

#[test]
fn a_server_starts_for_the_first_time_on_an_almost_full_disk_and_invites_a_client() {
    let hub = StandIn::start(None, Listen::on(Ipv4Addr::LOCALHOST.into()), &[]).unwrap();
    for free in [32 * 1024, 64 * 1024] {
        let mut disk = Disk::mount();
        disk.fill_except(free);
        let put = |state: &Path| Ok(symlink(disk.path(), state)?);
        let server = Server::start_with(None, Ipv4Addr::LOCALHOST.into(), &hub.server_config(), put).unwrap();
        assert!(server.invite("laptop").unwrap().starts_with("docxy://laptop:"));
        assert!(!disk.path().join("reserve").exists(), "there is no room for one");
    }
}
