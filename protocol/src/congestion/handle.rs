//! What the house holds of a connection's congestion control while quinn holds the rest.
//!
//! quinn takes a factory when a connection begins, before the client has said what it wants, and
//! builds a fresh controller when the path changes; what outlives both is here.

use super::quinn_controller::QuinnController;
use super::{Choice, Measured, PathMemory};
use quinn_proto::congestion::{Controller, ControllerFactory};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// One connection's congestion control, from outside. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Handle(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    choice: Choice,
    memory: Option<PathMemory>,
    measured: Measured,
}

impl Handle {
    /// For a connection that begins with this choice.
    #[must_use]
    pub fn new(choice: Choice) -> Self {
        let handle = Self::default();
        handle.choose(choice);
        handle
    }

    /// What quinn builds this connection's controllers with.
    #[must_use]
    pub fn factory(&self) -> Arc<dyn ControllerFactory + Send + Sync> {
        Arc::new(self.clone())
    }

    /// Changes the choice; a controller that runs follows with the next acknowledgement.
    pub fn choose(&self, choice: Choice) {
        self.lock().choice = choice;
    }

    /// Tells what an earlier connection found on this path. Counts once, and only for a controller
    /// that has not measured the path itself.
    pub fn recall(&self, memory: PathMemory) {
        self.lock().memory = Some(memory);
    }

    /// What is known of the path by now.
    #[must_use]
    pub fn measured(&self) -> Measured {
        self.lock().measured
    }

    pub(super) fn choice(&self) -> Choice {
        self.lock().choice
    }

    pub(super) fn take_memory(&self) -> Option<PathMemory> {
        self.lock().memory.take()
    }

    pub(super) fn publish(&self, measured: Measured) {
        self.lock().measured = measured;
    }

    /// A panic elsewhere leaves plain values behind, none of them half-written.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ControllerFactory for Handle {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(QuinnController::new((*self).clone(), now, mtu))
    }
}
