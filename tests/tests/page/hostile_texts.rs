//! Names, errors and links with HTML in them are text, wherever they are shown.
//! Must never need the texts of a failed run: their seed is in its message.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use rand::{Rng, RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use serde_json::{Value, json};

use crate::{
    accessibility::failing_snapshot,
    admin::full_status,
    support::{
        browser::{Browser, LAPTOP, Look},
        testbed::Testbed,
    },
};

/// Each text is some of these in a row.
const PARTS: [&str; 18] = [
    "<img src=x onerror=pwned()>",
    "\"><script>pwned()</script>",
    "' onmouseover='pwned()' x='",
    "javascript:pwned()",
    "</li></ul></section><iframe src=//evil.example></iframe>",
    "{{token}}${pwned()}",
    "\u{202e}\u{0}\u{2028}",
    "\n\ndata: {}\r\n\r\n",
    "<svg/onload=pwned()>",
    "</script><style>*{display:none}</style>",
    "&lt;b&gt;&#60;",
    "<!--",
    "{image}{error}$&$1",
    "__proto__",
    "\\u003cscript\\u003e",
    "/../?x=1#",
    "\u{1F43B}字",
    "docker.io/library/alpine:3.20",
];

/// How often all texts are replaced.
const ROUNDS: usize = 40;

/// What an injected text would leave in the page, or run.
const INJECTED: &str = "document.querySelectorAll('iframe, main img, main style, main svg svg, body script, [onerror], \
    [onload], [onmouseover], [href^=javascript]').length + (window.isPwned ?? 0)";

fn hostile(random: &mut impl Rng) -> String {
    let count = random.random_range(1..=3);
    (0..count).map(|_| PARTS[random.random_range(0..PARTS.len())]).collect()
}

/// Puts hostile texts in place of all texts but those that the programs choose from a list.
fn spoil(value: &mut Value, key: &str, random: &mut impl Rng) {
    const CHOSEN: [&str; 16] = [
        "state",
        "outcome",
        "advice",
        "waits_for",
        "tunnel",
        "since",
        "at",
        "waits_since",
        "resets_at",
        "now",
        "last_seen",
        "invited",
        "access",
        "kind",
        "first",
        "last",
    ];
    match value {
        Value::String(text) if !CHOSEN.contains(&key) => *text = hostile(random),
        // What has another image is another pull.
        Value::Number(_) if key == "id" => *value = json!(random.random_range(0..u64::from(u32::MAX))),
        Value::Array(all) => all.iter_mut().for_each(|value| spoil(value, key, random)),
        Value::Object(all) => all.iter_mut().for_each(|(key, value)| spoil(value, key, random)),
        _ => {}
    }
}

/// Shows hostile states again and again, in both languages. In English, those at `shown` are seen as they are: in Chinese,
/// some have other words in their place.
async fn assert_texts_stay_texts(url: &str, state: Value, shown: &[&str]) -> Result<()> {
    let seed: u64 = SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos().into();
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut browser = Browser::start().await?;
    browser.fake(&state).await?;
    for round in 0..2 * ROUNDS {
        if round % ROUNDS == 0 {
            let language = if round == 0 { "en-US" } else { "zh-CN" };
            browser.open(url, Look { language, ..LAPTOP }).await?;
            browser.value("window.pwned = () => { window.isPwned = 1; }").await?;
        }
        let mut state = state.clone();
        spoil(&mut state, "", &mut random);
        browser.fake_next(&state).await?;
        assert_eq!(browser.value(INJECTED).await?, 0, "seed {seed}, round {round}: {state}");
        let text = browser.text("document.querySelector('main').textContent").await?;
        for place in shown.iter().filter(|_| round < ROUNDS) {
            let expected = state.pointer(place).and_then(Value::as_str).unwrap();
            assert!(text.contains(expected), "seed {seed}, round {round}, {place}: {expected:?} in {text:?}");
        }
    }
    assert_eq!(browser.complaints, [""; 0], "seed {seed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_texts_stay_texts() -> Result<()> {
    let testbed = Testbed::new().await?;
    let shown = [
        "/line/server_name",
        "/line/reason",
        "/pulls/1/image",
        "/pulls/1/reason",
        "/finished/1/image",
        "/finished/1/reason",
        "/errors/0/image",
        "/errors/0/text",
        "/servers/2/server",
        "/servers/2/reason",
        "/quota/0/source",
        "/engines/0/setup",
        "/engines/2/problem",
        "/cache/problem",
    ];
    assert_texts_stay_texts(&testbed.url(), failing_snapshot(), &shown).await?;
    let shown = [
        "/clients/0/name",
        "/clients/0/sessions/0/address",
        "/registries/0/name",
        "/failures/0/reason",
        "/layer_cache/paused",
    ];
    assert_texts_stay_texts(&testbed.admin_url(), full_status(), &shown).await
}
