//! Access to a connection's congestion control from outside of the transport.
//!
//! A controller is built when a connection begins, before the server knows the client's choice, and again when
//! the path changes. The handle stores what outlives a controller.

use super::{Choice, Measured, PathMemory};
use parking_lot::Mutex;
use std::sync::Arc;

/// One connection's congestion control, as seen from outside. Clones share the same state.
#[derive(Debug, Clone, Default)]
pub struct Handle(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    choice: Choice,
    memory: Option<PathMemory>,
    measured: Measured,
}

impl Handle {
    /// For a connection that begins with `choice`.
    #[must_use]
    pub fn new(choice: Choice) -> Self {
        let handle = Self::default();
        handle.choose(choice);
        handle
    }

    /// Changes the choice. A running controller applies it at the next acknowledgement.
    pub fn choose(&self, choice: Choice) {
        self.0.lock().choice = choice;
    }

    /// Passes on what an earlier connection measured on this path. It is used once, and only by a controller
    /// that has not measured the path itself.
    pub fn recall(&self, memory: PathMemory) {
        self.0.lock().memory = Some(memory);
    }

    /// What is currently known about the path.
    #[must_use]
    pub fn measured(&self) -> Measured {
        self.0.lock().measured
    }

    /// The current choice.
    #[must_use]
    pub fn choice(&self) -> Choice {
        self.0.lock().choice
    }

    /// What an earlier connection measured, once.
    #[must_use]
    pub fn take_memory(&self) -> Option<PathMemory> {
        self.0.lock().memory.take()
    }

    /// Publishes what the controller knows now.
    pub fn publish(&self, measured: Measured) {
        self.0.lock().measured = measured;
    }
}
