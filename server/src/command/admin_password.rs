//! `docxy-server admin-password`: sets the password of the admin page.

use super::error::CommandError;
use super::open_state;
use crate::admin::{PasswordError, PasswordHash};
use crate::settings::{CommonSettings, Flags};
use clap::Args;
use docxy_host::files::password_file;
use docxy_host::process::terminal::print_note;
use docxy_protocol::secret::Secret;
use std::io::{self, IsTerminal as _, Read as _};

/// Bytes that are read, at most. A longer password is refused.
const INPUT_BYTES_MAX: u64 = 64 * 1024;

/// Set the password of the admin page, which `run --admin` serves.
///
/// Asks for it on a terminal, and else reads it from stdin. Only a hash is stored. Who is logged in with another password
/// is logged out. Without a password the page shows counts only.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  docxy-server admin-password\n  pass show docxy | docxy-server admin-password"
)]
pub(super) struct AdminPasswordArguments {}

pub(super) fn admin_password(flags: &Flags) -> Result<(), CommandError> {
    let state = open_state(&CommonSettings::load(flags)?, "admin-password")?;
    let hash = PasswordHash::new(&read_password()?)?;
    hash.store(&state)?;
    print_note("the password is set; the page is where docxy-server run --admin ADDR serves it");
    Ok(())
}

fn read_password() -> Result<Secret, CommandError> {
    if !io::stdin().is_terminal() {
        let mut text = String::new();
        io::stdin().lock().take(INPUT_BYTES_MAX).read_to_string(&mut text).map_err(CommandError::Input)?;
        return Ok(password_file::parse(&text).ok_or(PasswordError::Length)?);
    }
    let ask = |prompt| rpassword::prompt_password(prompt).map(Secret::new).map_err(CommandError::Input);
    let password = ask("New password of the admin page (it is not shown): ")?;
    if ask("The same again: ")? != password {
        return Err(PasswordError::Differ.into());
    }
    Ok(password)
}
