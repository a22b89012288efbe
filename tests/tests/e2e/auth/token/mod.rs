//! Tokens: where they come from, which registry gets them, and when they are renewed.

mod challenged;
mod endpoint;
mod granted;
mod origins;
mod service_failures;
mod shared;
mod stale;
