//! Many at a time, and much: what it costs.

mod burst;
mod fleet;
mod memory;
