//! The words of both pages in both languages: none is missing, none is of the other language, and Chinese is written as
//! Chinese is.
//! Must never need a list of the words.

use anyhow::Result;
use serde_json::json;
use tokio::task::block_in_place;

use crate::{
    accessibility::full_snapshot,
    admin::full_status,
    support::{
        browser::{Browser, LAPTOP, Look},
        testbed::Testbed,
    },
};

const CHINESE: Look = Look { language: "zh-CN", ..LAPTOP };

/// The texts on the page, and those that a screen reader says, which
/// - have the name of a word in place of the word, as `quotaLeft` or `line_no_response`,
/// - are a sentence in English on a page in Chinese, with no Chinese beside it,
/// - have ASCII punctuation at a Han character, or no space between that and a Latin one or a digit, but in dates.
const WRONG_WORDS: &str = r"(() => {
    const seen = [...document.querySelectorAll('body *:not(noscript)')].filter(e => !e.closest('code'));
    const texts = seen.flatMap(e => [e.getAttribute('aria-label') ?? '', ...[...e.childNodes].filter(n => n.nodeType === Node.TEXT_NODE).map(n => n.data)]);
    const isChinese = document.documentElement.lang === 'zh-CN';
    const isWrong = text => /\b[a-z]+(?:_[A-Za-z]|[A-Z])\w*/.test(text) || isChinese && (
        /[a-z]+ [a-z]+ [a-z]+/.test(text) && !/\p{Script=Han}/u.test(text)
        || /\p{Script=Han}[,:;?!()]|[,:;?!()]\p{Script=Han}/u.test(text)
        || /(?![年月])\p{Script=Han}[A-Za-z0-9]|[A-Za-z0-9%](?![年月日])\p{Script=Han}/u.test(text));
    return texts.filter(isWrong);
})()";

/// The texts with wrong words.
pub(crate) async fn wrong_words(browser: &mut Browser) -> Result<Vec<String>> {
    Ok(serde_json::from_value(browser.value(WRONG_WORDS).await?)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_words_are_found() -> Result<()> {
    let testbed = Testbed::new().await?;
    let mut browser = Browser::start().await?;
    browser.fake(&full_snapshot()).await?;
    browser.open(&testbed.url(), CHINESE).await?;
    assert_eq!(wrong_words(&mut browser).await?, [""; 0]);
    // Values that have no words.
    let mut state = full_snapshot();
    state["errors"][0]["advice"] = json!("no_such_advice");
    state["line"]["leg_cause"] = json!("Unheard");
    state["pulls"][0]["layers"][3]["state"] = json!("neverSeen");
    browser.fake_next(&state).await?;
    let found = wrong_words(&mut browser).await?.join("\n");
    for word in ["advice_no_such_advice", "leg_Unheard", "neverSeen"] {
        assert!(found.contains(word), "{word} in {found}");
    }
    browser.fake_next(&full_snapshot()).await?;
    assert_eq!(wrong_words(&mut browser).await?, [""; 0]);
    for wrong in ["no response for 4 s", "连接已断开: 3 秒", "已连接3 秒", "每 6秒"] {
        browser.value(&format!("document.querySelector('#lost').textContent = '{wrong}'")).await?;
        assert_eq!(wrong_words(&mut browser).await?, [wrong]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_is_explained_in_chinese() -> Result<()> {
    let mut testbed = Testbed::new().await?;
    let mut browser = Browser::start().await?;
    browser.open(&testbed.url(), CHINESE).await?;
    browser.wait_for("document.querySelector('#state').textContent === '已连接'").await?;
    for (state, words) in
        [("无响应", "没有收到响应（"), ("被拒绝", "管理员已吊销此客户端，请向管理员索取新链接（")]
    {
        if state == "无响应" {
            testbed.server.process().signal("STOP")?;
        } else {
            testbed.server.process().signal("CONT")?;
            block_in_place(|| testbed.server.command(&["revoke", "laptop"]))?;
        }
        browser.wait_for(&format!("document.querySelector('#state').textContent === '{state}'")).await?;
        for place in ["#line-reason", "#servers li [data-part=facts]"] {
            browser
                .wait_for(&format!("document.querySelector('{place}').textContent.includes('{words}')"))
                .await?;
        }
        assert_eq!(wrong_words(&mut browser).await?, [""; 0], "{state}");
    }
    browser.keep_picture("revoked-zh").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_button_that_fails_says_so_in_chinese() -> Result<()> {
    let testbed = Testbed::new().await?;
    let mut browser = Browser::start().await?;
    let answer =
        |status: u16, body: &str| format!("async () => new Response('{body}', {{ status: {status} }})");
    browser.fake(&full_snapshot()).await?;
    browser.open(&testbed.url(), CHINESE).await?;
    for (response, words) in [
        (
            answer(500, r#"{"errors":[{"message":"the disk is on fire"}]}"#),
            "操作未成功，状态码 500（the disk is on fire）",
        ),
        (answer(503, "{}"), "操作未成功，状态码 503（503）"),
        (answer(400, "{}"), "本机没有缓存镜像层。"),
        (answer(502, "<html>"), "docxy-client 没有响应。它恢复后，本页会自动继续。"),
        (
            "() => Promise.reject(new TypeError())".to_owned(),
            "docxy-client 没有响应。它恢复后，本页会自动继续。",
        ),
    ] {
        browser.value(&format!("document.querySelector('#lost').textContent = ''; window.fetch = {response}; document.querySelector('#prune').click()")).await?;
        browser.wait_for(&format!("document.querySelector('#lost').textContent === '{words}'")).await?;
    }

    let mut browser = Browser::start().await?;
    browser.fake(&full_status()).await?;
    browser.open(&testbed.admin_url(), CHINESE).await?;
    for (response, words) in [
        (answer(500, r#"{"error":"the disk is on fire"}"#), "操作未成功，状态码 500（the disk is on fire）"),
        (answer(409, "{}"), "这个名称正在使用。"),
        (answer(502, "<html>"), "服务器没有响应。它恢复后，本页会自动继续。"),
    ] {
        let invite = "document.querySelector('#name').value = 'phone'; document.querySelector('#invite-form').requestSubmit()";
        browser.value(&format!("{{ const send = window.fetch; window.fetch = (path, ...rest) => path === 'api/status' ? send(path, ...rest) : ({response})() }} {invite}")).await?;
        browser.wait_for(&format!("document.querySelector('#trouble').textContent === '{words}'")).await?;
    }
    Ok(())
}
