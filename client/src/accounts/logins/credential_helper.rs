//! Credential helpers: programs `docker-credential-NAME` that keep passwords, or make short-lived ones. They read a
//! command's input on stdin, and answer on stdout (docker-credential-helpers, README, "Development").
//!
//! Must never put a password into an argument, or wait without end.

use docxy_protocol::secret::Secret;
use docxy_protocol::text::{CleanText, clean};
use serde::{Deserialize, Serialize};
use std::io;
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

/// How long a helper may take. It may ask a person, or a service far away.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest answer. A token has a few KiB.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// The name of a helper, without `docker-credential-`.
#[derive(Debug, Clone, PartialEq, Eq, derive_more::Display, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct CredentialHelper(String);

/// Why a helper gives no account.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are the helper and what is wrong")]
pub enum HelperError {
    /// It is not there, or cannot be started.
    #[error("cannot run docker-credential-{helper}: {source}")]
    Start { helper: CredentialHelper, source: io::Error },
    /// It says why.
    #[error("docker-credential-{helper} has failed: {said}")]
    Failed { helper: CredentialHelper, said: CleanText },
    /// It does not answer.
    #[error("docker-credential-{helper} has not answered within {} s", TIMEOUT.as_secs())]
    TimedOut { helper: CredentialHelper },
    /// It answers something else.
    #[error("docker-credential-{helper} has answered something that is no account")]
    Answer { helper: CredentialHelper },
}

/// An account, as helpers write it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Credentials {
    #[serde(rename = "ServerURL", default)]
    server_url: String,
    username: String,
    secret: Secret,
}

impl CredentialHelper {
    /// User and password of the account with this name.
    ///
    /// # Errors
    /// If it has none, or cannot be asked.
    pub(super) async fn get(&self, key: &str) -> Result<(String, Secret), HelperError> {
        let answer = self.run("get", key.as_bytes()).await?;
        let Ok(Credentials { username, secret, .. }) = serde_json::from_slice(&answer) else {
            return Err(HelperError::Answer { helper: self.clone() });
        };
        Ok((username, secret))
    }

    /// Keeps an account under this name.
    ///
    /// # Errors
    /// If it does not.
    pub(crate) async fn store(&self, key: &str, user: &str, password: &Secret) -> Result<(), HelperError> {
        let (server_url, username, secret) = (key.to_owned(), user.to_owned(), password.clone());
        let input = serde_json::to_vec(&Credentials { server_url, username, secret });
        self.run("store", &input.expect("texts are JSON")).await.map(drop)
    }

    /// Forgets the account with this name.
    ///
    /// # Errors
    /// If it does not.
    pub(crate) async fn erase(&self, key: &str) -> Result<(), HelperError> {
        self.run("erase", key.as_bytes()).await.map(drop)
    }

    async fn run(&self, command: &str, input: &[u8]) -> Result<Vec<u8>, HelperError> {
        let mut program = Command::new(format!("docker-credential-{self}"));
        program.arg(command);
        self.talk(program, input).await
    }

    async fn talk(&self, mut program: Command, input: &[u8]) -> Result<Vec<u8>, HelperError> {
        let start = |source| HelperError::Start { helper: self.clone(), source };
        let mut process = program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(start)?;
        let mut stdin = process.stdin.take().expect("it is piped");
        let stdout = process.stdout.take().expect("it is piped");
        let talking = async {
            // One that does not read its input says why.
            let _ = stdin.write_all(input).await;
            drop(stdin);
            let mut answer = Vec::new();
            stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
            Ok((process.wait().await?, answer))
        };
        let timed_out = |_| HelperError::TimedOut { helper: self.clone() };
        let (status, answer) =
            tokio::time::timeout(TIMEOUT, talking).await.map_err(timed_out)?.map_err(start)?;
        if status.success() {
            return Ok(answer);
        }
        // An answer on stdout is the reason, unless the helper gives an account and fails.
        let is_account = serde_json::from_slice::<Credentials>(&answer).is_ok();
        let said = clean(String::from_utf8_lossy(&answer).trim());
        let said = if is_account || said.as_str().is_empty() { clean(status) } else { said };
        Err(HelperError::Failed { helper: self.clone(), said })
    }
}

impl FromStr for CredentialHelper {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_prefix("docker-credential-").unwrap_or(text);
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || !name.chars().all(is_name) {
            return Err("a credential helper is a name, as in ecr-login or secretservice");
        }
        Ok(Self(name.to_owned()))
    }
}

impl TryFrom<String> for CredentialHelper {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_is_a_name() {
        for name in ["ecr-login", "docker-credential-ecr-login"] {
            assert_eq!(name.parse::<CredentialHelper>().unwrap().to_string(), "ecr-login");
        }
        for name in ["", "docker-credential-", "../x", "/bin/sh", "a b"] {
            assert!(name.parse::<CredentialHelper>().is_err(), "{name}");
        }
    }

    #[tokio::test]
    async fn a_helper_that_is_not_there_is_named() {
        let error = CredentialHelper("gone-x".into()).get("k").await.unwrap_err().to_string();
        assert!(error.starts_with("cannot run docker-credential-gone-x: "), "{error}");
    }

    #[tokio::test]
    async fn a_failing_helper_says_why_but_never_a_password() {
        let account = r#"{"Username": "me", "Secret": "hunter2"}"#;
        for (script, expected) in [
            ("echo no such account; exit 1".to_owned(), "no such account"),
            (format!("echo '{account}'; exit 3"), "exit status: 3"),
        ] {
            let mut program = Command::new("sh");
            program.args(["-c", &script]);
            let error = CredentialHelper("x".into()).talk(program, b"").await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[tokio::test]
    async fn an_answer_without_end_is_no_account() {
        let mut program = Command::new("sh");
        program.args(["-c", "exec cat /dev/zero"]);
        let error = CredentialHelper("x".into()).talk(program, b"").await.unwrap_err();
        assert!(matches!(error, HelperError::Failed { .. }), "{error}");
    }
}
