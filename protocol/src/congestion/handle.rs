//! Access to a connection's congestion control from outside of the transport.
//!
//! A controller is built when a connection begins, before the server knows the client's choice, and again when
//! the path changes. The handle stores what outlives a controller.

use super::{Choice, Measured, PathMemory};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
        self.lock().choice = choice;
    }

    /// Passes on what an earlier connection measured on this path. It is used once, and only by a controller
    /// that has not measured the path itself.
    pub fn recall(&self, memory: PathMemory) {
        self.lock().memory = Some(memory);
    }

    /// What is currently known about the path.
    #[must_use]
    pub fn measured(&self) -> Measured {
        self.lock().measured
    }

    /// The current choice.
    #[must_use]
    pub fn choice(&self) -> Choice {
        self.lock().choice
    }

    /// What an earlier connection measured, once.
    #[must_use]
    pub fn take_memory(&self) -> Option<PathMemory> {
        self.lock().memory.take()
    }

    /// Publishes what the controller knows now.
    pub fn publish(&self, measured: Measured) {
        self.lock().measured = measured;
    }

    /// Ignores poisoning: the fields are plain values, and a panic elsewhere never leaves one half-written.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
