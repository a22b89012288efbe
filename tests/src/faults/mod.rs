//! The fault ladder: a real engine pulls a complete image through the real client and server over an emulated link,
//! while one fault happens in the middle of a layer.
//! Must never help engine, client or server to recover.

mod engine;
mod fault;
mod fault_run;
mod inject;
mod plan;
mod run;
mod testbed;

pub use engine::EngineKind;
pub use fault::Fault;
pub use run::Outcome;
pub use testbed::{Testbed, TestbedOptions};
