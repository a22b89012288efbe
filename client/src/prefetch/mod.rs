//! Content that the server sends after a response, before an engine requests it.

mod in_flight;
mod policy;
mod receiver;
mod usage;

pub(crate) use in_flight::InFlightPrefetches;
pub(crate) use policy::PrefetchPolicy;
pub(crate) use receiver::receive;
pub(crate) use usage::PrefetchUsage;
