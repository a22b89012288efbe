//! The traps that real engines, registries and people set: one test each, named after what a user would see.
//! A real client and a real server run as processes on loopback, behind them Docker Hub's stand-in. Needs no root.
//! Must never depend on a fixed port, on another test, or on how long something happens to take.

#![expect(clippy::unwrap_used, reason = "in a test's helper, too, an unwrap is an assertion")]

mod auth;
mod hostile;
mod operations;
mod prefetch;
mod pull;
mod resilience;
mod support;
