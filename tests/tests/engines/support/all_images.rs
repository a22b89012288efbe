//! The pulls that every engine except docker makes of all images.

use anyhow::Result;
use docxy_tests::{
    engine::{Engine, PulledImage},
    process::PROCESS_TIMEOUT,
};

use crate::support::testbed::{ALICE, Testbed};

/// Pulls public images through the mirror and with the client as the registry in the name. Pulls a private image by
/// name: without an account it is refused, with one, or with a login of the client, it succeeds.
pub(crate) fn pull_all(testbed: &Testbed, engine: &impl Engine) -> Result<()> {
    let client = testbed.registry();
    for registry in ["docker.io", &client] {
        let hello = format!("{registry}/library/hello:latest");
        assert_eq!(engine.pull(&hello, None)?, testbed.hub.hello, "{hello}");
        let five = format!("{registry}/library/five:latest");
        let pulled = engine.pull(&five, None)?;
        assert_eq!(pulled, testbed.hub.five, "{five}");
        assert_eq!(pulled.layers.len(), 5, "{five}");
    }
    let private = format!("{client}/alice/private:latest");
    let refusal = engine.pull_refused(&private, None)?;
    assert!(refusal.contains("denied") || refusal.contains("insufficient_scope"), "{refusal}");
    assert_eq!(engine.pull(&private, Some(ALICE))?, testbed.hub.private, "{private}");
    by_login(testbed, || engine.pull("docker.io/alice/private:latest", None))
}

/// A private image by its plain name: the engine has no account, and the client has.
pub(crate) fn by_login(testbed: &Testbed, pull: impl FnOnce() -> Result<PulledImage>) -> Result<()> {
    let login = ["login", "--user", ALICE.user];
    testbed.client.command_with_input(&login, ALICE.password)?.succeeded()?;
    assert_eq!(pull()?, testbed.hub.private);
    testbed.client.command_without_link(&["logout"], PROCESS_TIMEOUT).map(drop)
}
