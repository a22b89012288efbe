//! How many TCP connections one server sees from a laptop, at the moment that has most.
//! Must never count what the two ends have closed.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use docxy_tests::{
    docxy::Launch,
    process::{connections_from, scratch},
    tunnel_lab::Abroad,
    wan::presets,
};

use super::{Run, row::Row};

/// How often connections are counted. One that lives for a round trip of the link is not missed.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(10);

/// How much of the blob arrives before the session is lost.
const LOST_AT_BYTES: u64 = 20 << 20;

/// What counts as hanging.
const TIMEOUT: Duration = Duration::from_secs(120);

pub(super) fn run(run: &Run<'_>) -> Result<Vec<Row>> {
    Ok(vec![Row::new("run, pull, doctor and a lost session", most(run))])
}

fn most(run: &Run<'_>) -> Result<Vec<(&'static str, f64)>> {
    let lab = run.lab;
    let wan = lab.link(Abroad::FIRST, presets::TRANSPACIFIC.link, run.seed)?;
    let server = lab.server(Abroad::FIRST, &Launch::default())?;
    let mut client = lab.connected_client(&server.invite("laptop")?, &run.launch())?;
    let target = server.address();
    let pid = client.process().pid();
    let (most, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let folder = scratch()?;
    let others = [
        vec![
            "pull".to_owned(),
            "wan/image".to_owned(),
            format!("-o={}", folder.path().join("image").display()),
        ],
        vec!["doctor".to_owned(), "--json".to_owned()],
    ];
    let client = &client;
    let silence = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(connections_from(pid, target), Ordering::Relaxed);
                thread::sleep(SAMPLE_INTERVAL);
            }
        });
        for other in &others {
            scope.spawn(move || {
                let words: Vec<&str> = other.iter().map(String::as_str).collect();
                // Its outcome is another test's.
                let _ = client.command(&words, TIMEOUT);
            });
        }
        let lost = (|| {
            let body = lab.begin(client)?;
            let begun = Instant::now();
            while body.bytes() < LOST_AT_BYTES {
                ensure!(begun.elapsed() < TIMEOUT, "the pull does not begin");
                thread::sleep(SAMPLE_INTERVAL);
            }
            let lost = Instant::now();
            wan.block_flows();
            Ok(lab.finish(body)?.longest_silence(lost))
        })();
        done.store(true, Ordering::Relaxed);
        lost
    })?;
    Ok(vec![
        ("most TCP connections", most.load(Ordering::Relaxed) as f64),
        ("silence after the loss s", silence.as_secs_f64()),
    ])
}
