//! Names, errors and links with HTML in them are text, wherever they are shown.

use anyhow::Result;
use serde_json::Value;

use crate::{
    accessibility::full_snapshot,
    support::{
        browser::{Browser, LAPTOP},
        testbed::Testbed,
    },
};

const HOSTILE: [&str; 6] = [
    "<img src=x onerror=pwned()>",
    "\"><script>pwned()</script>",
    "' onmouseover='pwned()' x='",
    "javascript:pwned()",
    "</li></ul></section><iframe src=//evil.example></iframe>",
    "{{token}}${pwned()}\u{202e}\u{0}\n\ndata: {}\r\n\r\n",
];

/// Puts hostile texts in place of all texts but those that the client chooses from a list.
fn spoil(value: &mut Value, key: &str, next: &mut usize) {
    const CHOSEN: [&str; 8] =
        ["state", "outcome", "advice", "waits_for", "tunnel", "since", "at", "waits_since"];
    match value {
        Value::String(text) if !CHOSEN.contains(&key) => {
            *next += 1;
            *text = format!("{}{next}", HOSTILE[*next % HOSTILE.len()]);
        }
        Value::Array(all) => all.iter_mut().for_each(|value| spoil(value, key, next)),
        Value::Object(all) => all.iter_mut().for_each(|(key, value)| spoil(value, key, next)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_texts_stay_texts() -> Result<()> {
    let testbed = Testbed::new().await?;
    let mut browser = Browser::start().await?;
    // Each round, each place has another one.
    for round in 0..HOSTILE.len() {
        let (mut snapshot, mut next) = (full_snapshot(), round);
        spoil(&mut snapshot, "", &mut next);
        browser.fake_events(&snapshot).await?;
        browser.open(&testbed.url(), LAPTOP).await?;
        browser.wait_for("document.querySelectorAll('#finished li').length === 3").await?;
        let elements = "document.querySelectorAll('iframe, main img, body script, [onerror], [onmouseover], [href^=javascript]').length";
        assert_eq!(browser.value(elements).await?, 0);
        let shown = browser.text("document.querySelector('main').textContent").await?;
        let seen = HOSTILE.iter().filter(|text| shown.contains(&text[..15])).count();
        assert_eq!(seen, HOSTILE.len(), "they are shown as they are");
    }
    assert_eq!(browser.complaints, [""; 0]);
    Ok(())
}
