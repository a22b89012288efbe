//! Two hundred pulls at once.

use std::time::Duration;

use anyhow::Result;
use hub_stand_in::{Fault, Rule, Site};

use crate::support::{
    browser::{Browser, LAPTOP},
    testbed::Testbed,
};

const PULLS: usize = 200;

/// What the page may cost of one processor, also in a debug build.
const SHARE_MAX: f64 = 0.03;

/// How long processor time is measured, with the page and without.
const MEASURED: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_pulls_are_shown_and_cost_the_client_little() -> Result<()> {
    let mut testbed = Testbed::new().await?;
    for n in 0..PULLS {
        testbed.publish(&format!("team/app{n}"), n as u64 * 10, 2, 64 << 10)?;
    }
    testbed.hub.faults().arm(Rule::always(Fault::Trickle { site: Site::Cdn, millis: 60_000 }));
    let mut browser = Browser::start().await?;
    browser.open(&testbed.url(), LAPTOP).await?;
    let pulls: Vec<_> = (0..PULLS).map(|n| testbed.pull(&format!("team/app{n}"))).collect();
    browser.wait_for(&format!("document.querySelectorAll('#pulls .pull').length === {PULLS}")).await?;
    let mut share = async || -> Result<f64> {
        let before = testbed.client.process().processor_seconds()?;
        tokio::time::sleep(MEASURED).await;
        Ok((testbed.client.process().processor_seconds()? - before) / MEASURED.as_secs_f64())
    };
    let with_page = share().await?;
    browser.leave().await?;
    let without = share().await?;
    for pull in pulls {
        pull.abort();
    }
    assert!(with_page - without < SHARE_MAX, "{with_page:.3} with the page, {without:.3} without");
    Ok(())
}
