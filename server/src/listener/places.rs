//! Places for exchanges, by client: who opens many connections gets no more of the way to the
//! registries than who opens one.

use docxy_protocol::limits::EXCHANGES_PER_NAME;
use docxy_protocol::link::ClientName;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::Semaphore;

/// The places of every client that is connected.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<HashMap<ClientName, Weak<Semaphore>>>);

impl Places {
    /// The places of one client, the same for all its connections.
    pub(super) fn of(&self, name: &ClientName) -> Arc<Semaphore> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = places.get(name).and_then(Weak::upgrade) {
            return known;
        }
        // Those of clients that have gone.
        places.retain(|_, place| place.strong_count() > 0);
        let fresh = Arc::new(Semaphore::new(EXCHANGES_PER_NAME));
        places.insert(name.clone(), Arc::downgrade(&fresh));
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_one_client_share_its_places_and_nobody_elses() {
        let places = Places::default();
        let name = |text: &str| text.parse::<ClientName>().unwrap();
        let laptop = places.of(&name("laptop"));
        assert!(Arc::ptr_eq(&laptop, &places.of(&name("laptop"))));
        let phone = places.of(&name("phone"));
        assert!(!Arc::ptr_eq(&laptop, &phone));
        drop((laptop, phone));
        places.of(&name("tablet"));
        assert_eq!(places.0.lock().unwrap().len(), 1, "nothing is kept of those who have gone");
    }
}
