//! The Docker Hub stand-in behaves as Docker Hub does, from the view of a client over TLS.

#![expect(clippy::unwrap_used, reason = "in a test's helper, too, an unwrap is an assertion")]

mod auth;
mod cdn;
mod faults;
mod independence;
mod kinds;
mod limits;
mod processes;
mod registry;
mod support;
