//! The quota of the address is used up, and an account's is not: an engine with an account pulls.

use docxy_tests::engine::{Containerd, Engine as _};

use crate::support::testbed::{ALICE, RegistryKind, with_testbed_on};

#[test]
fn containerd_pulls_with_its_account_when_the_quota_of_the_address_is_used_up() {
    with_testbed_on(RegistryKind::NoAnonymousPulls, |testbed| {
        let containerd = Containerd::start(&testbed.lab.laptop, &testbed.client.url())?;
        let hello = format!("{}/library/hello:latest", testbed.registry());
        let refusal = containerd.pull_refused(&hello, None)?;
        assert!(refusal.contains("429"), "{refusal}");
        assert_eq!(containerd.pull(&hello, Some(ALICE))?, testbed.hub.hello);
        // The second one is challenged at once, and is paid for by the account from its first request on.
        let five = format!("{}/library/five:latest", testbed.registry());
        assert_eq!(containerd.pull(&five, Some(ALICE))?, testbed.hub.five);
        Ok(())
    });
}
