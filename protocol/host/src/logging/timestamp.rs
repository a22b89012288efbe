//! The time in the format of the log.

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

/// The time of the day, UTC, to the second.
pub(super) fn clock() -> String {
    let whole = timestamp();
    whole.get(11..19).unwrap_or(&whole).to_owned()
}

/// The time as at the start of each line.
pub(super) fn timestamp() -> String {
    let mut text = String::new();
    // Writing to a string never fails.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}
