//! The engines of this machine: whether their config files lead to this client, and whether they ask it.
//!
//! Must never run an engine's commands but those that only show something.

use super::local_client::LocalClient;
use super::{Check, Finding, Subject, Verdict};
use crate::command::setup::engines::{ENGINES, Engine, PlanError};
use crate::command::setup::journal::{Journal, JournalError, State};
use crate::command::setup::machine::{DockerStore, Machine};
use crate::command::setup::{Plan, Target};
use docxy_host::files::directories::is_root;
use docxy_protocol::name::Registry;
use serde::{Deserialize, Serialize};

/// An installed engine.
#[derive(Debug)]
pub struct Installed {
    /// Its name.
    pub name: &'static str,
    /// The command that sets it up.
    pub setup: String,
    /// A command that pulls an image as a test.
    pub test: String,
    standing: Standing,
}

/// How far an engine is set up.
#[derive(Debug)]
enum Standing {
    /// Its files lead to this client.
    SetUp,
    /// They do, and it uses them, as it says itself.
    InUse,
    NotSetUp,
    /// Something is wrong, and what mends it.
    Wrong(EngineCause, String, String),
    /// Here is no way to know, for this reason.
    Unknown(EngineCause, String),
}

/// What is wrong with an engine's set-up, or why that is not known, as a value that the page says in the user's language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(derive_more::TryFrom), try_from(repr), repr(u8))]
#[serde(rename_all = "snake_case")]
pub enum EngineCause {
    /// A file was changed since setup.
    Changed,
    /// A file leads to another port.
    OtherPort,
    /// The engine has not read its file again.
    NotReread,
    /// Only another user may read a file.
    NotReadable,
    /// A file is not what its engine reads.
    NotUnderstood,
    /// A file, or what setup wrote about it, cannot be used.
    Files,
    /// It is Docker Desktop.
    DockerDesktop,
    /// It is another user's.
    Rootless,
    /// Its own settings name other mirrors.
    OtherMirrors,
    /// Its settings are not in a file.
    NoFile,
}

impl From<&JournalError> for EngineCause {
    fn from(error: &JournalError) -> Self {
        match error {
            _ if error.is_refused() => Self::NotReadable,
            JournalError::Format { .. } | JournalError::NotText(_) => Self::NotUnderstood,
            JournalError::Unchanged(error) => Self::from(&**error),
            JournalError::File(_)
            | JournalError::Change { .. }
            | JournalError::Journal { .. }
            | JournalError::NoDirectory => Self::Files,
        }
    }
}

impl From<&PlanError> for EngineCause {
    fn from(error: &PlanError) -> Self {
        match error {
            PlanError::DockerDesktop => Self::DockerDesktop,
            PlanError::Rootless => Self::Rootless,
            PlanError::OtherMirrors { .. } => Self::OtherMirrors,
        }
    }
}

impl Installed {
    /// Whether its files lead to this client.
    #[must_use]
    pub const fn is_set_up(&self) -> bool {
        matches!(self.standing, Standing::SetUp | Standing::InUse)
    }

    /// What is wrong with its set-up, or why that is not known.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        match &self.standing {
            Standing::Wrong(_, what, remedy) => Some(format!("{what}: {remedy}")),
            Standing::Unknown(_, why) => Some(why.clone()),
            Standing::SetUp | Standing::InUse | Standing::NotSetUp => None,
        }
    }

    /// The same as a value.
    #[must_use]
    pub const fn cause(&self) -> Option<EngineCause> {
        match &self.standing {
            Standing::Wrong(cause, ..) | Standing::Unknown(cause, _) => Some(*cause),
            Standing::SetUp | Standing::InUse | Standing::NotSetUp => None,
        }
    }

    fn is_meant(&self) -> bool {
        self.is_set_up() || matches!(self.standing, Standing::Wrong(..))
    }
}

/// Looks at all engines that are installed. A client of this machine listens at this port. May take seconds.
#[must_use]
pub fn look(port: u16) -> Vec<Installed> {
    let programs: Vec<_> = ENGINES.iter().flat_map(|engine| engine.programs).copied().collect();
    let machine = Machine::look(&programs);
    let is_installed =
        |engine: &&Engine| engine.programs.iter().any(|program| machine.programs.contains_key(program));
    ENGINES.iter().filter(is_installed).map(|engine| installed(engine, &machine, port)).collect()
}

/// The findings: of each engine one.
pub(super) fn findings(engines: &[Installed], client: &LocalClient) -> Vec<Finding> {
    if engines.is_empty() {
        let verdict = Verdict::not_tried("no engine is installed that docxy-client setup knows");
        return vec![Finding { check: Check::Engine, subject: Subject::Machine, verdict }];
    }
    let is_one_meant = engines.iter().any(Installed::is_meant);
    let finding = |(n, engine): (usize, &Installed)| {
        let verdict = match &engine.standing {
            Standing::InUse => Verdict::Ok("it is set up, and uses this client".into()),
            Standing::SetUp => asks(engine, client),
            // Who pulls with one engine need not set up the others.
            Standing::NotSetUp if is_one_meant || n > 0 => {
                Verdict::not_tried(format!("it is not set up; if you pull with it: {}", engine.setup))
            }
            Standing::NotSetUp => Verdict::fault("no engine is set up to ask this client", &engine.setup),
            Standing::Wrong(_, what, remedy) => Verdict::fault(what, remedy),
            Standing::Unknown(_, why) => Verdict::Unknown(why.clone()),
        };
        Finding { check: Check::Engine, subject: Subject::Engine(engine.name), verdict }
    };
    engines.iter().enumerate().map(finding).collect()
}

/// Whether an engine that is set up has asked the client. Its files alone do not show it.
fn asks(engine: &Installed, client: &LocalClient) -> Verdict {
    let agent = match engine.name {
        "nerdctl" | "k3s" | "rke2" => "containerd",
        "buildkitd" | "buildx" => "buildkit",
        name => name,
    };
    match client.asked_by(agent) {
        Some(0) => Verdict::Unknown(format!(
            "it is set up, and has asked nothing since the client's start; to see that it does: {}",
            engine.test
        )),
        Some(count) => {
            Verdict::Ok(format!("it is set up, and has asked {count} times since the client's start"))
        }
        None => Verdict::Unknown("it is set up; whether it asks shows only while a client runs".into()),
    }
}

fn installed(engine: &Engine, machine: &Machine, port: u16) -> Installed {
    let own = by_files(engine, machine.clone(), port);
    if matches!(own.standing, Standing::NotSetUp) && !machine.is_root {
        // What root has set up holds for users too.
        let of_system = by_files(engine, Machine { is_root: true, ..machine.clone() }, port);
        if of_system.is_set_up() {
            return of_system;
        }
    }
    own
}

/// An engine by the config files of this user, or the system's.
fn by_files(engine: &Engine, mut machine: Machine, port: u16) -> Installed {
    let registries = Registry::well_known().collect();
    let target = Target { via: None, port, registries, keep_fallback: false };
    let mut plan = Plan::default();
    let standing = standing(engine, &target, &mut machine, &mut plan);
    let is_of_system = plan.files.iter().any(|file| file.path.starts_with("/etc"));
    let sudo = if is_of_system && !is_root() { "sudo " } else { "" };
    let setup = format!("{sudo}docxy-client setup {} --apply", engine.name);
    let standing = standing.unwrap_or_else(|error| {
        let cause = EngineCause::from(&error);
        match error.path() {
            _ if error.is_refused() => {
                Standing::Unknown(cause, format!("{error}; sudo docxy-client doctor can tell"))
            }
            Some(path) => {
                let remedy = format!("{sudo}editor {}; then {setup}", path.display());
                Standing::Wrong(cause, error.to_string(), remedy)
            }
            None => Standing::Wrong(cause, error.to_string(), String::new()),
        }
    });
    let standing = match standing {
        Standing::Wrong(cause, what, remedy) if remedy.is_empty() => {
            Standing::Wrong(cause, what, setup.clone())
        }
        standing => standing,
    };
    Installed { name: engine.name, setup, test: plan.test, standing }
}

/// How far an engine is set up. What is wrong without a remedy is mended by setup.
fn standing(
    engine: &Engine,
    target: &Target,
    machine: &mut Machine,
    plan: &mut Plan,
) -> Result<Standing, JournalError> {
    let journal = Journal::read()?;
    if engine.programs.contains(&"containerd") {
        machine.containerd_config = journal.without(engine.name, &machine.containerd_config_path())?;
    }
    *plan = match engine.plan(target, machine) {
        Ok(plan) => plan,
        Err(why) => return Ok(Standing::Unknown((&why).into(), why.to_string())),
    };
    if plan.files.is_empty() {
        let why = format!("its settings are not in a file: docxy-client setup {}", engine.name);
        return Ok(Standing::Unknown(EngineCause::NoFile, why));
    }
    Ok(match journal.state(engine.name, &plan.files, target.port)? {
        State::NotSetUp => Standing::NotSetUp,
        State::Changed(path) => Standing::Wrong(
            EngineCause::Changed,
            format!("{} was changed since setup, and does not lead here", path.display()),
            String::new(),
        ),
        State::Elsewhere(path) => Standing::Wrong(
            EngineCause::OtherPort,
            format!("{} leads to another port than {}", path.display(), target.port),
            String::new(),
        ),
        State::SetUp => match machine.docker.as_ref().filter(|_| engine.name == "docker") {
            Some(docker) if docker.store == DockerStore::Classic => {
                let end = format!(":{}", target.port);
                let is_used =
                    docker.mirrors.split(' ').any(|mirror| mirror.trim_end_matches('/').ends_with(&end));
                match &plan.reload {
                    Some(reload) if !is_used => {
                        let what =
                            "dockerd has not read its daemon.json again since it was set up".to_owned();
                        let text =
                            reload.text().unwrap_or_else(|| "docxy-client setup docker --apply".into());
                        Standing::Wrong(EngineCause::NotReread, what, format!("sudo {text}"))
                    }
                    _ => Standing::InUse,
                }
            }
            _ => Standing::SetUp,
        },
    })
}
