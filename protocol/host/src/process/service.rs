//! The program as a service of systemd: installs and removes its unit, and says when it is ready.
//!
//! Must never replace or delete a unit that it did not write, nor delete what the service has stored.

use crate::files::directories::is_root;
use crate::files::private_file::{self, FileError};
use crate::process::terminal::print_note;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The user of the system's services, as sysusers.d describes it.
const SYSTEM_USER: &str = include_str!("../../../../scripts/deploy/sysusers.d/docxy.conf");

/// The directory of the system's config files, which the services read as the user docxy.
const CONFIG_DIRECTORY: &str = "/etc/docxy";

/// Where packages put units.
const PACKAGED: [&str; 2] = ["/usr/lib/systemd", "/lib/systemd"];

/// What a service of the system cannot start from, since its unit hides it.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// Whose service it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One for all users of this machine.
    System,
    /// This user's.
    User,
}

/// A program's service.
#[derive(Debug)]
pub struct Service {
    /// The program, and the unit without `.service`.
    pub name: &'static str,
    /// Whose it is.
    pub scope: Scope,
    /// The unit, for a program below `/usr/bin`.
    pub unit: &'static str,
}

/// Why a service cannot be installed or removed. The text is for the user.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are named in the texts")]
pub enum ServiceError {
    /// Another service manager, or none, as in most containers.
    #[error("systemd does not run here: have your service manager start `{program} run`")]
    NoSystemd { program: &'static str },
    /// Only root may.
    #[error("this is for root: sudo {program} service {action}")]
    NotRoot { program: &'static str, action: &'static str },
    /// The service could not start the program from there.
    #[error(
        "a service cannot start {program}: move it, as in sudo install -m 755 {program} /usr/local/bin, and start that one",
        program = .0.display()
    )]
    Place(PathBuf),
    /// Written by another hand.
    #[error("{} is not from this command: move it away, and try again", .0.display())]
    ForeignUnit(PathBuf),
    /// There is no home.
    #[error("there is no directory for the unit: HOME is not set")]
    NoHome,
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A program of the system has failed.
    #[error("{command}: {reason}")]
    Command { command: String, reason: String },
}

impl Service {
    /// Makes the user of a system's service, writes the unit unless a package has brought it, and starts the service, now
    /// and at boot. Says each step. May be repeated.
    ///
    /// # Errors
    /// If a step fails. The earlier ones are done.
    pub fn install(&self) -> Result<(), ServiceError> {
        self.check("install")?;
        let unit = self.unit_name();
        if self.scope == Scope::System {
            make_user()?;
            open_config_directory(Path::new(CONFIG_DIRECTORY))?;
        }
        let is_new = match self.packaged() {
            Some(packaged) => {
                print_note(&format!("the unit is the package's: {}", packaged.display()));
                // It would be used instead.
                self.delete_written()?
            }
            None => {
                let path = self.written()?;
                let is_new = self.write(&path, &program()?)?;
                let done = if is_new { "wrote" } else { "unchanged:" };
                print_note(&format!("{done} {}", path.display()));
                is_new
            }
        };
        self.systemctl(&["daemon-reload"])?;
        self.systemctl(&["enable", "--quiet", &unit])?;
        self.systemctl(&[if is_new { "restart" } else { "start" }, &unit])?;
        print_note(&format!("{unit} runs, and starts {}", self.scope.moment()));
        Ok(())
    }

    /// Ends the service, and deletes its unit unless a package has brought it. Says each step, and what it keeps. May be
    /// repeated.
    ///
    /// # Errors
    /// If a step fails. The earlier ones are done.
    pub fn remove(&self, kept: &str) -> Result<(), ServiceError> {
        self.check("remove")?;
        let (unit, packaged) = (self.unit_name(), self.packaged());
        if packaged.is_none() && !self.written()?.exists() {
            print_note(&format!("{unit} is not installed"));
            return Ok(());
        }
        self.systemctl(&["disable", "--quiet", "--now", &unit])?;
        print_note(&format!("{unit} has ended, and does not start any more"));
        if self.delete_written()? {
            self.systemctl(&["daemon-reload"])?;
        }
        if let Some(packaged) = packaged {
            print_note(&format!("{} goes with its package", packaged.display()));
        }
        print_note(&format!("kept: {kept}"));
        Ok(())
    }

    /// Checks that this action is possible here.
    ///
    /// # Errors
    /// If systemd does not run, this user may not, or there is a unit of another hand.
    pub fn check(&self, action: &'static str) -> Result<(), ServiceError> {
        let Self { name, scope, .. } = self;
        if !sd_notify::booted().unwrap_or(false) {
            return Err(ServiceError::NoSystemd { program: name });
        }
        if *scope == Scope::System && !is_root() {
            return Err(ServiceError::NotRoot { program: name, action });
        }
        self.check_ours(&self.written()?)?;
        Ok(())
    }

    fn unit_name(&self) -> String {
        format!("{}.service", self.name)
    }

    fn packaged(&self) -> Option<PathBuf> {
        let path = |directory| Path::new(directory).join(self.scope.name()).join(self.unit_name());
        PACKAGED.into_iter().map(path).find(|path| path.exists())
    }

    /// Where this command writes the unit.
    fn written(&self) -> Result<PathBuf, ServiceError> {
        let directory = match self.scope {
            Scope::System => PathBuf::from("/etc/systemd/system"),
            Scope::User => {
                let xdg =
                    std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
                let config = xdg.or_else(|| Some(std::env::home_dir()?.join(".config")));
                config.ok_or(ServiceError::NoHome)?.join("systemd/user")
            }
        };
        Ok(directory.join(self.unit_name()))
    }

    /// Writes the unit for the program at this path. Returns whether it was not there, or another one.
    fn write(&self, path: &Path, program: &Path) -> Result<bool, ServiceError> {
        let text = self.unit_for(program)?;
        if self.check_ours(path)?.is_some_and(|known| known == text.as_bytes()) {
            return Ok(false);
        }
        let directory = path.parent().unwrap_or(Path::new("/"));
        let failed = |source| FileError::Write { path: path.to_owned(), source };
        fs::create_dir_all(directory).map_err(failed)?;
        private_file::replace(path, text.as_bytes())?;
        Ok(true)
    }

    fn unit_for(&self, program: &Path) -> Result<String, ServiceError> {
        let is_hidden = || HIDDEN.iter().any(|hidden| program.starts_with(hidden));
        // Other characters mean something to systemd.
        let is_plain = |c: char| c.is_alphanumeric() || "/._+-".contains(c);
        match program.to_str() {
            Some(path) if path.chars().all(is_plain) && !(self.scope == Scope::System && is_hidden()) => {
                Ok(self.first_line() + &self.unit.replace(&format!("/usr/bin/{}", self.name), path))
            }
            _ => Err(ServiceError::Place(program.to_owned())),
        }
    }

    /// How this command knows its units.
    fn first_line(&self) -> String {
        format!("# Written by `{0} service install`. Your changes: systemctl edit {0}\n", self.name)
    }

    /// The unit that this command wrote there, if there is one.
    fn check_ours(&self, path: &Path) -> Result<Option<Vec<u8>>, ServiceError> {
        match private_file::read(path)? {
            Some(text) if !text.starts_with(self.first_line().as_bytes()) => {
                Err(ServiceError::ForeignUnit(path.to_owned()))
            }
            known => Ok(known),
        }
    }

    /// Deletes the unit that this command wrote. Returns whether there was one.
    fn delete_written(&self) -> Result<bool, ServiceError> {
        let path = self.written()?;
        if self.check_ours(&path)?.is_none() {
            return Ok(false);
        }
        fs::remove_file(&path).map_err(|source| FileError::Write { path: path.clone(), source })?;
        print_note(&format!("removed {}", path.display()));
        Ok(true)
    }

    fn systemctl(&self, arguments: &[&str]) -> Result<(), ServiceError> {
        let scope = format!("--{}", self.scope.name());
        run("systemctl", &[&[scope.as_str()], arguments].concat(), "").map_err(|error| {
            let user = if self.scope == Scope::User { " --user" } else { "" };
            let reason = format!("{error}; journalctl{user} -u {} may say more", self.name);
            ServiceError::Command { command: format!("systemctl{user} {}", arguments.join(" ")), reason }
        })
    }
}

impl Scope {
    const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
        }
    }

    const fn moment(self) -> &'static str {
        match self {
            Self::System => "at boot",
            Self::User => "when you log in; at boot, too, after: loginctl enable-linger",
        }
    }
}

/// Tells the service manager, if there is one, that the program serves.
pub fn tell_ready() {
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "the service manager cannot be told that the program is ready");
    }
}

/// The program of this process.
fn program() -> Result<PathBuf, ServiceError> {
    let failed = |error: io::Error| ServiceError::Command {
        command: "/proc/self/exe".into(),
        reason: error.to_string(),
    };
    std::env::current_exe().map_err(failed)
}

/// Makes the user of the services, unless it is there.
fn make_user() -> Result<(), ServiceError> {
    let made = match run("systemd-sysusers", &["-"], SYSTEM_USER) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if run("id", &["docxy"], "").is_ok() {
                return Ok(());
            }
            let arguments =
                ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell"];
            run("useradd", &[&arguments[..], &["/usr/sbin/nologin", "docxy"]].concat(), "")
        }
        made => made,
    };
    let failed = |error: io::Error| ServiceError::Command {
        command: "making the user docxy".into(),
        reason: error.to_string(),
    };
    made.map_err(failed)?;
    print_note("the service runs as the user docxy");
    Ok(())
}

/// Lets the services read the config files: an earlier version made their directory for root alone. Secrets in it have modes
/// of their own.
fn open_config_directory(path: &Path) -> Result<(), ServiceError> {
    let open = || {
        fs::create_dir_all(path)?;
        if path.metadata()?.permissions().mode() & 0o005 == 0o005 {
            return Ok(());
        }
        print_note(&format!(
            "all users may see the files in {}, and read those that let them",
            path.display()
        ));
        fs::set_permissions(path, Permissions::from_mode(0o755))
    };
    Ok(open().map_err(|source| FileError::Write { path: path.to_owned(), source })?)
}

/// Runs a program to its end. The error has what it says.
fn run(program: &str, arguments: &[&str], input: &str) -> io::Result<()> {
    let mut command = Command::new(program);
    let mut child =
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input says why it fails, if it does.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(io::Error::other(if said.is_empty() { output.status.to_string() } else { said }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: Service = Service {
        name: "docxy-x",
        scope: Scope::System,
        unit: "[Service]\nExecStart=/usr/bin/docxy-x run\n",
    };

    #[test]
    fn a_unit_starts_the_program_from_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/docxy-x.service");
        let write = |program: &str| SERVICE.write(&path, Path::new(program));
        assert!(write("/usr/local/bin/docxy-x").unwrap());
        assert!(!write("/usr/local/bin/docxy-x").unwrap(), "it is there");
        assert!(write("/opt/docxy-x").unwrap());
        assert!(fs::read_to_string(&path).unwrap().ends_with("\nExecStart=/opt/docxy-x run\n"));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        for program in ["/home/me/docxy-x", "/tmp/docxy-x", "/opt/a b", "/opt/%h"] {
            assert!(matches!(write(program), Err(ServiceError::Place(_))), "{program}");
        }
        let of_user = Service { scope: Scope::User, ..SERVICE };
        assert!(of_user.unit_for(Path::new("/home/me/docxy-x")).is_ok());
    }

    /// Skipped, and said, where systemd is not installed.
    #[test]
    fn systemd_finds_no_mistake_in_the_units_and_little_exposure() {
        for (name, scope, unit) in [
            (
                "docxy-server",
                Scope::System,
                include_str!("../../../../scripts/deploy/systemd/docxy-server.service"),
            ),
            (
                "docxy-client",
                Scope::System,
                include_str!("../../../../scripts/deploy/systemd/docxy-client.service"),
            ),
            (
                "docxy-client",
                Scope::User,
                include_str!("../../../../scripts/deploy/systemd/user/docxy-client.service"),
            ),
        ] {
            let service = Service { name, scope, unit };
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(service.unit_name());
            service.write(&path, Path::new("/bin/sh")).unwrap();
            let analyze = |arguments: &[&str]| {
                let mut command = Command::new("systemd-analyze");
                command.args(arguments).arg(&path).env("XDG_RUNTIME_DIR", dir.path()).output()
            };
            let verified = match analyze(&[&format!("--{}", scope.name()), "--man=no", "verify"]) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    print_note("skipped: systemd-analyze is not installed");
                    return;
                }
                verified => verified.unwrap(),
            };
            assert!(
                verified.status.success() && verified.stderr.is_empty(),
                "{name} {scope:?}: {verified:?}"
            );
            if scope == Scope::System {
                // In tenths.
                let exposure = analyze(&["security", "--offline=true", "--threshold=20"]).unwrap();
                assert!(exposure.status.success(), "{name}: {exposure:?}");
            }
        }
    }

    #[test]
    fn a_unit_of_another_hand_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docxy-x.service");
        fs::write(&path, "[Service]\nExecStart=/usr/local/bin/docxy-x run\n").unwrap();
        let before = fs::read(&path).unwrap();
        assert!(matches!(SERVICE.write(&path, Path::new("/opt/docxy-x")), Err(ServiceError::ForeignUnit(_))));
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_program_that_fails_says_why() {
        let error = run("sh", &["-c", "cat >&2; echo again >&2; exit 3"], "no\n").unwrap_err();
        assert_eq!(error.to_string(), "no; again");
        assert_eq!(run("sh", &["-c", "exit 3"], "").unwrap_err().to_string(), "exit status: 3");
        assert_eq!(run("docxy-no-such-program", &[], "").unwrap_err().kind(), ErrorKind::NotFound);
    }
}
