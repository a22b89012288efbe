//! `docxy-client join`: keeps a link.
//!
//! Says which server and whom, and never the link itself.

use super::{CommandError, remark};
use crate::links::{self, Kept};
use crate::settings::{Flags, LinkSource, link_store};
use docxy_protocol::link::Link;
use docxy_protocol::secret::Secret;
use std::io::{self, IsTerminal as _, Read as _, Write as _};

pub(super) fn join(argument: Option<Secret>, flags: &Flags) -> Result<(), CommandError> {
    let store = link_store(flags)?;
    let links = match (argument, LinkSource::named(flags)) {
        (Some(text), _) => links::parse(text.expose(), "the argument")?,
        (None, Some(source)) => source.read()?,
        (None, None) => links::parse(input()?.expose(), "the input")?,
    };
    let kept = links::keep(&store, &links)?;
    for (link, kept) in links.iter().zip(kept) {
        remark(&in_words(link, kept));
    }
    remark(&format!("kept in {}, which only you may read; next: docxy-client run", store.display()));
    Ok(())
}

fn in_words(link: &Link, kept: Kept) -> String {
    let Link { name, host, .. } = link;
    match kept {
        Kept::Added => format!("joined {host} as {name}"),
        Kept::Replaced => format!("joined {host} as {name}, instead of the link that was there before"),
    }
}

/// All of stdin, or a line of it where a person types.
fn input() -> Result<Secret, CommandError> {
    let mut text = String::new();
    let stdin = io::stdin();
    let read = if stdin.is_terminal() {
        let mut stderr = io::stderr();
        let _ = write!(stderr, "Paste the link that `docxy-server invite NAME` printed: ");
        let _ = stderr.flush();
        stdin.read_line(&mut text)
    } else {
        stdin.lock().read_to_string(&mut text)
    };
    read.map_err(CommandError::Input)?;
    Ok(Secret::new(text))
}
