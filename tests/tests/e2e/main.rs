//! The end-to-end suite: one test for each situation that a user can meet, named by what the user sees.
//! A real client and a real server run as processes on loopback, with Docker Hub's stand-in as the registry. Needs no
//! root.
//! Must never depend on a fixed port, on another test, on a log text, or on an accidental duration.

#![expect(clippy::unwrap_used, reason = "in a test's helper, too, an unwrap is an assertion")]

mod auth;
mod doctor;
mod hostile;
mod layers;
mod odd_registries;
mod operations;
mod prefetch;
mod proxy;
mod pull;
mod resilience;
mod support;
mod tcp_leg;
