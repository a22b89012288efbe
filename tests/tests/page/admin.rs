//! The operator's page: by keyboard alone, and in each width, language and colour scheme.
//! Must never depend on the client's page.

use anyhow::Result;
use hub_stand_in::{Fault, Rule, Site};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::{
    accessibility::assert_all_can_use,
    support::{
        browser::{Browser, LAPTOP},
        testbed::Testbed,
    },
};

/// A status with something in each section.
pub(crate) fn full_status() -> Value {
    let at = "2026-01-01T00:00:00Z";
    let session = |address: &str, leg: &str| {
        json!({ "address": address, "leg": leg, "since": at, "rtt_ms": 203, "bytes_per_second": 5_400_000,
            "sent": 734_003_200_u64, "received": 12_000_000 })
    };
    let client = |name: &str, revoked: Option<&str>, sessions: &[Value]| {
        json!({ "name": name, "invited": at, "revoked": revoked, "last_seen": at, "sent": 734_003_200_u64,
            "received": 12_000_000, "sessions": sessions })
    };
    let registry = |name: &str, quota: Value, refusals: Value| {
        json!({ "name": name, "requests": 1200, "failed": 3, "retries": 5,
        "quota": quota, "refusals": refusals })
    };
    json!({
        "access": "operator", "version": "0.3.0", "now": "2026-01-03T00:00:00Z", "since": at, "memory_bytes": 73_400_320,
        "load": { "draining": false, "exchanges": 12, "waiting": 3 },
        "counts": { "quic": { "sent": 73_400_320_000_u64 }, "tcp": { "sent": 734_003_200 },
            "exchanges": { "manifest": { "answered": 1034, "failed": 5 }, "blob": { "answered": 4034, "failed": 15 } } },
        "clients_connected": 2, "bytes_per_second": 5_400_000,
        "cache": [{ "kind": "manifests", "count": 481, "bytes": 4_100_000, "limit": 268_435_456 }],
        "layer_cache": { "blobs": 93, "bytes": 41_000_000_000_u64, "bytes_max": 53_687_091_200_u64,
            "paused": "the disk is full", "paused_cause": "full" },
        "clients": [
            client("laptop", None, &[session("203.0.113.5:50312", "quic"), session("[2001:db8::7]:41022", "tcp")]),
            client("a-rather-long-name-of-a-build-machine-in-another-office", None, &[session("198.51.100.7:443", "tcp")]),
            client("phone", None, &[]),
            client("old", Some(at), &[]),
        ],
        "registries": [
            registry("docker.io", json!({ "remaining": 76, "limit": 100, "window_seconds": 21_600, "source": "203.0.113.5", "at": at, "resets_at": null }), Value::Null),
            registry("ghcr.io", Value::Null, json!({ "count": 12, "first": at, "last": at })),
        ],
        "failures": [{ "at": at, "reason": "registry: docker.io answers 503 Service Unavailable to three tries",
            "cause": { "fault": { "hop": "Registry", "kind": "RetriesExhausted" } } }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_uses_it_by_keyboard_alone() -> Result<()> {
    const PASSWORD: &str = "correct horse battery";
    let testbed = Testbed::new().await?;
    let mut browser = Browser::start().await?;
    browser.allow_clipboard().await?;
    browser.open(&testbed.admin_url(), LAPTOP).await?;
    browser.wait_for("!document.querySelector('#no-password').hidden").await?;
    let text = browser.text("document.querySelector('main').innerText").await?;
    assert!(!text.contains("laptop") && !text.contains("docker.io"), "counts only: {text}");
    assert_eq!(browser.violations().await?, [""; 0], "with counts only");
    let set = || testbed.server.command_with_input(&["admin-password"], &format!("{PASSWORD}\n"));
    block_in_place(set)?.succeeded()?;

    browser.open(&testbed.admin_url(), LAPTOP).await?;
    for (password, seen) in [
        (
            "correct horse batterx",
            "document.querySelector('#trouble').textContent === 'The password is wrong.'",
        ),
        (PASSWORD, "document.querySelector('#clients').innerText.includes('laptop')"),
    ] {
        browser.tab_to("#password").await?;
        browser.type_text(password).await?;
        browser.press("Enter").await?;
        browser.wait_for(seen).await?;
    }
    // A registry that refuses, and says nothing of a quota.
    let refused = Fault::Status { site: Site::Registry, status: 429, retry_after: None };
    testbed.hub.faults().arm(Rule::always(refused));
    testbed.pull("team/app").await?.unwrap_err();
    let shown = "document.querySelector('#registries [data-key=\"docker.io\"]').innerText";
    browser.wait_for(&format!("/limits requests[^]*429 Too Many Requests: \\d+×/.test({shown})")).await?;
    browser.tab_to("#name").await?;
    browser.type_text("phone").await?;
    browser.press("Enter").await?;
    browser
        .wait_for("document.querySelector('#link code')?.textContent.startsWith('docxy://phone:')")
        .await?;
    browser.tab_to("#link button").await?;
    browser.press("Enter").await?;
    let is_copied = "navigator.clipboard.readText().then(text => text === document.querySelector('#link code').textContent)";
    browser.wait_for(is_copied).await?;
    assert_eq!(browser.violations().await?, [""; 0], "with a link");

    browser.tab_to("[data-revoke=phone]").await?;
    browser.press("Enter").await?;
    browser.wait_for("document.querySelector('#revoke').open").await?;
    assert_eq!(browser.violations().await?, [""; 0], "with a question");
    browser.tab_to("#revoke-yes").await?;
    browser.press("Enter").await?;
    browser.wait_for("document.querySelector('#news').textContent === 'phone is revoked'").await?;
    browser
        .wait_for("document.querySelector('#clients [data-key=phone]').innerText.includes('revoked')")
        .await?;

    browser.tab_to("[data-language=zh]").await?;
    browser.press("Enter").await?;
    browser.wait_for("document.querySelector('#clients-title').textContent.startsWith('客户端')").await?;
    browser.tab_to("#logout").await?;
    browser.press("Enter").await?;
    browser.wait_for("!document.querySelector('#login').hidden && document.querySelectorAll('#clients li').length === 0").await?;
    assert_eq!(browser.complaints, [""; 0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operator_can_use_it() -> Result<()> {
    let testbed = Testbed::new().await?;
    let mut browser = Browser::start().await?;
    browser.fake(&full_status()).await?;
    assert_all_can_use(&mut browser, &testbed.admin_url(), "admin-").await?;
    assert_eq!(browser.complaints, [""; 0]);
    Ok(())
}
