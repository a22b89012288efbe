//! Debian's Chromium without a window, driven by the Chrome DevTools Protocol over a pipe.
//! Must never reach another host than this machine's.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{Instant, sleep, timeout},
};

/// Only a hang is slower, also on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Time between two looks at a page.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

pub(crate) struct Browser {
    _process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    session: Option<String>,
    next_id: u64,
    /// Errors that the page has reported: exceptions, and what its policy refused.
    pub(crate) complaints: Vec<String>,
    _profile: TempDir,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) width: u32,
    pub(crate) language: &'static str,
    pub(crate) is_dark: bool,
}

pub(crate) const LAPTOP: Look = Look { width: 1280, language: "en-US", is_dark: false };

impl Browser {
    pub(crate) async fn start() -> Result<Self> {
        let profile = tempfile::tempdir()?;
        // The shell makes the pipes of the protocol, 3 and 4, from its stdin and stdout.
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#, "chromium"]);
        command.args(["--headless", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu"]);
        command.args(["--no-sandbox", "--disable-dev-shm-usage", "--force-prefers-no-reduced-motion"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--no-proxy-server"]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process =
            command.kill_on_drop(true).spawn().context("chromium is missing: scripts/test installs it")?;
        let input = process.stdin.take().context("no pipe")?;
        let output = BufReader::new(process.stdout.take().context("no pipe")?);
        let (session, complaints) = (None, Vec::new());
        let mut browser =
            Self { _process: process, input, output, session, next_id: 0, complaints, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach).await?;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({})).await?;
        }
        browser.call("Emulation.setFocusEmulationEnabled", json!({ "enabled": true })).await?;
        Ok(browser)
    }

    /// Loads a page, looked at in this way.
    pub(crate) async fn open(&mut self, url: &str, look: Look) -> Result<()> {
        let Look { width, language, is_dark } = look;
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", metrics).await?;
        let scheme =
            json!({ "name": "prefers-color-scheme", "value": if is_dark { "dark" } else { "light" } });
        self.call("Emulation.setEmulatedMedia", json!({ "features": [scheme] })).await?;
        let agent = json!({ "userAgent": "Mozilla/5.0 docxy-tests", "acceptLanguage": language });
        self.call("Network.setUserAgentOverride", agent).await?;
        self.call("Page.navigate", json!({ "url": url })).await?;
        self.wait_for(
            "document.readyState === 'complete' && document.querySelector('#state').textContent !== '…'",
        )
        .await
    }

    /// Closes the page, and with it its connections.
    pub(crate) async fn leave(&mut self) -> Result<()> {
        self.call("Page.navigate", json!({ "url": "about:blank" })).await.map(drop)
    }

    /// Gives the page this state in place of what the client, or the server, sends, from the next load on.
    pub(crate) async fn fake(&mut self, state: &Value) -> Result<()> {
        let state = Value::String(state.to_string());
        let source = include_str!("fake.js").replace("{{state}}", &state.to_string());
        self.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": source })).await.map(drop)
    }

    /// Shows another state in the place of the [faked](Self::fake) one.
    pub(crate) async fn fake_next(&mut self, state: &Value) -> Result<()> {
        self.value(&format!("showFake({})", Value::String(state.to_string()))).await.map(drop)
    }

    /// The value of an expression, or of its promise.
    pub(crate) async fn value(&mut self, expression: &str) -> Result<Value> {
        let parameters = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true,
        });
        let result = self.call("Runtime.evaluate", parameters).await?;
        ensure!(result["exceptionDetails"].is_null(), "{expression}: {}", result["exceptionDetails"]);
        Ok(result["result"]["value"].clone())
    }

    pub(crate) async fn text(&mut self, expression: &str) -> Result<String> {
        Ok(self.value(expression).await?.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until an expression is true.
    pub(crate) async fn wait_for(&mut self, expression: &str) -> Result<()> {
        let begun = Instant::now();
        // While a page loads, there is nothing to evaluate in.
        while self.value(expression).await.unwrap_or_default() != true {
            if begun.elapsed() > TIMEOUT {
                bail!("never: {expression}; the page: {}", self.text("document.body.innerText").await?);
            }
            sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }

    /// Presses a key, as a user does.
    pub(crate) async fn press(&mut self, key: &str) -> Result<()> {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            " " => (32, " "),
            "ArrowDown" => (40, ""),
            _ => bail!("no such key: {key}"),
        };
        let key = |kind: &str| json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
        self.call("Input.dispatchKeyEvent", key(if text.is_empty() { "rawKeyDown" } else { "keyDown" }))
            .await?;
        self.call("Input.dispatchKeyEvent", key("keyUp")).await.map(drop)
    }

    /// Types a text where the focus is.
    pub(crate) async fn type_text(&mut self, text: &str) -> Result<()> {
        self.call("Input.insertText", json!({ "text": text })).await.map(drop)
    }

    /// Presses Tab until this selector has the focus.
    pub(crate) async fn tab_to(&mut self, selector: &str) -> Result<()> {
        for _ in 0..100 {
            self.press("Tab").await?;
            if self.value(&format!("document.activeElement.matches({selector:?})")).await? == true {
                return Ok(());
            }
        }
        bail!("Tab does not reach {selector}")
    }

    /// Lets the page read and write the clipboard.
    pub(crate) async fn allow_clipboard(&mut self) -> Result<()> {
        let permissions = json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] });
        self.call("Browser.grantPermissions", permissions).await.map(drop)
    }

    /// Keeps a picture of the whole page in `target/page`.
    pub(crate) async fn keep_picture(&mut self, name: &str) -> Result<()> {
        let picture = self.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await?;
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/page");
        std::fs::create_dir_all(&folder)?;
        let bytes = STANDARD.decode(picture["data"].as_str().unwrap_or_default())?;
        Ok(std::fs::write(folder.join(format!("{name}.png")), bytes)?)
    }

    /// What is wrong with the page by axe-core's rules, each with the elements.
    pub(crate) async fn violations(&mut self) -> Result<Vec<String>> {
        if self.value("typeof axe === 'undefined'").await? == true {
            self.value(include_str!("../axe/axe.min.js")).await?;
        }
        let found = self.value("axe.run().then(result => result.violations.map(violation => `${violation.id}: ${violation.nodes.map(node => node.html).join(' | ')}`))").await?;
        Ok(serde_json::from_value(found)?)
    }

    async fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.next_id += 1;
        let mut call = json!({ "id": self.next_id, "method": method, "params": parameters });
        if let Some(session) = self.session.as_ref().filter(|_| !method.starts_with("Browser.")) {
            call["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&call)?;
        bytes.push(0);
        self.input.write_all(&bytes).await?;
        let answer = timeout(TIMEOUT, self.answer(self.next_id)).await;
        answer.with_context(|| format!("no answer to {method}"))?
    }

    async fn answer(&mut self, id: u64) -> Result<Value> {
        loop {
            let mut message = Vec::new();
            self.output.read_until(0, &mut message).await?;
            ensure!(message.pop() == Some(0), "the browser has ended");
            let message: Value = serde_json::from_slice(&message)?;
            if message["id"] == id {
                ensure!(message["error"].is_null(), "{}", message["error"]);
                return Ok(message["result"].clone());
            }
            match message["method"].as_str() {
                Some("Runtime.exceptionThrown") => self.complaints.push(message["params"].to_string()),
                Some("Log.entryAdded") if message["params"]["entry"]["source"] == "security" => {
                    self.complaints.push(message["params"].to_string());
                }
                _ => {}
            }
        }
    }
}
