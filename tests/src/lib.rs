//! The harness of Docxy's end-to-end tests: real components, and what makes them meet.
//! Must never hold a test itself: those are in `tests/tests`.

pub mod docxy;
pub mod engine;
pub mod faults;
pub mod hub;
pub mod net;
pub mod process;
pub mod stand_in;
pub mod statistics;
pub mod table;
pub mod wan;
