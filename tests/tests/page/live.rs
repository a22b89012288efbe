//! A pull, a fault, and the buttons, as a user meets them.

use anyhow::Result;
use docxy_tests::process::PROCESS_TIMEOUT;
use hub_stand_in::{Fault, Rule, Site};
use tokio::task::block_in_place;

use crate::support::{
    browser::{Browser, LAPTOP},
    testbed::Testbed,
};

const PULL: &str = "document.querySelector('#pulls .pull')";

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_and_a_fault_are_seen_live() -> Result<()> {
    let mut testbed = Testbed::new().await?;
    let image = testbed.publish("team/app", 7, 5, 20 << 20)?;
    let layer = image.platform("amd64").unwrap().layers[2].blob.digest().hex().to_owned();
    testbed.hub.faults().arm(Rule::always(Fault::Hold { site: Site::Cdn }).on(&layer));
    let mut browser = Browser::start().await?;
    browser.open(&testbed.url(), LAPTOP).await?;
    browser.wait_for("document.querySelector('#state').textContent === 'Connected'").await?;
    browser.wait_for("!document.querySelector('#pulls-empty').hidden").await?;

    let pull = testbed.pull("team/app");
    browser.wait_for(&format!("{PULL}?.querySelectorAll('.layers li').length === 5")).await?;
    // All but the layer that does not come.
    browser.wait_for(&format!("{PULL}.querySelectorAll('.layers progress.done').length === 4")).await?;
    let text = browser.text(&format!("{PULL}.innerText")).await?;
    for words in ["docker.io/team/app:1", "docker", "linux/amd64", "4 of 5 layers", "of 20.0 MiB"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let bar = browser.value(&format!("{PULL}.querySelector('progress').position")).await?;
    assert!((0.5..1.0).contains(&bar.as_f64().unwrap()), "{bar}");
    browser.keep_picture("pull").await?;

    // A server that hears nothing any more.
    testbed.server.process().signal("STOP")?;
    browser.wait_for("document.querySelector('#state').textContent === 'Not answering'").await?;
    let title = browser.text("document.querySelector('#line-title').textContent").await?;
    assert!(title.contains(&testbed.server.address().to_string()), "{title}");
    browser.keep_picture("suspected").await?;
    block_in_place(|| testbed.server.process().kill())?;
    block_in_place(|| testbed.server.start_again())?;
    browser.wait_for("document.querySelector('#state').textContent === 'Connected'").await?;

    testbed.hub.faults().clear();
    testbed.hub.faults().release();
    pull.await??;
    browser.wait_for("document.querySelectorAll('#finished li').length === 1").await?;
    assert_eq!(browser.value("document.querySelectorAll('#pulls .pull').length").await?, 0);
    let text = browser.text("document.querySelector('#finished').innerText").await?;
    for words in ["docker.io/team/app:1", "done", "MiB through the tunnel", "5 of 5 layers"] {
        assert!(text.contains(words), "{words} in {text}");
    }

    // A registry that refuses, and what to do about it.
    testbed.hub.faults().arm(Rule::once(Fault::Status {
        site: Site::Registry,
        status: 404,
        retry_after: None,
    }));
    testbed.pull("team/gone").await?.unwrap_err();
    browser
        .wait_for("document.querySelector('#errors').innerText.includes('Check the name and the tag')")
        .await?;
    browser.keep_picture("finished").await?;
    assert_eq!(browser.complaints, [""; 0]);
    Ok(())
}

/// Its pulls are others, and none is shown under the name of one from before.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_stays_right_while_the_client_starts_again() -> Result<()> {
    let mut testbed = Testbed::new().await?;
    for (seed, repository) in [(11, "team/before"), (12, "team/after")] {
        testbed.publish(repository, seed, 1, 1 << 20)?;
    }
    let mut browser = Browser::start().await?;
    browser.open(&testbed.url(), LAPTOP).await?;
    let ended = "[...document.querySelectorAll('#finished h3')].map(title => title.textContent).join()";
    testbed.pull("team/before").await??;
    browser.wait_for(&format!("{ended} === 'docker.io/team/before:1'")).await?;
    block_in_place(|| testbed.client.stop())?;
    browser.wait_for("!document.querySelector('#lost').hidden").await?;
    block_in_place(|| {
        testbed.client.start_again()?;
        testbed.client.wait_until_up(PROCESS_TIMEOUT)
    })?;
    testbed.pull("team/after").await??;
    browser.wait_for(&format!("{ended} === 'docker.io/team/after:1'")).await?;
    browser.wait_for("document.querySelector('#lost').hidden").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_used_by_keyboard_alone() -> Result<()> {
    let testbed = Testbed::with(&["--cache-size", "1 GB"]).await?;
    testbed.publish("team/app", 8, 2, 1 << 20)?;
    testbed.pull("team/app").await??;
    let mut browser = Browser::start().await?;
    browser.allow_clipboard().await?;
    browser.open(&testbed.url(), LAPTOP).await?;
    browser.wait_for("document.querySelectorAll('#finished li').length === 1").await?;

    browser.press("Tab").await?;
    browser.press("Enter").await?;
    assert_eq!(browser.value("document.activeElement.id").await?, "main", "past the header");

    browser.tab_to("#pulls-try button").await?;
    browser.press("Enter").await?;
    let command = format!("docker pull {}/library/alpine", testbed.client.address());
    let is_copied = format!("navigator.clipboard.readText().then(text => text === '{command}')");
    browser.wait_for(&is_copied).await?;
    browser.wait_for("document.querySelector('#news').textContent === 'Copied'").await?;

    // Without the clipboard of a secure context, as on another machine.
    browser.value("navigator.clipboard.writeText('')").await?;
    browser.value("navigator.clipboard.writeText = () => Promise.reject(new Error())").await?;
    browser.tab_to("#engines li:last-child button").await?;
    browser.press(" ").await?;
    browser.wait_for(&is_copied).await?;

    // Another server.
    let second = block_in_place(|| testbed.join_second())?;
    let name = second.address().to_string();
    let row = format!("document.querySelector('#servers [data-key=\"{name}\"]')");
    browser.wait_for(&format!("{row}?.querySelector('button').hidden === false")).await?;
    assert_ne!(testbed.client.health()?["server_name"], name);
    browser.tab_to(&format!("[data-prefer='{name}']")).await?;
    browser.press("Enter").await?;
    browser.wait_for(&format!("{row}.innerText.includes('in use · your choice')")).await?;
    browser.wait_for(&format!("document.querySelector('#line-title').textContent === '{name}'")).await?;
    assert_eq!(testbed.client.health()?["server_name"], name);
    browser.tab_to("#any-server").await?;
    browser.press("Enter").await?;
    browser.wait_for("document.querySelector('#any-server').hidden").await?;

    browser.open(&testbed.url(), LAPTOP).await?;
    browser.tab_to("[data-language=zh]").await?;
    browser.press("Enter").await?;
    browser.wait_for("document.querySelector('#pulls-title').textContent.startsWith('正在拉取')").await?;
    assert_eq!(browser.value("document.documentElement.lang").await?, "zh-CN");
    browser.open(&testbed.url(), LAPTOP).await?;
    assert_eq!(browser.value("document.documentElement.lang").await?, "zh-CN", "it is remembered");

    // All layers are removed from the disk: the last choice.
    let kept = "document.querySelector('#cache-text').textContent";
    browser
        .wait_for(&format!("parseFloat({kept}.replace('已用 ', '')) >= 1 && {kept}.includes('MiB')"))
        .await?;
    browser.tab_to("#prune-choice").await?;
    browser.press("ArrowDown").await?;
    browser.press("Tab").await?;
    browser.press("Enter").await?;
    browser.wait_for("document.querySelector('#pruned').textContent.startsWith('已清理 1')").await?;
    browser.wait_for(&format!("{kept}.startsWith('已用 0 B')")).await?;

    browser.wait_for("document.querySelectorAll('#finished li').length === 1").await?;
    browser.tab_to("#finished [data-forget]").await?;
    browser.press("Enter").await?;
    browser.wait_for("document.querySelectorAll('#finished li').length === 0").await?;
    assert_eq!(browser.complaints, [""; 0]);
    Ok(())
}
