//! The traps that real engines, registries and people set: one test each, named after what a user would see.
//! A real client and a real server run as processes on loopback, behind them Docker Hub's stand-in. Needs no root.
//! Must never depend on a fixed port, on another test, or on how long something happens to take.

#![expect(clippy::unwrap_used, reason = "in a test's helper, too, an unwrap is an assertion")]

mod account;
mod ahead;
mod asking;
mod away;
mod behind;
mod blob;
mod broken;
mod broken_log;
mod cancel;
mod challenge;
mod clients;
mod conditions;
mod congestion;
mod crooked;
mod crowds;
mod engine;
mod exemptions;
mod far_side;
mod half_open;
mod hostile_registry;
mod hosts;
mod largest_manifest;
mod limits;
mod listing;
mod load;
mod log_flood;
mod lost_line;
mod mad_clients;
mod manifest;
mod memory;
mod near;
mod odd_answers;
mod other_registry;
mod quic;
mod quota;
mod ranges;
mod raw;
mod redirects;
mod refusals;
mod relay;
mod reload;
mod reload_client;
mod restart;
mod resume;
mod round_trips;
mod routes;
mod scripted;
mod secrets;
mod shutdown;
mod strangers;
mod texts;
mod token;
mod token_origins;
mod tunnel;
mod world;
mod wrong;
