//! Limits what libraries log at `info` and above: packets of unauthenticated peers cause some of it (an
//! illegal packet, a TLS alert), and libraries have no limit of their own.
//!
//! Must not limit Docxy's own lines: the code that logs them does. Must not limit `debug` and `trace`,
//! which a user enables to see everything.

use crate::logging::rate_limit::LogLimits;
use tracing::callsite::Identifier;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};

/// The targets of our own lines begin with this.
const OWN_TARGET_PREFIX: &str = "docxy_";

/// Suppresses lines of libraries above the limit. Each call site is a kind of line.
#[derive(Debug, Default)]
pub(super) struct DependencyLimit(LogLimits<Identifier>);

impl<S> Filter<S> for DependencyLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    /// What filters decide about an event is kept for its thread until all layers had it. An event that is suppressed, or
    /// logged within that decision, must be asked about each time.
    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        let asks = is_limited(metadata) || metadata.target() == module_path!();
        if asks { Interest::sometimes() } else { Interest::always() }
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if !is_limited(metadata) {
            return true;
        }
        match self.0.admit(metadata.callsite()) {
            None => false,
            Some(None) => true,
            Some(Some(suppressed)) => {
                // A separate line, since the library's line has its own fields.
                tracing::warn!(suppressed, target = metadata.target(), "similar lines were suppressed");
                true
            }
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // Without it, the combination with another filter would admit all levels.
        Some(LevelFilter::TRACE)
    }
}

fn is_limited(metadata: &Metadata<'_>) -> bool {
    !metadata.target().starts_with(OWN_TARGET_PREFIX) && *metadata.level() <= Level::INFO
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::layer::SubscriberExt as _;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn repeated_lines_of_a_library_are_suppressed_and_our_own_are_not() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(DependencyLimit::default()));
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..100 {
                tracing::warn!(target: "quinn_proto::connection", "illegal");
                tracing::info!(target: "rustls::check", "unexpected");
                tracing::debug!(target: "quinn_proto::connection", "detail");
                tracing::warn!(target: "docxy_server::listener", "ours");
            }
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        for (word, count) in [("illegal", 10), ("unexpected", 10), ("detail", 100), ("ours", 100)] {
            assert_eq!(text.matches(word).count(), count, "{word}");
        }
    }
}
