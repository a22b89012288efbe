//! The page by axe-core's rules, in each width, language and colour scheme, with much on it and with nothing.
//! Must never leave out a combination.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    support::{
        browser::{Browser, LAPTOP, Look},
        testbed::Testbed,
    },
    words::wrong_words,
};

/// A snapshot with something in each section.
pub(crate) fn full_snapshot() -> Value {
    let at = "2026-01-01T00:00:00Z";
    let layer = |id: &str, state: &str, bytes: u64| json!({ "id": id, "state": state, "bytes": bytes, "length": 40_000_000 });
    let layers = [
        layer("a3ed95caeb02", "done", 40_000_000),
        layer("7fb2c91be0a1", "running", 17_300_000),
        layer("0c9e28d2f7ab", "running", 3_000_000),
        layer("5d20c808ce19", "pending", 0),
    ];
    let pull = |id: u64, image: &str| {
        json!({
            "id": id, "image": image, "engine": "docker", "platform": "linux/amd64", "since": at,
            "bytes": 60_300_000, "length": 160_004_096, "bytes_per_second": 3_700_000, "seconds_left": 27,
            "layers": layers, "waits_for": null, "waits_since": null, "reason": null, "cause": null,
        })
    };
    let mut waiting = pull(2, "ghcr.io/owner/a-rather-long-name-of-an-image/with-parts:2026.1-alpine");
    let wait = json!({ "bytes_per_second": 0, "seconds_left": null, "waits_for": "tunnel", "waits_since": at,
        "reason": "tunnel: down for 12 s, reconnecting: no response within 2.5 s",
        "cause": { "fault": { "hop": "Tunnel", "kind": "Down" } } });
    waiting.as_object_mut().unwrap().extend(wait.as_object().unwrap().clone());
    let refusal = |status: u16| json!({ "refusal": { "status": status } });
    let finished = |id: u64, outcome: &str, reason: Option<&str>| {
        json!({
            "id": id, "image": "docker.io/library/alpine:3.20", "engine": "containerd", "platform": "linux/arm64",
            "at": at, "outcome": outcome, "reason": reason, "cause": reason.map(|_| refusal(404)), "milliseconds": 4200, "layers": [5, 5],
            "from_tunnel": 12_400_000, "from_cache": 1_800_000, "from_neighbour": 7_300_000, "interruptions": 1,
        })
    };
    let error = |advice: &str, count: u64| {
        json!({ "at": at, "count": count, "text": "registry: it answers 429 Too Many Requests", "cause": refusal(429),
            "image": format!("docker.io/library/{}:1", advice.replace('_', "-")), "advice": advice })
    };
    let server = |name: &str, state: &str, in_use: bool| {
        json!({
            "server": name, "state": state, "since": at, "reason": if state == "up" { None } else { Some("down for 12 s, reconnecting: no response within 2.5 s") },
            "cause": if state == "up" { None } else { Some("no_response") },
            "draining": false, "trusted": in_use, "in_use": in_use, "preferred": in_use,
            "address": "192.0.2.7:61443", "leg": "quic", "rtt_ms": 203, "bytes_received": 734_003_200_u64,
            "bytes_per_second": 5_400_000, "bodies": 2,
        })
    };
    let engine = |name: &str, is_set_up: bool, problem: Option<&str>| {
        json!({ "name": name, "is_set_up": is_set_up, "problem": problem, "cause": problem.map(|_| "changed"),
            "setup": format!("sudo docxy-client setup {name} --apply"), "test": format!("{name} pull hello-world") })
    };
    let history: Vec<u64> = (0..600).map(|n: u64| (n % 97) * (n % 31) * 2_000 + n * 3_000).collect();
    json!({
        "version": "0.3.0", "address": "127.0.0.1:5080",
        "line": { "tunnel": "up", "server_name": "vpn.example.org:61443", "since": at, "server": "192.0.2.7:61443",
            "proxy": null, "leg": "quic", "leg_reason": "dialed first", "leg_cause": "Preferred", "congestion": "bbr", "rtt_ms": 203, "loss": 0.012, "segments": 3 },
        "servers": [server("vpn.example.org:61443", "up", true), server("198.51.100.9:443", "up", false), server("backup.example.net:61443", "down", false)],
        "history": history, "pulls": [pull(1, "docker.io/library/postgres:16"), waiting],
        "finished": [finished(9, "done", None), finished(8, "failed", Some("registry: it answers 404 Not Found")), finished(7, "stopped", None)],
        "quota": [
            { "registry": "docker.io", "source": "203.0.113.5", "limit": 100, "remaining": 76, "window_seconds": 21_600, "at": at, "resets_at": null },
            { "registry": "quay.io", "source": null, "limit": 100, "remaining": 4, "window_seconds": 21_600, "at": at, "resets_at": null },
            { "registry": "ghcr.io", "source": null, "limit": null, "remaining": null, "window_seconds": null, "at": at, "resets_at": "2099-01-01T12:00:00Z" },
        ],
        "cache": { "bytes": 4_000_000_000_u64, "limit": 10_000_000_000_u64 },
        "errors": [error("quota", 3), error("check_name", 1)],
        "engines": [engine("docker", false, None), engine("podman", true, None), engine("containerd", true, Some("its file was changed"))],
    })
}

/// The same while nothing works.
pub(crate) fn failing_snapshot() -> Value {
    let mut snapshot = full_snapshot();
    let reason = "could not connect: 192.0.2.7:61443: no response within 2.5 s; is the server running, and is UDP open on the whole path?";
    snapshot["line"] = json!({ "tunnel": "down", "server_name": "vpn.example.org:61443", "since": "2026-01-01T00:00:00Z",
        "reason": reason, "cause": "no_response" });
    for (n, state, cause, reason) in [
        (0, "down", "no_response", reason),
        (
            1,
            "refused",
            "other_key",
            "198.51.100.9:443: another key than the link's has answered: ask the operator for a new link",
        ),
        (2, "suspected", "silent", "no response for 4 s"),
    ] {
        let server = &mut snapshot["servers"][n];
        (server["state"], server["cause"], server["reason"]) = (json!(state), json!(cause), json!(reason));
        (server["leg"], server["rtt_ms"], server["bytes_received"]) = (Value::Null, Value::Null, Value::Null);
    }
    snapshot["pulls"][0]["waits_for"] = json!("permit");
    snapshot["pulls"][0]["waits_since"] = json!("2026-01-01T00:00:00Z");
    snapshot["cache"] = json!({ "bytes": 0, "limit": 0, "problem": "another process uses /var/cache/docxy: end it, or name another cache directory", "cause": "in_use" });
    snapshot
}

/// Looks at the page in each width, language and colour scheme, and keeps the pictures under this name.
pub(crate) async fn assert_all_can_use(browser: &mut Browser, url: &str, kind: &str) -> Result<()> {
    for (width, language, is_dark) in [390, 1280].into_iter().flat_map(|width| {
        ["en-US", "zh-CN"]
            .into_iter()
            .flat_map(move |language| [false, true].map(|dark| (width, language, dark)))
    }) {
        browser.open(url, Look { width, language, is_dark }).await?;
        browser.wait_for("document.querySelectorAll('main li').length > 3").await?;
        let scheme = if is_dark { "dark" } else { "light" };
        let name = format!("{kind}{width}-{}-{scheme}", &language[..2]);
        browser.keep_picture(&name).await?;
        assert_eq!(browser.violations().await?, [""; 0], "{name}");
        let is_narrow = browser.value("document.documentElement.scrollWidth <= innerWidth").await?;
        assert_eq!(is_narrow, true, "{name} scrolls sideways");
        assert_eq!(wrong_words(browser).await?, [""; 0], "{name}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_can_see_what_is_wrong() -> Result<()> {
    let testbed = Testbed::new().await?;
    let mut browser = Browser::start().await?;
    browser.fake(&failing_snapshot()).await?;
    assert_all_can_use(&mut browser, &testbed.url(), "failing-").await?;
    assert_eq!(browser.complaints, [""; 0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_can_use_it() -> Result<()> {
    let testbed = Testbed::new().await?;
    let mut browser = Browser::start().await?;
    browser.open(&testbed.url(), LAPTOP).await?;
    browser.wait_for("document.querySelector('#state').textContent === 'Connected'").await?;
    assert_eq!(browser.violations().await?, [""; 0], "with nothing on it");
    browser.keep_picture("empty").await?;
    browser.fake(&full_snapshot()).await?;
    assert_all_can_use(&mut browser, &testbed.url(), "").await?;
    assert_eq!(browser.complaints, [""; 0]);
    Ok(())
}
