//! A client with one server on a network that treats UDP and TCP in different ways, in virtual time. Rates are a
//! fluid: no packets, but starts that double in each round trip, and shares of a full link.

pub(crate) mod client;
pub(crate) mod network;
pub(crate) mod report;
