//! `docxy-client setup`: makes an engine pull through this client.
//!
//! [`engines`] describes each engine as data: files, [`change`]s and words, made from what is known of the machine.
//! [`mod@format`] edits texts. Only [`machine`] looks at the machine, and only [`journal`] writes. Prints files and
//! commands on stdout, and everything else on stderr.
//!
//! Must never restart anything unasked, or change what the user wrote in a file.

pub mod change;
pub mod engines;
pub mod format;
pub mod journal;
pub mod machine;
mod plan;

pub use plan::{FileChanges, Plan, Reload, Target};

use super::arguments::SetupArguments;
use super::error::CommandError;
use crate::local_api::{self, RunningClient};
use crate::settings::{Flags, GivenSettings, listen_port};
use docxy_host::process::signals::hang_up;
use docxy_host::process::terminal::{print, print_note};
use docxy_protocol::name::Registry;
use engines::{ENGINES, Engine};
use journal::{Journal, JournalError, Step};
use machine::Machine;
use std::fmt::Write as _;
use std::io;
use std::process::Command;

/// Why `setup` failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum SetupError {
    #[error("{source}; as root: sudo docxy-client {arguments}")]
    NotRoot { arguments: String, source: JournalError },
    #[error("the files are written, but {command} failed: {reason}; run it yourself")]
    Reload { command: String, reason: String },
    #[error(
        "the files are written, but it is not known how {service} is started here: there is neither systemd nor OpenRC. Make \
         it read them again yourself ({effect})"
    )]
    NoManager { service: &'static str, effect: &'static str },
}

pub(super) fn setup(arguments: SetupArguments, flags: &Flags) -> Result<(), CommandError> {
    let target = Target {
        port: listen_port(flags)?,
        registries: if arguments.registries.is_empty() { served() } else { arguments.registries.clone() },
        via: arguments.via.clone(),
        keep_fallback: arguments.keep_fallback,
    };
    match arguments.engine {
        Some(engine) => set_up(engine, &target, &arguments),
        None => detect(&target),
    }
}

/// The registries that the servers of a running client serve, or else those that a server usually serves.
fn served() -> Vec<Registry> {
    let found = tokio::runtime::Builder::new_current_thread().enable_all().build().ok().and_then(|runtime| {
        runtime.block_on(async {
            let sockets = local_api::socket_candidates();
            let running = RunningClient::find(sockets, GivenSettings::default(), false).await?;
            running.registries().await.ok().filter(|served| !served.is_empty())
        })
    });
    found.unwrap_or_else(|| Registry::well_known().collect())
}

/// Says what could be done for each engine that is installed.
fn detect(target: &Target) -> Result<(), CommandError> {
    let programs: Vec<_> = ENGINES.iter().flat_map(|engine| engine.programs).copied().collect();
    let mut machine = Machine::look(&programs);
    let config = Journal::read()?.without("containerd", &machine.containerd_config_path());
    // If it is not valid, the command that would change it says so.
    machine.containerd_config = config.ok().flatten();
    let mut text = String::new();
    for engine in ENGINES {
        if !engine.programs.iter().any(|program| machine.programs.contains_key(program)) {
            continue;
        }
        let about = match engine.plan(target, &machine) {
            Ok(plan) => match plan.files.as_slice() {
                [] => "no file to change, only advice".to_owned(),
                [only] => format!("would change {}", only.path.display()),
                [first, rest @ ..] => {
                    format!("would change {} and {} more", first.path.display(), rest.len())
                }
            },
            Err(why) => why.to_string(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "docxy-client setup {}\t{about}", engine.name);
    }
    if text.is_empty() {
        print_note("no engine is installed that setup knows; docxy-client setup --help lists them");
    }
    if !machine.is_root {
        print_note("these are the engines of your user; for those of the machine: sudo docxy-client setup");
    }
    print(&text).map_err(CommandError::Output)
}

fn set_up(engine: &Engine, target: &Target, arguments: &SetupArguments) -> Result<(), CommandError> {
    let journal = Journal::read()?;
    let mut machine = Machine::look(&[engine.programs, &["docker", "dockerd", "containerd"]].concat());
    if engine.programs.contains(&"containerd") {
        machine.containerd_config = journal.without(engine.name, &machine.containerd_config_path())?;
    }
    let is_installed = engine.programs.iter().any(|program| machine.programs.contains_key(program));
    let plan = match engine.plan(target, &machine) {
        Ok(plan) => plan,
        // What was set up can be undone whatever the engine has become.
        Err(_) if arguments.undo => Plan::default(),
        Err(why) => return Err(why.into()),
    };
    let steps = journal.steps(engine.name, if arguments.undo { &[] } else { &plan.files })?;
    print_note(&format!("{}: {}", engine.name, engine.evidence));
    if !is_installed {
        print_note(&format!("{} is not installed here", engine.programs.join(", ")));
    }
    if arguments.print {
        print(&as_text(&steps)).map_err(CommandError::Output)?;
    } else {
        journal.carry_out(&steps).map_err(|error| match error.is_refused() && !machine.is_root {
            true => {
                let arguments = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
                SetupError::NotRoot { arguments, source: error }.into()
            }
            false => CommandError::from(error),
        })?;
        print(&as_list(&steps)).map_err(CommandError::Output)?;
    }
    if steps.iter().all(|step| !step.is_change()) && !arguments.print {
        print_note(if arguments.undo { "nothing to undo" } else { "nothing to change" });
    }
    let reload = plan.reload.as_ref().filter(|reload| {
        let is_meant = |step: &&Step| reload.file.as_ref().is_none_or(|file| *file == step.path);
        // With --apply also after a run without it.
        steps.iter().filter(is_meant).any(|step| step.is_change() || arguments.apply && !arguments.undo)
    });
    let is_unknown = reload.is_some_and(|reload| reload.text().is_none());
    if is_unknown && engine.name == "docker" && machine.docker.is_none() {
        print_note("docker does not run; it reads its files when it starts");
    } else if let Some(reload) = reload {
        let runs = is_installed || reload.text().is_some();
        if arguments.apply && runs && !arguments.print { run(reload)? } else { print_note(&words(reload)) }
    }
    if arguments.undo {
        plan.undo_note.filter(|_| steps.iter().any(Step::is_change)).iter().for_each(|note| print_note(note));
    } else {
        plan.notes.iter().for_each(|note| print_note(note));
        print_note(&format!("to test it: {}", plan.test));
    }
    Ok(())
}

/// Each file that changes, with its new content.
fn as_text(steps: &[Step]) -> String {
    let changed = steps.iter().filter(|step| step.is_change());
    let text = changed.map(|step| {
        let path = step.path.display();
        step.new
            .as_ref()
            .map_or_else(|| format!("# {path} is removed\n\n"), |new| format!("# {path}\n{new}\n"))
    });
    text.collect()
}

/// Each file that has changed, a line each.
fn as_list(steps: &[Step]) -> String {
    let line = |step: &Step| {
        let path = step.path.display();
        match (&step.new, step.is_ours(), step.backup()) {
            (None, ..) => format!("removed {path}\n"),
            (Some(_), true, Some(backup)) => format!("changed {path}; as it was: {}\n", backup.display()),
            (Some(_), true, None) => format!("wrote {path}\n"),
            (Some(_), false, _) if step.keeps_changes => {
                format!("removed our entries from {path}, and kept what was changed since setup\n")
            }
            (Some(_), false, _) => format!("restored {path}\n"),
        }
    };
    steps.iter().filter(|step| step.is_change()).map(line).collect()
}

fn words(reload: &Reload) -> String {
    match reload.text() {
        Some(text) => format!("then, or with --apply: {text} ({})", reload.effect),
        None => format!("then make {} read it again, as it was started ({})", reload.service, reload.effect),
    }
}

fn run(reload: &Reload) -> Result<(), SetupError> {
    let by_command = reload.command.as_ref().map(|command| run_command(command));
    let done = match (by_command, reload.process) {
        (Some(Ok(done)), _) => done,
        // Its service is not the one that runs.
        (Some(Err(_)) | None, Some(process)) => {
            let command = format!("kill -HUP {process}");
            let failed =
                |error: io::Error| SetupError::Reload { command: command.clone(), reason: error.to_string() };
            hang_up(process).map_err(failed)?;
            command
        }
        (Some(Err(error)), None) => return Err(error),
        (None, None) => return Err(SetupError::NoManager { service: reload.service, effect: reload.effect }),
    };
    print_note(&format!("done: {done} ({})", reload.effect));
    Ok(())
}

/// Runs a command. Returns it as a text.
fn run_command(command: &[String]) -> Result<String, SetupError> {
    let text = command.join(" ");
    let failed = |reason: String| SetupError::Reload { command: text.clone(), reason };
    let [program, arguments @ ..] = command else { return Ok(text) };
    let status = Command::new(program).args(arguments).status().map_err(|error| failed(error.to_string()))?;
    if status.success() { Ok(text) } else { Err(failed(status.to_string())) }
}
