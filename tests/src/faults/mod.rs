//! The fault ladder: a real engine pulls a whole image through the real client and server over an emulated link, while
//! one thing goes wrong in the middle of a layer.
//! Must never help anybody: what an engine, the client or the server need to get over a fault, they have to do.

mod engine;
mod fault;
mod inject;
mod link_bytes;
mod plan;
mod run;
mod testbed;

pub use engine::EngineKind;
pub use fault::Fault;
pub use run::Outcome;
pub use testbed::{Testbed, TestbedOptions};
