//! The pulls that every engine except docker makes of all images.

use anyhow::Result;
use docxy_tests::engine::Engine;

use crate::support::testbed::{ALICE, Testbed};

/// Pulls public images through the mirror and with the client as the registry in the name. Pulls a private image by
/// name: without an account it is refused, with one it succeeds.
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
    Ok(())
}
