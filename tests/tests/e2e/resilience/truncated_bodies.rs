//! Bodies that break off: an engine must see that, and see it in a way that it can resume from.

use docxy_tests::hub::{Blob, Fault, Rule, Site};

use crate::support::{
    http_client::ANY,
    raw_http::{End, Raw, Said},
    testbed::{World, bytes},
};

const SEGMENT: u64 = 512 * 1024;

/// Cuts the blob off, for good: the registry doesn't know it any more when it is asked for the rest.
fn cut_for_good(world: &World, blob: &Blob, byte: u64) {
    let hex = blob.digest().hex();
    world.hub.faults().arm(Rule::once(Fault::CutAt { byte }).on(hex));
    let gone = Fault::Status { site: Site::Registry, status: 404, retry_after: None };
    world.hub.faults().arm(Rule::always(gone).on(hex).after(1));
}

async fn pull(world: &World, path: &str) -> Said {
    let bearer = world.engine.anonymous("library/hello").await;
    Raw::get(world.client.address(), path, &[("authorization", &bearer)]).await.rest().await
}

/// Fewer bytes than announced, each of them right, and then an end in order: what containerd resumes from.
fn assert_broken_off(said: &Said, blob: &Blob, most: u64) {
    assert_eq!(said.status(), 200);
    let announced = format!("content-length: {}\r\n", blob.len());
    assert!(said.head().contains(&announced), "{}", said.head());
    assert!(said.body().len() as u64 <= most, "{} bytes", said.body().len());
    assert!(bytes(blob).starts_with(said.body()), "what came before the break is wrong");
    assert_eq!(said.end, End::Fin, "a reset would fail a pull that could be resumed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_layer_is_incomplete() {
    let world = World::new().await;
    for (seed, len, cut) in [
        (1, 100_000, 1),
        (9, 100_000, 60_000),
        (2, 100_000, 99_999),
        (3, SEGMENT, SEGMENT - 1),
        (4, 5 << 20, 100_000),
        (5, 5 << 20, SEGMENT),
        (6, 5 << 20, 3 * SEGMENT + 12_345),
        (7, 5 << 20, (5 << 20) - 1),
        (8, 40 << 20, 30 << 20),
    ] {
        let (blob, path) = world.with_blob(seed, len);
        cut_for_good(&world, &blob, cut);
        assert_broken_off(&pull(&world, &path).await, &blob, cut);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_layer_can_be_resumed() {
    let world = World::new().await;
    let (blob, path) = world.with_blob(1, 10 << 20);
    let cut = 6 << 20;
    cut_for_good(&world, &blob, cut);
    let said = pull(&world, &path).await;
    assert_broken_off(&said, &blob, cut);
    world.hub.faults().clear();
    let got = said.body().len() as u64;
    // What the stand-in's socket holds may go down with the transfer; nothing else may.
    assert!(got >= cut - SEGMENT / 4, "only {got} of {cut} bytes arrived");
    let bearer = world.engine.anonymous("library/hello").await;
    let range = format!("bytes={got}-");
    let rest = world.engine.get(&path, &[("authorization", &bearer), ("range", &range)]).await;
    let whole = [said.body(), &rest.body].concat();
    assert!(rest.whole && whole == bytes(&blob));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_layer_does_not_disturb_others() {
    let world = World::new().await;
    let bearer = world.engine.anonymous("library/hello").await;
    let (cut, broken) = world.with_blob(1, 20 << 20);
    let (sound, path) = world.with_blob(2, 20 << 20);
    cut_for_good(&world, &cut, 10 << 20);
    let headers = [("authorization", bearer.as_str())];
    let (one, other) = tokio::join!(world.engine.get(&broken, &headers), world.engine.get(&path, &headers));
    assert!(!one.whole);
    assert!(other.whole && other.body == bytes(&sound));
    world.hub.faults().clear();
    let again = world.engine.get(&broken, &headers).await;
    assert!(again.whole && again.body.len() == 20 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_content_length_is_noticed() {
    let world = World::new().await;
    let bearer = world.engine.anonymous("library/hello").await;
    let (_, path) = world.with_blob(1, 2 << 20);
    world.hub.faults().arm(Rule::once(Fault::TruncateAt { byte: 1_500_000 }));
    let answer = world.engine.get(&path, &[("authorization", &bearer)]).await;
    assert_eq!(answer.header("content-length"), "1500000");
    assert!(!answer.whole && answer.body.len() < 1_500_000, "{} bytes", answer.body.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_urls_are_reported_as_json() {
    let world = World::new().await;
    let bearer = world.engine.anonymous("library/hello").await;
    let (blob, path) = world.with_blob(1, 2 << 20);
    world.hub.faults().arm(Rule::always(Fault::ExpiredUrl));
    let answer = world.engine.get(&path, &[("authorization", &bearer), ANY]).await;
    let (status, code, message) = answer.error();
    assert_eq!((status, code.as_str()), (403, "DENIED"));
    assert!(!message.contains('<'), "{message}");
    world.hub.faults().clear();
    let again = world.engine.get(&path, &[("authorization", &bearer)]).await;
    assert!(again.whole && again.body.len() as u64 == blob.len());
}
