//! What shells, packages and the curious get to know of the command line: `completions`, `man` and `version`.

use super::arguments::Arguments;
use super::error::CommandError;
use clap::{Args, CommandFactory as _};
use docxy_host::command_line::{self, Shell};
use docxy_host::terminal::print;
use std::path::PathBuf;

/// Print the script with which a shell completes the arguments of this program.
///
/// Packages install it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-client completions bash >/etc/bash_completion.d/docxy-client")]
pub(super) struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

/// Write the man pages into a directory, for packages.
#[derive(Debug, Args)]
#[command(hide = true, after_help = "Example:\n  docxy-client man target/man")]
pub(super) struct ManArguments {
    /// The directory, which must exist
    directory: PathBuf,
}

/// Print the version.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-client version")]
pub(super) struct VersionArguments {}

pub(super) fn completions(arguments: &CompletionsArguments) -> Result<(), CommandError> {
    let script = command_line::completions(arguments.shell, Arguments::command());
    print(&script).map_err(CommandError::Output)
}

pub(super) fn man(arguments: &ManArguments) -> Result<(), CommandError> {
    command_line::write_man_pages(Arguments::command(), &arguments.directory).map_err(CommandError::Output)
}

pub(super) fn version() -> Result<(), CommandError> {
    print(&Arguments::command().render_version()).map_err(CommandError::Output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[test]
    fn shells_complete_every_command_and_each_has_a_man_page() {
        let dir = tempfile::tempdir().unwrap();
        man(&ManArguments { directory: dir.path().to_owned() }).unwrap();
        for command in Arguments::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            let page = std::fs::read_to_string(dir.path().join(format!("docxy-client-{name}.1"))).unwrap();
            assert!(page.contains("Example"), "{page}");
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                let script = command_line::completions(shell, Arguments::command());
                assert!(script.contains(name), "{shell} {name}");
            }
        }
        assert!(dir.path().join("docxy-client.1").exists());
    }

    #[test]
    fn help_and_version_are_commands_too() {
        for (command, expected) in
            [("help", "Usage: docxy-client"), ("help join", "Usage: docxy-client join")]
        {
            let line = format!("docxy-client {command}");
            let error = Arguments::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 0);
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(Arguments::try_parse_from(["docxy-client", "version"]).is_ok());
    }
}
