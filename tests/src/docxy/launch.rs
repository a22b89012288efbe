//! How one of the programs is started where the usual way won't do: under another command, with further arguments, and
//! with stdout and stderr that lead somewhere else than to the log file.
//! Must leave the program's process id as it is: whatever it runs under has to exec it.

use std::{
    fs::File,
    process::{Command, Stdio},
};

use anyhow::Result;

/// How to start a program. The default is the usual way.
#[derive(Debug, Default)]
pub struct Launch {
    /// A command that execs the one that follows it, such as `setsid --ctty`.
    pub under: Vec<String>,
    /// Arguments behind those that every test has.
    pub arguments: Vec<String>,
    /// Where stdout and stderr lead; `None` is the log file.
    pub output: Option<File>,
    /// Where stdin comes from; `None` is nothing at all.
    pub input: Option<File>,
}

impl Launch {
    /// With these arguments.
    pub fn with(arguments: &[&str]) -> Self {
        Self { arguments: owned(arguments), ..Self::default() }
    }

    /// Under this command.
    pub fn under(under: &[&str]) -> Self {
        Self { under: owned(under), ..Self::default() }
    }

    /// With stdout and stderr to this file, or to what it stands for.
    pub fn to(output: File) -> Self {
        Self { output: Some(output), ..Self::default() }
    }

    /// With both of them closed.
    pub fn closed() -> Self {
        Self::under(&["sh", "-c", r#"exec "$0" "$@" >&- 2>&-"#])
    }

    /// With a log filter from the command line.
    pub fn logging(mut self, filter: &str) -> Self {
        self.arguments.extend(owned(&["--log", filter]));
        self
    }

    /// The command that does so.
    pub(super) fn apply(&self, command: Command) -> Command {
        let Some((program, rest)) = self.under.split_first() else { return with_arguments(command, self) };
        let mut outer = Command::new(program);
        outer.args(rest).arg(command.get_program()).args(command.get_args()).env_clear();
        outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        with_arguments(outer, self)
    }

    /// Stdin, stdout and stderr, if they are not the usual ones.
    pub(super) fn streams(&self) -> Result<Option<[Stdio; 3]>> {
        let Some(output) = &self.output else { return Ok(None) };
        let input = self.input.as_ref().map(File::try_clone).transpose()?;
        let stdin = input.map_or_else(Stdio::null, Stdio::from);
        Ok(Some([stdin, output.try_clone()?.into(), output.try_clone()?.into()]))
    }
}

fn with_arguments(mut command: Command, launch: &Launch) -> Command {
    command.args(&launch.arguments);
    command
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
