//! Special launch settings of a program: under another command, with further arguments or variables, or with stdout and
//! stderr that are not the log file.
//! Must never change the program's process id: the command that it runs under must exec it.

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Result;

/// Launch settings. The default has none.
#[derive(Debug, Default)]
pub struct Launch {
    /// A command that execs its arguments, such as `setsid --ctty`.
    pub under: Vec<String>,
    /// Arguments after those of every test.
    pub arguments: Vec<String>,
    /// Variables of the environment.
    pub environment: Vec<(String, String)>,
    /// The file for stdout and stderr; `None` is the log file.
    pub output: Option<File>,
    /// The file for stdin; `None` is an empty one.
    pub input: Option<File>,
}

impl Launch {
    /// With these arguments.
    pub fn with(arguments: &[&str]) -> Self {
        Self { arguments: owned(arguments), ..Self::default() }
    }

    /// With these variables of the environment.
    pub fn in_environment(variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self { environment: variables.iter().map(owned).collect(), ..Self::default() }
    }

    /// Under this command.
    pub fn under(under: &[&str]) -> Self {
        Self { under: owned(under), ..Self::default() }
    }

    /// With this file as `/etc/hosts`, in a mount namespace of its own. Needs root.
    pub fn with_hosts(file: &Path) -> Self {
        let mount = format!(r#"mount --bind {} /etc/hosts && exec "$0" "$@""#, file.display());
        Self::under(&["unshare", "--mount", "sh", "-c", &mount])
    }

    /// With stdout and stderr to this file, pipe or terminal.
    pub fn to(output: File) -> Self {
        Self { output: Some(output), ..Self::default() }
    }

    /// With stdout and stderr closed.
    pub fn closed() -> Self {
        Self::under(&["sh", "-c", r#"exec "$0" "$@" >&- 2>&-"#])
    }

    /// Adds a log filter on the command line.
    pub fn logging(mut self, filter: &str) -> Self {
        self.arguments.extend(owned(&["--log", filter]));
        self
    }

    /// `command` with these settings.
    pub(super) fn apply(&self, command: Command) -> Command {
        let Some((program, rest)) = self.under.split_first() else { return with_arguments(command, self) };
        let mut outer = Command::new(program);
        outer.args(rest).arg(command.get_program()).args(command.get_args()).env_clear();
        outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        with_arguments(outer, self)
    }

    /// Stdin, stdout and stderr, if they are not the default.
    pub(super) fn streams(&self) -> Result<Option<[Stdio; 3]>> {
        let Some(output) = &self.output else { return Ok(None) };
        let input = self.input.as_ref().map(File::try_clone).transpose()?;
        let stdin = input.map_or_else(Stdio::null, Stdio::from);
        Ok(Some([stdin, output.try_clone()?.into(), output.try_clone()?.into()]))
    }
}

fn with_arguments(mut command: Command, launch: &Launch) -> Command {
    command.args(&launch.arguments).envs(launch.environment.iter().map(|(name, value)| (name, value)));
    command
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
