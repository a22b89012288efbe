//! Logs for programs: a pull's story is read from both sides by its trace id.

use docxy_tests::process::{PROCESS_TIMEOUT, Process};
use serde_json::Value;
use tokio::task::block_in_place;

use crate::support::{http_client::ANY, observed::observed, testbed::Testbed};

/// The lines of a log, each of which must be JSON.
fn lines(process: &Process) -> Vec<Value> {
    let output = process.output();
    // The last line may be written in part.
    let whole = &output[..output.rfind('\n').map_or(0, |end| end + 1)];
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    whole.lines().map(parse).collect()
}

/// The trace ids anywhere in a line: its own, and those of the spans around it.
fn has_trace(line: &Value, trace: &str) -> bool {
    let own = [line].into_iter().chain(line["spans"].as_array().into_iter().flatten());
    own.map(|fields| &fields["trace_id"]).any(|found| found == trace)
}

async fn pull(testbed: &Testbed) -> String {
    let docker = ("user-agent", "docker/27.0 go/1.22 (linux)");
    let bearer = ("authorization", &*testbed.engine.anonymous("library/hello").await);
    let manifest = testbed.engine.get("/v2/library/hello/manifests/latest", &[ANY, bearer, docker]).await;
    let manifest = if let Some(first) = manifest.json()["manifests"][0]["digest"].as_str() {
        testbed
            .engine
            .get(&format!("/v2/library/hello/manifests/{first}"), &[ANY, bearer, docker])
            .await
            .json()
    } else {
        manifest.json()
    };
    for blob in [&manifest["config"]].into_iter().chain(manifest["layers"].as_array().unwrap()) {
        let path = format!("/v2/library/hello/blobs/{}", blob["digest"].as_str().unwrap());
        assert_eq!(testbed.engine.get(&path, &[bearer, docker]).await.status, 200);
    }
    manifest.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_is_followed_through_both_logs_by_its_trace_id() {
    let (mut testbed, _) = observed(&["--log-format", "json"]).await;
    pull(&testbed).await;
    let ended = |process: &Process| {
        let ended = lines(process).into_iter().find(|line| line["event"] == "pull_end");
        Ok(ended)
    };
    let wait = || testbed.client.process().wait_for("tell that the pull has ended", PROCESS_TIMEOUT, ended);
    let end = block_in_place(wait).unwrap();
    assert_eq!(end["image"], "docker.io/library/hello:latest", "{end}");
    let trace = end["trace_id"].as_str().unwrap().to_owned();
    let story: Vec<Value> =
        lines(testbed.client.process()).into_iter().filter(|line| has_trace(line, &trace)).collect();
    let events: Vec<&str> = story.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!(events, ["pull_begin", "pull_end"], "{story:?}");
    // Otherwise, a server waits for more requests of a pull before it tells that there are none.
    block_in_place(|| testbed.server.stop()).unwrap();
    let on_server: Vec<Value> =
        lines(testbed.server.process()).into_iter().filter(|line| has_trace(line, &trace)).collect();
    let events: Vec<&str> = on_server.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!((events, on_server.len()), (vec!["pull_begin", "pull_end"], 2), "{on_server:?}");
    let sent = &on_server[1];
    assert_eq!((&sent["registry"], &sent["client"]), (&"docker.io".into(), &"laptop".into()), "{sent}");
    assert!(sent["bytes"].as_u64() >= end["crossed"].as_u64() && sent["bytes"] != 0, "{sent} and {end}");
    // By default, the operator's log has no names of images.
    assert!(!testbed.server.process().output().contains("library/hello"), "{on_server:?}");
    // With the time and the level before them, they fit into 100 columns.
    for line in story.iter().chain(&on_server) {
        assert!(line["message"].as_str().is_some_and(|message| message.chars().count() <= 85), "{line}");
    }
}
