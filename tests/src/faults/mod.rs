//! The fault ladder: a real engine pulls a whole image through the real client and server over an emulated link, while
//! one thing goes wrong in the middle of a layer.
//! Must never help anybody: what an engine, the client or the server need to get over a fault, they have to do.

mod fault;
mod plan;
mod puller;
mod stage;
mod strike;
mod toll;
mod turn;

pub use fault::Fault;
pub use puller::EngineKind;
pub use stage::{Stage, StageOptions};
pub use turn::Outcome;
