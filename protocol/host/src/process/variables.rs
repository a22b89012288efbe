//! The variables of the environment that clap reads beside the flags.

use clap::Command;
use clap::builder::{OsStr as ClapText, Resettable};
use std::ffi::OsStr;

/// The program without the variables that are set to nothing: they count as not set.
#[must_use]
pub fn without_empty(program: Command) -> Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    program
        .mut_args(|argument| match argument.get_env() {
            Some(name) if is_empty(name) => argument.env(Resettable::<ClapText>::Reset),
            _ => argument,
        })
        .mut_subcommands(without_empty)
}
