//! What a user is told if a registry other than Docker Hub gives an image to no anonymous user.
//!
//! Must never promise what does not work: an account can be used for Docker Hub only.

use docxy_protocol::name::{Registry, Repository};
use docxy_protocol::text::CleanText;

/// A request for content that is sent without an account.
#[derive(Debug)]
pub(crate) struct AnonymousContent {
    pub(crate) registry: Registry,
    pub(crate) repository: Repository,
    /// Whether the engine had a credential, which the registry must not receive.
    pub(crate) is_credential_withheld: bool,
}

impl AnonymousContent {
    /// Why the image was not fetched, and what to do. `said` is what the registry or its token service says.
    pub(crate) fn denial(&self, said: Option<&CleanText<500>>) -> String {
        let Self { registry, repository, is_credential_withheld } = self;
        let said = said.map(|said| format!(" ({registry} says: {said})")).unwrap_or_default();
        let account = if *is_credential_withheld {
            "The credential given to docxy was not sent, because docxy sends accounts to Docker Hub only"
        } else {
            "No account was sent: docxy can use accounts for Docker Hub only"
        };
        format!(
            "docxy: {registry} denied anonymous access to {repository}: it is private, or does not exist{said}. \
             {account}. Check the name. If the image is private, pull it on a machine that reaches {registry} \
             directly, and move it here with `docker save` and `docker load`."
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
            AnonymousContent { registry, repository, is_credential_withheld }.denial(said)
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
            assert!(text.contains("Check the name.") && text.contains("`docker load`"), "{text}");
        }
    }
}
