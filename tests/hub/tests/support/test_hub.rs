//! A stand-in with a few images and accounts.

use hub_stand_in::{Blob, Hub, HubConfig, Image, Store};

use crate::support::https_client::HttpsClient;

/// A stand-in with `library/hello` and `library/other`, which are public, and `alice/private`, which is Alice's.
pub(crate) async fn start() -> (Hub, HttpsClient) {
    start_with_config(HubConfig { store: test_store(), ..HubConfig::default() }).await
}

pub(crate) async fn start_with_config(config: HubConfig) -> (Hub, HttpsClient) {
    let hub = Hub::start(config).await.unwrap();
    let client = HttpsClient::of(&hub);
    (hub, client)
}

pub(crate) fn test_store() -> Store {
    let store = Store::default();
    store.publish("library/hello", "latest", &hello());
    store.publish("library/other", "latest", &Image::hello_from("other").unwrap());
    store.publish("alice/private", "latest", &Image::hello_from("alice").unwrap());
    store.add_account("alice", "secret");
    store.add_account("bob", "hunter2");
    store.make_private("alice/private", &["alice"]);
    store
}

/// The image that `library/hello:latest` names.
pub(crate) fn hello() -> Image {
    Image::hello().unwrap()
}

/// Adds a blob to `library/hello`. Returns its bytes and its signed URL.
pub(crate) async fn publish_blob(hub: &Hub, client: &HttpsClient, len: u64) -> (Vec<u8>, String) {
    let blob = Blob::generated(42, len);
    hub.store().add_blob("library/hello", blob.clone());
    let url = client.signed_url(blob.digest()).await;
    (blob.chunks().flatten().collect(), url)
}
