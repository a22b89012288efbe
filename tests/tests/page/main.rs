//! The client's page and the server's in a real browser: what people see of a pull and of a fault, and that they can use it
//! by keyboard, with a screen reader, on a phone, in the dark, and in their language. Needs Chromium, which `scripts/test` installs.
//! Pictures of the page are kept in `target/page`.
//! Must never depend on another host than this machine.

#![expect(clippy::unwrap_used, reason = "in a test's helper, too, an unwrap is an assertion")]

mod accessibility;
mod admin;
mod hostile_texts;
mod live;
mod many_pulls;
mod support;
mod words;
