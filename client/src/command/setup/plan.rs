//! What the user wants to be set up, and what is to be done for it.

use super::change::Change;
use super::format::Format;
use super::machine::{Machine, ServiceManager};
use docxy_protocol::name::Registry;
use std::path::PathBuf;

/// What the user wants to be set up.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where engines reach the client, if the user says so: a host, or a host with a port.
    pub via: Option<String>,
    /// The client's port, for a host without one.
    pub port: u16,
    /// The registries; at least one.
    pub registries: Vec<Registry>,
    /// Whether engines ask the registry itself if Docxy fails.
    pub keep_fallback: bool,
}

impl Target {
    /// The client's address for an engine that reaches this machine by that host.
    #[must_use]
    pub fn address(&self, default_host: &str) -> String {
        let host = self.via.as_deref().unwrap_or(default_host);
        let name_end = host.rfind(']').unwrap_or(0);
        if host[name_end..].contains(':') { host.to_owned() } else { format!("{host}:{}", self.port) }
    }

    /// Whether Docker Hub is among the registries.
    #[must_use]
    pub fn has_docker_hub(&self) -> bool {
        self.registries.iter().any(Registry::is_docker_hub)
    }

    /// A small image of one of the registries.
    #[must_use]
    pub fn test_image(&self) -> String {
        match self.registries.first() {
            Some(registry) if !self.has_docker_hub() => format!("{registry}/OWNER/IMAGE"),
            _ => "docker.io/library/hello-world".to_owned(),
        }
    }
}

/// What is to be done for an engine.
#[derive(Debug, Default)]
pub struct Plan {
    /// The files, without those that need no change whatever is in them.
    pub files: Vec<FileChanges>,
    /// What makes the engine read a changed file. None if it reads them at each pull.
    pub reload: Option<Reload>,
    /// What the user should know, a sentence each.
    pub notes: Vec<String>,
    /// What the user should know after an undo, if a file has changed.
    pub undo_note: Option<&'static str>,
    /// A command that pulls an image as a test.
    pub test: String,
}

/// The changes to a file.
#[derive(Debug)]
pub struct FileChanges {
    /// Where it is.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// What changes.
    pub changes: Vec<Change>,
    /// Whether this version of the engine refuses a byte order mark that its other versions take.
    pub refuses_mark: bool,
}

impl FileChanges {
    /// The changes to a file.
    #[must_use]
    pub const fn new(path: PathBuf, format: Format, changes: Vec<Change>) -> Self {
        Self { path, format, changes, refuses_mark: false }
    }
}

/// How an engine is made to read its files again.
#[derive(Debug)]
pub struct Reload {
    /// The program and its arguments; `None` if no service manager is known here.
    pub command: Option<Vec<String>>,
    /// The process that reads them at SIGHUP, for where there is no such command, or it fails.
    pub process: Option<u32>,
    /// What is reloaded or restarted: the engine's service.
    pub service: &'static str,
    /// The only file that needs it, if others do not.
    pub file: Option<PathBuf>,
    /// What it does to containers that run.
    pub effect: &'static str,
}

impl Reload {
    /// By the service manager of this machine: the engine's service is told to `reload` or to `restart`.
    #[must_use]
    pub fn by_manager(
        machine: &Machine,
        verb: &'static str,
        service: &'static str,
        effect: &'static str,
        is_of_user: bool,
    ) -> Self {
        let command = match machine.manager {
            ServiceManager::Systemd if is_of_user => Some(format!("systemctl --user {verb} {service}")),
            ServiceManager::Systemd => Some(format!("systemctl {verb} {service}")),
            // Few of its scripts know a reload.
            ServiceManager::OpenRc if !is_of_user && verb == "restart" => {
                Some(format!("rc-service {service} {verb}"))
            }
            ServiceManager::OpenRc | ServiceManager::Unknown => None,
        };
        let command = command.map(|command| command.split(' ').map(str::to_owned).collect());
        Self { command, process: None, service, file: None, effect }
    }

    /// What the user would type; `None` if it is not known.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let signal = || self.process.map(|process| format!("kill -HUP {process}"));
        self.command.as_ref().map(|command| command.join(" ")).or_else(signal)
    }
}
