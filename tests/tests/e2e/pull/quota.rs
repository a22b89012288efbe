//! What was paid for once is not paid for again, and what needed a credential is nobody else's.

use docxy_tests::{
    docxy::ServerConfig,
    hub::{Fault, Hub, Image, PullLimit, PullLimits, Rule, Site},
};
use http::StatusCode;
use std::time::Duration;
use tokio::task::block_in_place;

use crate::support::{
    http_client::PATIENCE,
    testbed::{ALICE, BOB, World, config, hello, hub, invite},
    wire_client::{Answered, Asker, Question, looks, pulls},
};

const HELLO: &str = "library/hello";

/// What `library/hello` gets later.
fn newer() -> Image {
    Image::hello_from("a later release").unwrap()
}

fn of_limit(pulls: u32) -> PullLimits {
    let limit = Some(PullLimit { pulls, window: Duration::from_secs(21_600) });
    PullLimits { anonymous: limit, account: limit }
}

/// As a kept manifest has to be answered, however often it is asked for.
async fn assert_hello(asker: &Asker, image: &Image) {
    for reference in ["latest", image.digest().as_str()] {
        let answer = asker.ask(&Question::get(HELLO, reference)).await;
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &image.index().bytes[..]));
        assert_eq!(answer.header("content-type"), image.index().media_type);
        assert_eq!(answer.header("docker-content-digest"), image.digest().as_str());
        assert_eq!(answer.header("content-length"), image.index().bytes.len().to_string());
        let head = asker.ask(&Question::head(HELLO, reference)).await;
        assert_eq!(head.header("docker-content-digest"), image.digest().as_str());
        assert_eq!(head.header("content-length"), image.index().bytes.len().to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_image_costs_no_quota() {
    let mut world = World::new().await;
    let asker = Asker::of(&mut world).await;
    for _ in 0..2 {
        assert_hello(&asker, &hello()).await;
    }
    assert_eq!(pulls(&world.hub), 1);
    let answer = asker.ask(&Question::get(HELLO, hello().digest())).await;
    assert_eq!(answer.header("ratelimit-remaining"), "99;w=21600", "the registry's last word goes along");
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_manifests_survive_a_server_restart() {
    let mut world = World::new().await;
    let link = invite(&mut world.server, "asker").parse().unwrap();
    assert_hello(&Asker::with(&world, &link).await, &hello()).await;
    block_in_place(|| {
        world.server.stop().unwrap();
        world.server.start_again().unwrap();
    });
    world.hub.request_log().clear();
    let asker = Asker::with(&world, &link).await;
    assert_hello(&asker, &hello()).await;
    assert_eq!((pulls(&world.hub), looks(&world.hub)), (0, 2), "only the tag is looked up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_tag_is_noticed_at_once() {
    let mut world = World::new().await;
    let asker = Asker::of(&mut world).await;
    assert_hello(&asker, &hello()).await;
    world.hub.store().publish(HELLO, "latest", &newer());
    assert_hello(&asker, &newer()).await;
    let old = asker.ask(&Question::get(HELLO, hello().digest())).await;
    assert_eq!(old.body, hello().index().bytes);
    assert_eq!(pulls(&world.hub), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_during_a_request_is_consistent() {
    let mut world = World::new().await;
    let asker = Asker::of(&mut world).await;
    assert_hello(&asker, &hello()).await;
    world.hub.store().publish(HELLO, "latest", &newer());
    let path = format!("/manifests/{}", newer().digest());
    world.hub.faults().arm(Rule::once(Fault::Hold { site: Site::Registry }).on(&path));
    let stream = asker.begin(&Question::get(HELLO, "latest").wishing("linux/amd64")).await;
    world.hub.request_log().wait_for(|entry| entry.path.ends_with(&path), PATIENCE).await.unwrap();
    world.hub.store().publish(HELLO, "latest", &Image::hello_from("yet another").unwrap());
    world.hub.faults().release();
    let answer = Answered::read(stream).await;
    assert_eq!(answer.header("docker-content-digest"), newer().digest().as_str());
    assert_eq!(answer.body, newer().index().bytes);
    let manifest = &newer().platform("amd64").unwrap().manifest.digest.to_string();
    assert_eq!(answer.digests_ahead().await.first(), Some(manifest));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_manifest_is_neither_sent_nor_cached() {
    let world = World::new().await;
    let bearer = world.engine.anonymous(HELLO).await;
    let by_digest = format!("/v2/{HELLO}/manifests/{}", hello().digest());
    for path in [&format!("/v2/{HELLO}/manifests/latest"), &by_digest] {
        world.hub.faults().arm(Rule::once(Fault::CorruptManifest));
        let answer = world.engine.get(path, &[("authorization", &bearer), ("accept", "*/*")]).await;
        let (status, _, message) = answer.fault("registry");
        assert_eq!(status, 502);
        assert!(message.contains(hello().digest().as_str()), "{message}");
    }
    let answer = world.engine.get(&by_digest, &[("authorization", &bearer), ("accept", "*/*")]).await;
    assert_eq!(answer.body, hello().index().bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn private_manifests_are_not_shared() {
    let mut world = World::new().await;
    let asker = Asker::of(&mut world).await;
    let alices = Image::hello_from("alice").unwrap();
    // The same content is open to everybody elsewhere.
    world.hub.store().publish("library/open", "latest", &alices);
    assert_eq!(asker.ask(&Question::get("library/open", "latest")).await.status, StatusCode::OK);
    let alice = world.engine.logged_in(ALICE.0, ALICE.1, "alice/private").await;
    let bob = world.engine.logged_in(BOB.0, BOB.1, "alice/private").await;
    for reference in ["latest", alices.digest().as_str()] {
        for _ in 0..2 {
            let question = Question::get("alice/private", reference).wishing("linux/amd64");
            let own = asker.ask(&question.clone().by(&alice)).await;
            assert_eq!((own.status, &own.body[..]), (StatusCode::OK, &alices.index().bytes[..]));
            for other in [question.clone(), question.by(&bob)] {
                let refused = asker.ask(&other).await;
                assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{reference}");
                assert!(refused.digests_ahead().await.is_empty());
            }
        }
    }
    let kept = walk(&world.server.state().join("manifests"));
    assert_eq!(kept.len(), 1, "{kept:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_made_private_is_closed_at_once() {
    let mut world = World::new().await;
    let asker = Asker::of(&mut world).await;
    assert_hello(&asker, &hello()).await;
    world.hub.store().make_private(HELLO, &[ALICE.0]);
    world.hub.tokens().revoke_all();
    let refused = asker.ask(&Question::get(HELLO, "latest").wishing("linux/amd64")).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(refused.digests_ahead().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_account_pays_for_itself() {
    let mut world = World::new().await;
    let asker = Asker::of(&mut world).await;
    for (user, password) in [ALICE, BOB, ALICE] {
        let bearer = world.engine.logged_in(user, password, HELLO).await;
        let answer = asker.ask(&Question::get(HELLO, "latest").by(&bearer)).await;
        assert_eq!(answer.header("docker-ratelimit-source"), user);
    }
    let anonymous = asker.ask(&Question::get(HELLO, "latest")).await;
    assert_eq!(anonymous.header("docker-ratelimit-source"), "127.0.0.1");
    assert_eq!(anonymous.header("ratelimit-remaining"), "99;w=21600");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_quota_only_cached_images_are_served() {
    let mut world = World::new().await;
    let asker = Asker::of(&mut world).await;
    world.hub.set_pull_limits(of_limit(1));
    for _ in 0..2 {
        assert_hello(&asker, &hello()).await;
    }
    world.hub.store().publish(HELLO, "latest", &newer());
    let refused = asker.ask(&Question::get(HELLO, "latest").wishing("linux/amd64")).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.header("ratelimit-remaining"), "0;w=21600");
    assert_eq!(refused.header("content-length"), refused.body.len().to_string());
    let message = refused.message();
    assert!(message.starts_with("You have reached your pull rate limit."), "{message}");
    assert!(message.contains("come back in 6 h") && message.contains("log in"), "{message}");
    assert!(refused.digests_ahead().await.is_empty());
    world.hub.store().publish(HELLO, "latest", &hello());
    assert_hello(&asker, &hello()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_responses_need_the_operators_consent() {
    for stale in [true, false] {
        let hub = hub_of(1).await;
        let config = ServerConfig { stale, ..config(&hub) };
        let mut world = World::with(hub, &config, &[]);
        let asker = Asker::of(&mut world).await;
        assert_hello(&asker, &hello()).await;
        world.hub.store().publish(HELLO, "latest", &newer());
        let head = asker.ask(&Question::head(HELLO, "latest")).await;
        let get = asker.ask(&Question::get(HELLO, "latest")).await;
        if stale {
            for answer in [&head, &get] {
                assert_eq!(answer.status, StatusCode::OK);
                assert_eq!(answer.header("docker-content-digest"), hello().digest().as_str());
                assert!(answer.header("warning").starts_with("110 "), "{}", answer.header("warning"));
            }
            assert_eq!(get.body, hello().index().bytes);
        } else {
            assert_eq!(head.header("docker-content-digest"), newer().digest().as_str());
            assert_eq!(get.status, StatusCode::TOO_MANY_REQUESTS);
        }
    }
}

async fn hub_of(pulls: u32) -> Hub {
    let hub = hub().await;
    hub.set_pull_limits(of_limit(pulls));
    hub
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}
