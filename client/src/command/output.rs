//! What a command prints: results on stdout, everything else on stderr.

use super::error::CommandError;
use std::io::{self, Write as _};

/// Prints a result. A failure is an error: the caller relies on the output.
pub(super) fn print(text: &str) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(CommandError::Output)
}

/// Prints a message that is not a result.
pub(super) fn remark(text: &str) {
    // Without stderr nothing can be reported.
    let _ = writeln!(io::stderr(), "{text}");
}
