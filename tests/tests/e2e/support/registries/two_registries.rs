//! A testbed with two registries: Docker Hub, and another one.
//! Must never let the other registry share anything with Docker Hub but the certificate authority.

use std::sync::Arc;

use hub_stand_in::{Authority, Hub, HubConfig, Image, Names, Store};

use crate::support::testbed::{ALICE, Testbed, add, config, test_store};

pub(crate) const OTHER: &str = "ghcr.example";

/// Docker Hub, and another registry with `owner/image` (public) and `owner/private`.
pub(crate) struct TwoRegistries {
    pub(crate) testbed: Testbed,
    pub(crate) other: Hub,
}

impl TwoRegistries {
    pub(crate) async fn new() -> Self {
        Self::named(OTHER).await
    }

    /// The same with this name for the other registry.
    pub(crate) async fn named(name: &str) -> Self {
        Self::with(name, &[]).await
    }

    /// The same with these arguments of the client.
    pub(crate) async fn with(name: &str, arguments: &[&str]) -> Self {
        let store = Store::default();
        store.publish("owner/image", "latest", &other_image());
        store.publish("owner/private", "latest", &other_image());
        store.add_account(ALICE.0, ALICE.1);
        store.make_private("owner/private", &[ALICE.0]);
        let names = Names::of(name);
        // One certificate authority for both, as on the Internet, so that each could be reached on behalf of the other.
        let authority = Some(Arc::new(Authority::new().unwrap()));
        let other = HubConfig { store, names, authority: authority.clone(), ..HubConfig::default() };
        let other = Hub::start(other).await.unwrap();
        let hub = HubConfig { store: test_store(), authority, ..HubConfig::default() };
        let hub = Hub::start(hub).await.unwrap();
        let mut config = config(&hub);
        add(&mut config, name, &other);
        Self { testbed: Testbed::with(hub, &config, arguments), other }
    }
}

/// The image of both of the other registry's repositories.
pub(crate) fn other_image() -> Image {
    Image::hello_from("elsewhere").unwrap()
}
