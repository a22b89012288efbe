//! A log that cannot be written. Whatever happens to stdout and stderr, both programs serve, apply a revocation at once,
//! and end at SIGTERM.

use std::{
    fs::{File, OpenOptions},
    io::{PipeReader, Read as _},
    net::Ipv4Addr,
    os::fd::OwnedFd,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use docxy_tests::{
    docxy::{Client, Launch, Server},
    process::{PROCESS_TIMEOUT, Process, binary, run, scratch},
};
use http::StatusCode;
use hub_stand_in::{Blob, Hub, Image};
use rustix::io::ioctl_fionread;
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient, PROMPT_TIMEOUT, REVOCATION_TIMEOUT},
    terminal::terminal,
    testbed::{config, hub, wait_until_up},
};

/// The fewest bytes in a full pipe. It has 16 pages of 4 KiB, and a line that does not fit into the rest of a page begins
/// the next one.
const FULL_PIPE_MIN: u64 = 48 * 1024;

/// The length of a blob of several segments, and thousands of log lines at `trace`.
const BLOB_LEN: u64 = 4 << 20;

/// Both programs, each with its own launch settings.
struct Pair {
    hub: Hub,
    server: Server,
    client: Client,
}

impl Pair {
    async fn start(server: Launch, client: Launch) -> Self {
        let hub = hub().await;
        block_in_place(|| {
            let config = config(&hub);
            let server = Server::start_as(&server, None, Ipv4Addr::LOCALHOST.into(), &config).unwrap();
            let link = server.invite("laptop").unwrap();
            let mut client = Client::start_as(&client, None, &link).unwrap();
            wait_until_up(&mut client);
            Self { hub, server, client }
        })
    }

    /// Serves a manifest and a blob of several segments.
    async fn serve(&self) {
        let engine = HttpClient::at(self.client.address());
        let bearer = engine.anonymous("library/hello").await;
        let headers = [("authorization", bearer.as_str()), ANY];
        let manifest = engine.get("/v2/library/hello/manifests/latest", &headers).await;
        assert_eq!(manifest.status, StatusCode::OK);
        let blob = Blob::generated(1, BLOB_LEN);
        self.hub.store().add_blob("library/hello", blob.clone());
        let response = engine.get(&format!("/v2/library/hello/blobs/{}", blob.digest()), &headers).await;
        assert!(
            response.status == StatusCode::OK && response.whole && response.body.len() as u64 == BLOB_LEN
        );
    }

    /// Serves until the client has lost lines of its log, which it writes in the background.
    async fn serve_until_lines_are_dropped(&self) {
        let started = Instant::now();
        while dropped(&self.client) == 0 {
            assert!(started.elapsed() < PROCESS_TIMEOUT, "no line of the log is lost");
            self.serve().await;
        }
    }

    /// Asserts that both serve, apply a revocation, and end.
    async fn assert_unharmed(mut self) {
        for _ in 0..5 {
            self.serve().await;
        }
        block_in_place(|| {
            self.server.revoke("laptop").unwrap();
            let refused = |health: &serde_json::Value| health["tunnel"] == "refused";
            let client = &mut self.client;
            client.wait_for_health("be refused", REVOCATION_TIMEOUT, refused).unwrap();
            for process in [self.server.process(), self.client.process()] {
                let started = Instant::now();
                process.signal("TERM").unwrap();
                let status = process.wait_until_ended(PROCESS_TIMEOUT).unwrap();
                assert!(status.success(), "{status}");
                assert!(started.elapsed() < PROMPT_TIMEOUT, "{:?}", started.elapsed());
            }
        });
        drop(self.hub);
    }
}

fn pipe() -> (PipeReader, File) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader, File::from(OwnedFd::from(writer)))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_programs_serve_with_closed_output() {
    let pair = Pair::start(Launch::closed().logging("trace"), Launch::closed().logging("trace")).await;
    pair.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_programs_survive_the_end_of_the_log_reader() {
    let ((server_log, server), (client_log, client)) = (pipe(), pipe());
    let pair = Pair::start(Launch::to(server), Launch::to(client).logging("debug")).await;
    drop((server_log, client_log));
    pair.serve_until_lines_are_dropped().await;
    pair.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_programs_start_without_a_log_reader() {
    let ((_, server), (_, client)) = (pipe(), pipe());
    let pair = Pair::start(Launch::to(server), Launch::to(client).logging("trace")).await;
    pair.serve_until_lines_are_dropped().await;
    pair.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_programs_serve_with_a_log_on_a_full_disk() {
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let pair = Pair::start(Launch::to(full()).logging("debug"), Launch::to(full()).logging("debug")).await;
    pair.serve_until_lines_are_dropped().await;
    pair.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_programs_serve_with_a_log_on_a_full_tmpfs() {
    if !can_mount() {
        println!("skipped: this user cannot mount a tmpfs");
        return;
    }
    let folder = scratch().unwrap();
    // In a mount namespace that ends with the program.
    let path = folder.path().display();
    let fill = format!(
        "mount -t tmpfs -o size=16k none {path} && cat /dev/zero >{path}/fill 2>{path}/error; \
         exec \"$0\" \"$@\" >>{path}/log 2>&1"
    );
    let under = || Launch::under(&["unshare", "--mount", "sh", "-c", &fill]).logging("debug");
    let pair = Pair::start(under(), under()).await;
    pair.serve_until_lines_are_dropped().await;
    pair.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_programs_serve_with_a_full_log_pipe() {
    let ((server_log, server), (client_log, client)) = (pipe(), pipe());
    let pair = Pair::start(Launch::to(server).logging("trace"), Launch::to(client).logging("trace")).await;
    let started = Instant::now();
    let unread_bytes = || [&server_log, &client_log].map(|log| ioctl_fionread(log).unwrap());
    loop {
        let before = unread_bytes();
        pair.serve().await;
        let are_full = before.iter().all(|bytes| *bytes >= FULL_PIPE_MIN) && before == unread_bytes();
        if are_full && dropped(&pair.client) > 0 {
            break;
        }
        assert!(started.elapsed() < PROCESS_TIMEOUT, "the logs do not fill: {before:?}");
    }
    pair.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_continues_when_its_reader_does() {
    let (mut log, client) = pipe();
    let mut pair = Pair::start(Launch::default(), Launch::to(client).logging("trace")).await;
    let started = Instant::now();
    pair.serve_until_lines_are_dropped().await;
    let reader = std::thread::spawn(move || {
        let (mut read, mut buffer) = (0, [0; 64 * 1024]);
        while let Ok(bytes @ 1..) = log.read(&mut buffer) {
            read += bytes;
        }
        read
    });
    // With a reader that reads, soon no more lines are lost.
    let engine = HttpClient::at(pair.client.address());
    let mut lost = dropped(&pair.client);
    loop {
        assert_eq!(engine.get("/v2/", &[]).await.status, StatusCode::UNAUTHORIZED);
        let now = dropped(&pair.client);
        if now == lost {
            break;
        }
        assert!(started.elapsed() < PROCESS_TIMEOUT, "lines are still lost: {now}");
        lost = now;
    }
    block_in_place(|| pair.client.stop()).unwrap();
    drop(pair);
    // The pipe's content, and the program's queue of 1 MiB.
    let read = block_in_place(|| reader.join()).unwrap();
    assert!(read > 512 * 1024, "{read} bytes were read");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_programs_survive_the_end_of_their_terminal() {
    let ((server_screen, server), (client_screen, client)) = (terminal(), terminal());
    let under = |slave: File| Launch {
        input: Some(slave.try_clone().unwrap()),
        output: Some(slave),
        // It becomes their controlling terminal. At its end the kernel sends SIGHUP.
        ..Launch::under(&["setsid", "--ctty"])
    };
    let pair = Pair::start(under(server), under(client)).await;
    drop((server_screen, client_screen));
    pair.serve().await;
    pair.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_signals_end_neither_program() {
    let mut pair = Pair::start(Launch::default(), Launch::default()).await;
    for signal in ["HUP", "USR1", "USR2", "PIPE"] {
        for process in [pair.server.process(), pair.client.process()] {
            process.signal(signal).unwrap();
        }
        pair.serve().await;
    }
    let still_runs = |process: &mut Process| process.wait_until_ended(Duration::from_millis(200)).is_err();
    block_in_place(|| assert!(still_runs(pair.server.process()) && still_runs(pair.client.process())));
    pair.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_command_survives_a_broken_stderr() {
    let mut pair = Pair::start(Launch::default(), Launch::default()).await;
    let folder = scratch().unwrap();
    let link = pair.client.link_file();
    let (unread, full_pipe) = pipe();
    let (_, broken) = pipe();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    for (n, stderr) in [(1, full_pipe), (2, broken), (3, full)] {
        // At this level a pull writes more than a pipe holds.
        pair.hub.store().publish("library/hello", "latest", &Image::one_layer(n, BLOB_LEN).unwrap());
        let image = folder.path().join(format!("{n}.tar"));
        let mut command = Command::new(binary("docxy-client").unwrap());
        command.args(["pull", "--log", "trace", "library/hello", "-o"]).arg(&image);
        command.arg("--link-file").arg(&link).env("DOCXY_CACHE", folder.path().join("cache"));
        let streams = [Stdio::null(), Stdio::null(), stderr.into()];
        block_in_place(|| {
            let mut pull = Process::spawn_with("pull", command, folder.path(), Some(streams)).unwrap();
            let status = pull.wait_until_ended(PROCESS_TIMEOUT).unwrap();
            assert!(status.success() && image.exists(), "{n}: {status}");
        });
    }
    drop(unread);
    block_in_place(|| pair.client.stop()).unwrap();
}

/// Lines that the client's log has lost.
fn dropped(client: &Client) -> u64 {
    block_in_place(|| client.health()).unwrap()["log_lines_dropped"].as_u64().unwrap()
}

fn can_mount() -> bool {
    let folder = scratch().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "mount", "-t", "tmpfs", "none"]).arg(folder.path());
    block_in_place(|| run(command, PROCESS_TIMEOUT)).is_ok_and(|finished| finished.status.success())
}
