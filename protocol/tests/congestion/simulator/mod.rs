//! A deterministic simulator of a sender that behaves like quinn-proto's, a link, and a receiver. Must never assert
//! anything: the suites beside it do.

pub(crate) mod link;
mod pacer;
mod receiver;
pub(crate) mod report;
mod rtt_estimator;
pub(crate) mod scenarios;
pub(crate) mod sender;
pub(crate) mod simulation;
pub(crate) mod traffic_source;
