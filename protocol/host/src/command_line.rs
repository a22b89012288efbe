//! What is made of a program's command line beside its help: completions for shells, and man pages.

use clap::Command;
use std::io;
use std::path::Path;

pub use clap_complete::Shell;

/// The script that makes a shell complete the program's arguments.
#[must_use]
pub fn completions(shell: Shell, mut program: Command) -> String {
    let name = program.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, name, &mut script);
    String::from_utf8(script).expect("clap's own texts are UTF-8")
}

/// Writes a man page of the program, and one of each command that its help lists, into a directory that exists.
///
/// # Errors
/// If one cannot be written.
pub fn write_man_pages(program: Command, directory: &Path) -> io::Result<()> {
    clap_mangen::generate_to(program, directory)
}
