//! `docxy-client status --watch`: on a terminal, into a pipe, and as JSON.

use std::{fs::File, io::Write as _, os::fd::OwnedFd, os::unix::process::ExitStatusExt as _};

use docxy_tests::{
    docxy::Launch,
    process::{PROCESS_TIMEOUT, Process},
};
use http::StatusCode;
use hub_stand_in::{Blob, Fault, Image, Rule, Site};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::unix::pipe,
    task::block_in_place,
    time::timeout,
};

use crate::support::{
    http_client::ANY,
    screen::Screen,
    testbed::{Testbed, restart_client, wait_until_up},
};

const DOCKER: (&str, &str) = ("user-agent", "docker/29.1.0");

/// The signal of Ctrl-C, which a shell tells as 130.
const INTERRUPTED: i32 = 2;

impl Testbed {
    /// Begins a pull of this image as docker does: index and manifest. Returns its config and its layer.
    async fn begin_pull(&self, repository: &str, seed: u64) -> [Blob; 2] {
        let image = Image::one_layer(seed, 1 << 20).unwrap();
        self.hub.store().publish(repository, "latest", &image);
        let platform = image.platform("amd64").unwrap();
        for reference in ["latest", &platform.manifest.digest.to_string()] {
            let path = format!("/v2/{repository}/manifests/{reference}");
            assert_eq!(self.engine.get(&path, &[ANY, DOCKER]).await.status, StatusCode::OK);
        }
        [platform.config.clone(), platform.layers[0].blob.clone()]
    }

    /// Starts `status --watch` with further arguments.
    fn watch(&self, launch: &Launch, arguments: &[&str]) -> Process {
        let listen = self.client.address().to_string();
        let arguments = [&["status", "--watch", "--listen", &listen], arguments].concat();
        self.client.start_command_as(launch, &arguments).unwrap()
    }

    /// The same into a pipe. Returns the lines that arrive there.
    fn watch_by_pipe(&self, arguments: &[&str]) -> (Process, Output) {
        let (reader, writer) = std::io::pipe().unwrap();
        let process = self.watch(&Launch::to(File::from(OwnedFd::from(writer))), arguments);
        let reader = pipe::Receiver::from_owned_fd(reader.into()).unwrap();
        (process, Output { lines: BufReader::new(reader).lines(), seen: Vec::new() })
    }
}

/// What a command writes into a pipe.
struct Output {
    lines: Lines<BufReader<pipe::Receiver>>,
    seen: Vec<String>,
}

impl Output {
    async fn next(&mut self) -> String {
        let line = timeout(PROCESS_TIMEOUT, self.lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("no further line after {:#?}", self.seen)).unwrap();
        let line = line.expect("the command still runs");
        self.seen.push(line.clone());
        line
    }

    /// The next line with these words.
    async fn next_with(&mut self, words: &str) -> String {
        loop {
            let line = self.next().await;
            if line.contains(words) {
                return line;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_shows_what_is_going_on_now() {
    let mut testbed = Testbed::new().await;
    let (mut screen, device) = Screen::new();
    let launch = Launch {
        input: Some(device.try_clone().unwrap()),
        output: Some(device),
        // Then a key reaches the command as a signal. A job in the background ignores this one, and so do its children.
        ..Launch::under(&["setsid", "--ctty", "env", "--default-signal=INT"])
    };
    let mut watch = testbed.watch(&launch, &[]);
    drop(launch);
    let up = format!("up {}", testbed.server.address());
    let is_up = |lines: &[String]| lines.first().is_some_and(|line| line.starts_with(&up));
    let has = |lines: &[String], words: &str| lines.iter().any(|line| line.contains(words));
    screen.wait_for(&mut watch, "show the line", is_up);

    let blobs = testbed.begin_pull("library/big", 3).await;
    testbed.hub.faults().arm(Rule::always(Fault::Hold { site: Site::Cdn }).on(blobs[1].digest().hex()));
    let [config, layer] = blobs.map(|blob| {
        let (engine, path) = (testbed.engine, format!("/v2/library/big/blobs/{}", blob.digest()));
        tokio::spawn(async move { engine.get(&path, &[DOCKER]).await.status })
    });
    assert_eq!(config.await.unwrap(), StatusCode::OK);
    let lines = screen.wait_for(&mut watch, "show the pull", |lines| {
        is_up(lines) && has(lines, "docker.io/library/big:latest") && has(lines, "0 of 1 layers")
    });
    let at = |name: &str| lines.iter().position(|line| line == name);
    assert!(at("pulls").is_some() && at("finished").is_none(), "{lines:#?}");

    testbed.hub.faults().clear();
    testbed.hub.faults().release();
    assert_eq!(layer.await.unwrap(), StatusCode::OK);
    // In place: what was so before is gone, and everything is there once.
    let lines = screen.wait_for(&mut watch, "show the end of the pull", |lines| {
        let is_there = |name: &str| lines.iter().any(|line| line == name);
        is_up(lines) && is_there("finished") && !is_there("pulls")
    });
    for words in [up.as_str(), "docker.io/library/big:latest"] {
        assert_eq!(lines.iter().filter(|line| line.contains(words)).count(), 1, "{words}: {lines:#?}");
    }

    block_in_place(|| testbed.client.stop()).unwrap();
    let lines = screen.wait_for(&mut watch, "show that no client runs", |lines| {
        lines.first().is_some_and(|line| line.starts_with("no docxy-client answers"))
    });
    assert_eq!(lines.len(), 1, "{lines:#?}");
    block_in_place(|| testbed.client.start_again()).unwrap();
    wait_until_up(&mut testbed.client);
    let lines = screen.wait_for(&mut watch, "show the next client", is_up);
    assert!(!has(&lines, "library/big"), "{lines:#?}");

    screen.keyboard.write_all(b"\x03").unwrap();
    let status = block_in_place(|| watch.wait_until_ended(PROCESS_TIMEOUT)).unwrap();
    assert_eq!(status.signal(), Some(INTERRUPTED), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_gets_a_line_for_each_thing_that_happens() {
    let mut testbed = Testbed::new().await;
    let (mut watch, mut output) = testbed.watch_by_pipe(&[]);
    let up = format!("Z up {}", testbed.server.address());
    assert!(output.next().await.contains(&up));
    testbed.begin_pull("library/first", 1).await;
    output.next_with("Z pull docker.io/library/first:latest ").await;

    // A client that was started again between two looks: its first pull is another one.
    watch.signal("STOP").unwrap();
    restart_client(&mut testbed.client);
    testbed.begin_pull("library/second", 2).await;
    watch.signal("CONT").unwrap();
    output.next_with("Z pull docker.io/library/second:latest ").await;

    block_in_place(|| testbed.client.stop()).unwrap();
    output.next_with("Z no docxy-client answers").await;
    block_in_place(|| testbed.client.start_again()).unwrap();
    wait_until_up(&mut testbed.client);
    output.next_with(&up).await;

    // Each line begins with its time, for a pipe, and says something new.
    for line in &output.seen {
        let time = line.split(' ').next().unwrap();
        assert!(time.len() == 20 && time.ends_with('Z') && !line.contains('\x1b'), "{line:?}");
    }
    let of_first = output.seen.iter().filter(|line| line.contains("pull docker.io/library/first")).count();
    assert_eq!(of_first, 1, "{:#?}", output.seen);

    // As `head` does when it has enough.
    drop(output);
    let status = block_in_place(|| watch.wait_until_ended(PROCESS_TIMEOUT)).unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_gets_a_document_a_line() {
    let mut testbed = Testbed::new().await;
    let (mut watch, mut output) = testbed.watch_by_pipe(&["--json"]);
    let parsed = |line: String| serde_json::from_str::<Value>(&line).unwrap();
    assert_eq!(parsed(output.next().await)["line"]["tunnel"], "up");
    let [_, layer] = testbed.begin_pull("library/app", 1).await;
    let layer = format!("/v2/library/app/blobs/{}", layer.digest());
    assert_eq!(testbed.engine.get(&layer, &[DOCKER]).await.status, StatusCode::OK);
    while parsed(output.next().await)["finished"][0]["image"] != "docker.io/library/app:latest" {}
    block_in_place(|| testbed.client.stop()).unwrap();
    while !parsed(output.next().await)["error"].is_string() {}
    block_in_place(|| testbed.client.start_again()).unwrap();
    while parsed(output.next().await)["line"]["tunnel"] != "up" {}
    drop(output);
    let status = block_in_place(|| watch.wait_until_ended(PROCESS_TIMEOUT)).unwrap();
    assert!(status.success(), "{status}");
}
