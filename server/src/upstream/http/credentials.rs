//! The credentials of one request, by the origin that receives each.
//!
//! A redirect may lead to any host. Must never give a credential to another origin (scheme, host and port) than
//! the one that it is for.

use docxy_protocol::secret::Secret;
use url::Origin;

/// The values of `Authorization` that a request carries to the origins on its way.
#[derive(Debug)]
pub(crate) struct Credentials {
    account: Option<Secret>,
    anonymous: Vec<(Origin, Secret)>,
}

impl Credentials {
    pub(crate) const NONE: &'static Self = &Self { account: None, anonymous: Vec::new() };

    /// The credential of an account, for the origin of the request's own URL. Once a redirect has led elsewhere, it is
    /// not sent any more, not even back there: the path would be another host's choice.
    pub(crate) fn of_account(value: Option<Secret>) -> Self {
        Self { account: value, anonymous: Vec::new() }
    }

    /// Anonymous tokens, each for the origin that asked for it.
    pub(crate) fn anonymous(tokens: Vec<(Origin, Secret)>) -> Self {
        Self { account: None, anonymous: tokens }
    }

    /// The value for this origin. `has_left`: whether a redirect has led away from the first origin.
    pub(super) fn value_for(&self, origin: &Origin, has_left: bool) -> Option<&Secret> {
        let anonymous = self.anonymous.iter().find(|(of, _)| of == origin).map(|(_, value)| value);
        anonymous.or_else(|| self.account.as_ref().filter(|_| !has_left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use url::Url;

    fn origin(url: &str) -> Origin {
        Url::parse(url).unwrap().origin()
    }

    #[test]
    fn a_token_goes_to_its_origin_only() {
        let tokens =
            ["https://a.example", "https://b.example:5000"].map(|url| (origin(url), Secret::new(url)));
        let credentials = Credentials::anonymous(tokens.into());
        for (url, value) in [
            ("https://a.example/v2/", Some("https://a.example")),
            ("https://A.example:443/x", Some("https://a.example")),
            ("https://b.example:5000/", Some("https://b.example:5000")),
            ("https://b.example/", None),
            ("http://a.example/", None),
            ("https://a.example.evil.example/", None),
        ] {
            for has_left in [false, true] {
                let found = credentials.value_for(&origin(url), has_left).map(Secret::expose);
                assert_eq!(found, value, "{url}");
            }
        }
    }

    #[test]
    fn an_account_is_not_shown_again_after_a_redirect_elsewhere() {
        let credentials = Credentials::of_account(Some(Secret::new("Bearer t")));
        let first = origin("https://a.example");
        assert!(
            credentials.value_for(&first, false).is_some() && credentials.value_for(&first, true).is_none()
        );
    }
}
