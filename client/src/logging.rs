//! Where the log goes: to stderr, always, so that stdout holds nothing but results.

use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Checks a filter (`info`, or `warn,docxy_client=debug`), so that a wrong one is told as misuse.
pub(crate) fn check(filter: &str) -> Result<String, ParseError> {
    EnvFilter::try_new(filter).map(|_| filter.to_owned())
}

/// Starts logging by a filter that was checked. Must be called once.
pub(crate) fn start(filter: &str) {
    let stderr = std::io::stderr;
    // Colours in a journal are noise; `NO_COLOR` is how people turn them off on a terminal.
    let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(stderr)
        .with_ansi(colours)
        .init();
}
