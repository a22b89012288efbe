//! What the hosts of a stand-in and its control socket share.
//! Must never know what a request looks like.

use std::time::Duration;

use crate::{
    content::store::Store,
    http::signed_url::UrlSigner,
    service::{distribution::Distribution, rate_limit::PullCounter, token::Tokens},
    steering::{
        challenges::Challenges,
        fault::Faults,
        request_log::RequestLog,
        site::{Kind, Names},
        transfer::Transfers,
    },
};

/// The state that the three hosts share.
pub(crate) struct HubState {
    pub(crate) kind: Kind,
    pub(crate) names: Names,
    pub(crate) store: Store,
    /// Answers in place of the stand-in's own registry.
    pub(crate) distribution: Option<Distribution>,
    pub(crate) tokens: Tokens,
    pub(crate) pulls: PullCounter,
    pub(crate) urls: UrlSigner,
    pub(crate) url_lifetime: Duration,
    pub(crate) absolute_links: bool,
    pub(crate) challenges: Challenges,
    pub(crate) faults: Faults,
    pub(crate) request_log: RequestLog,
    pub(crate) transfers: Transfers,
}
