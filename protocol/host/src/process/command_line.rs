//! What shells, packages and the curious get to know of a program's command line beside its help: `completions`, `man` and
//! `version`. Each program adds an example to each.

use crate::process::terminal::print;
use clap::{Args, Command};
use std::io;
use std::path::PathBuf;

pub use clap_complete::Shell;

/// Print the script with which a shell completes the arguments of this program.
///
/// Packages install it.
#[derive(Debug, Args)]
pub struct CompletionsArguments {
    /// The shell
    pub shell: Shell,
}

/// Write the man pages into a directory, for packages.
#[derive(Debug, Args)]
pub struct ManArguments {
    /// The directory, which must exist
    pub directory: PathBuf,
}

/// Print the version.
#[derive(Debug, Args)]
pub struct VersionArguments {}

impl CompletionsArguments {
    /// Prints the script.
    ///
    /// # Errors
    /// If it cannot be printed.
    pub fn run(&self, program: Command) -> io::Result<()> {
        print(&completions(self.shell, program))
    }
}

impl ManArguments {
    /// Writes a page of the program, and one of each command that its help lists.
    ///
    /// # Errors
    /// If one cannot be written.
    pub fn run(&self, program: Command) -> io::Result<()> {
        clap_mangen::generate_to(program, &self.directory)
    }
}

impl VersionArguments {
    /// Prints the version.
    ///
    /// # Errors
    /// If it cannot be printed.
    pub fn run(&self, program: &Command) -> io::Result<()> {
        print(&program.render_version())
    }
}

/// The script that makes a shell complete the program's arguments.
#[must_use]
pub fn completions(shell: Shell, mut program: Command) -> String {
    let name = program.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, name, &mut script);
    String::from_utf8(script).expect("clap's own texts are UTF-8")
}
