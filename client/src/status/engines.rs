//! The engines of this machine, and the lines that set them up.

pub use crate::command::doctor::engines::EngineCause;
use crate::command::doctor::engines::look;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Looking starts programs of the engines, and takes up to seconds.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// An engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineReport {
    /// Its name.
    pub name: String,
    /// Whether its config files lead to this client.
    pub is_set_up: bool,
    /// What is wrong with its set-up, or why that is not known.
    pub problem: Option<String>,
    /// The same as a value.
    pub cause: Option<EngineCause>,
    /// The command that sets it up.
    pub setup: String,
    /// A command that pulls an image as a test.
    pub test: String,
}

/// The engines as they were last seen. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Engines(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    engines: Option<Vec<EngineReport>>,
    looked: Option<Instant>,
}

impl Engines {
    /// The engines as they were last seen. Looks again in the background if that was long ago.
    pub(super) fn get(&self, port: u16) -> Option<Vec<EngineReport>> {
        let mut seen = self.0.lock();
        if seen.looked.is_none_or(|looked| looked.elapsed() >= LOOK_INTERVAL) {
            seen.looked = Some(Instant::now());
            let engines = self.clone();
            tokio::task::spawn_blocking(move || {
                let found = look(port).into_iter().map(|engine| EngineReport {
                    name: engine.name.to_owned(),
                    is_set_up: engine.is_set_up(),
                    problem: engine.problem(),
                    cause: engine.cause(),
                    setup: engine.setup,
                    test: engine.test,
                });
                let found = found.collect();
                engines.0.lock().engines = Some(found);
            });
        }
        seen.engines.clone()
    }
}
