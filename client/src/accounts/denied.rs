//! What a user is told if a registry other than Docker Hub gives an image to no anonymous user, or not to the account of
//! `docxy-client login`.
//!
//! Must never promise what does not work: engines' own accounts can be used for Docker Hub only.

use crate::gateway::UsedAccount;
use docxy_protocol::name::{Registry, Repository};
use docxy_protocol::text::CleanText;

/// A request for content for which the engine has no account that is sent.
#[derive(Debug)]
pub(crate) struct AnonymousContent {
    pub(crate) registry: Registry,
    pub(crate) repository: Repository,
    /// Whether the engine had a credential, which the registry must not receive.
    pub(crate) is_credential_withheld: bool,
    /// The login that was sent in its place, if there is one.
    pub(crate) account: Option<UsedAccount>,
}

impl AnonymousContent {
    /// Why the image was not fetched, and what to do. `said` is what the registry or its token service says.
    pub(crate) fn denial(&self, said: Option<&CleanText<500>>) -> String {
        let Self { registry, repository, is_credential_withheld, account } = self;
        let said = said.map(|said| format!(" ({registry} says: {said})")).unwrap_or_default();
        if let Some(UsedAccount { user, retry_after: Some(pause) }) = account {
            return format!(
                "docxy: {registry} refuses the password of the account {user}, and denies {repository} without it{said}. \
                 Log in again: docxy-client login {registry} (docxy tries that password again in {} s)",
                pause.as_secs()
            );
        }
        if let Some(UsedAccount { user, .. }) = account {
            return format!(
                "docxy: {registry} denied {repository} to the account {user}: it does not exist, or the account may not \
                 read it, or its password is no longer valid{said}. Check the name, or log in again: docxy-client login \
                 {registry}"
            );
        }
        let account = if *is_credential_withheld {
            "The credential given to docxy was not sent, because docxy sends accounts of engines to Docker Hub only"
        } else {
            "No account was sent"
        };
        format!(
            "docxy: {registry} denied anonymous access to {repository}: it is private, or does not exist{said}. \
             {account}. Check the name. If the image is private, log in where docxy-client runs: docxy-client login \
             {registry}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_what_why_and_what_to_do() {
        let said = CleanText::from("no seat");
        let denied = |is_credential_withheld, said| {
            let (registry, repository) = ("ghcr.io".parse().unwrap(), "priv/x".parse().unwrap());
            AnonymousContent { registry, repository, is_credential_withheld, account: None }.denial(said)
        };
        let without = denied(false, None);
        let start =
            "docxy: ghcr.io denied anonymous access to priv/x: it is private, or does not exist. No account";
        assert!(without.starts_with(start), "{without}");
        let with = denied(true, Some(&said));
        assert!(
            with.contains("(ghcr.io says: no seat). The credential given to docxy was not sent"),
            "{with}"
        );
        for text in [with, without] {
            assert!(
                text.contains("Check the name.") && text.contains("docxy-client login ghcr.io"),
                "{text}"
            );
        }
    }
}
