//! The server's way to its registry: how little it costs when it is warm, and what `check` says of it.

use std::collections::BTreeSet;

use docxy_tests::{
    hub::{Fault, Image, LoggedRequest, Rule, Site},
    process::PATIENCE,
};
use http::StatusCode;
use tokio::task::block_in_place;

use crate::support::{
    testbed::{World, hello},
    wire_client::{Asker, Question, pulls},
};

const HELLO: &str = "library/hello";

/// What `docxy-server check` printed, or complained about.
fn check(world: &World, images: &[&str]) -> Result<String, String> {
    let config = world.server.state().with_file_name("server.toml");
    let arguments = [&["check", "--config", config.to_str().unwrap()], images].concat();
    block_in_place(|| world.server.command(&arguments)).map_err(|error| format!("{error:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_server_opens_no_new_connection() {
    let mut world = World::new().await;
    let asker = Asker::of(&mut world).await;
    asker.ask(&Question::get(HELLO, "latest").wishing("linux/amd64")).await.digests_ahead().await;
    let known: BTreeSet<_> = world.hub.request_log().snapshot().iter().map(|entry| entry.peer).collect();
    let newer = Image::hello_from("a later release").unwrap();
    let moved = Question::head(HELLO, "latest");
    for (question, expected) in [
        (Question::get(HELLO, "latest"), &["HEAD"][..]),
        (Question::get(HELLO, hello().digest()), &[]),
        (Question::head(HELLO, hello().digest()), &[]),
        (moved, &["HEAD"]),
        (Question::get(HELLO, newer.platforms()[0].manifest.digest.clone()), &["GET"]),
        (Question::get(HELLO, "new"), &["HEAD", "GET"]),
    ] {
        world.hub.store().publish(HELLO, "new", &newer);
        world.hub.request_log().clear();
        assert_eq!(asker.ask(&question).await.status, StatusCode::OK);
        let seen: Vec<LoggedRequest> = world.hub.request_log().snapshot();
        assert!(
            seen.iter().all(|entry| entry.site == Site::Registry && known.contains(&entry.peer)),
            "{seen:#?}"
        );
        assert_eq!(seen.iter().map(|entry| entry.method.as_str()).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alive_costs_no_quota() {
    let world = World::new().await;
    let bearer = world.engine.anonymous(HELLO).await;
    let (_, blob) = world.with_blob(1, 1 << 20);
    assert!(world.engine.get(&blob, &[("authorization", &bearer)]).await.whole);
    let known: BTreeSet<_> = world.hub.request_log().snapshot().iter().map(|entry| entry.peer).collect();
    world.hub.request_log().clear();
    for site in [Site::Registry, Site::Auth, Site::Cdn] {
        world.hub.request_log().wait_for(|entry| entry.site == site, 2 * PATIENCE).await.unwrap();
    }
    for entry in world.hub.request_log().snapshot() {
        assert!(entry.method == "HEAD" && known.contains(&entry.peer), "{entry:#?}");
        assert!(!entry.path.contains("/manifests/"), "{entry:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_reports_reachability_and_quota() {
    let world = World::new().await;
    let said = check(&world, &["hello"]).unwrap();
    for line in [
        "docker.io\n",
        "  registry       ok      https://registry-1.docker.io answers\n",
        "  token service  ok      auth.docker.io grants tokens to everybody\n",
        "  quota          ok      100 of 100 pulls in 6 h left, counted for 127.0.0.1\n",
        "  CDN            ok      ",
    ] {
        assert!(said.contains(line), "{said}");
    }
    assert_eq!(pulls(&world.hub), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_costs_no_quota_for_cached_images() {
    let mut world = World::new().await;
    let asker = Asker::of(&mut world).await;
    for manifest in [hello().digest().clone(), hello().platforms()[0].manifest.digest.clone()] {
        asker.ask(&Question::get(HELLO, manifest)).await;
    }
    world.hub.request_log().clear();
    assert!(check(&world, &["hello"]).unwrap().contains("98 of 100 pulls"));
    assert_eq!(pulls(&world.hub), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_the_failed_hop() {
    let world = World::new().await;
    for (site, hop) in [(Site::Registry, "registry"), (Site::Auth, "token service"), (Site::Cdn, "CDN")] {
        world.hub.faults().arm(Rule::always(Fault::HangUp { site }));
        let said = check(&world, &["hello"]).unwrap_err();
        world.hub.faults().clear();
        assert!(said.contains(&format!("  {hop:<14} FAILED  ")), "{said}");
        assert!(said.contains("1 of these could not be reached"), "{said}");
    }
    assert!(check(&world, &["ghcr.io/a/b"]).unwrap_err().contains("does not serve ghcr.io"));
}
