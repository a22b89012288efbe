//! The harness of Docxy's end-to-end tests: starts the real programs and engines, and the network between them.
//! Must never hold an end-to-end test itself: those are in `tests/tests`.

pub mod docxy;
pub mod engine;
pub mod faults;
pub mod net;
pub mod process;
pub mod proxy;
pub mod stand_in;
pub mod statistics;
pub mod stored;
pub mod table;
pub mod tunnel_lab;
pub mod wan;
