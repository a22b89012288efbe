//! What is installed on this machine, as far as it decides what an engine's files must say.
//!
//! Must never wait for an engine that does not respond, or change anything.

use docxy_host::files::directories::is_root;
use docxy_host::files::private_file;
use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Time for a program to say its version. dockerd may be busy.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The first three numbers of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, derive_more::Display)]
#[display("{_0}.{_1}.{_2}")]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// The version in what a program prints for `--version`: its first word with a number, a dot and a number.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        text.split(|c: char| c.is_whitespace() || c == ',').find_map(|word| {
            let numbers = word.trim_start_matches('v').split(|c: char| !c.is_ascii_digit());
            let mut numbers = numbers.map_while(|number| number.parse().ok());
            let (major, minor) = (numbers.next()?, numbers.next()?);
            Some(Self(major, minor, numbers.next().unwrap_or(0)))
        })
    }
}

/// Where dockerd keeps its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DockerStore {
    /// In containerd's store, the default of new installations since 29.
    Containerd,
    /// In the classic one, with a graph driver.
    Classic,
}

/// A running dockerd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Docker {
    /// Its version.
    pub version: Option<Version>,
    /// Its store.
    pub store: DockerStore,
    /// Whether it runs as a user.
    pub is_rootless: bool,
    /// Whether it is the one in Docker Desktop's virtual machine.
    pub is_desktop: bool,
    /// The mirrors of Docker Hub that it uses now, with spaces between them.
    pub mirrors: String,
}

/// What starts and reloads the services of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServiceManager {
    /// `systemctl`.
    #[default]
    Systemd,
    /// `rc-service`.
    OpenRc,
    /// Another one, or none, as in a container.
    Unknown,
}

impl ServiceManager {
    /// The one that runs below this root (sd_booted(3), and OpenRC's own directory).
    fn look(root: &Path) -> Self {
        if root.join("run/systemd/system").is_dir() {
            Self::Systemd
        } else if root.join("run/openrc").is_dir() {
            Self::OpenRc
        } else {
            Self::Unknown
        }
    }
}

/// What is known of the machine.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// What reloads engines.
    pub manager: ServiceManager,
    /// The process of the dockerd that runs, by its file.
    pub dockerd: Option<u32>,
    /// Whether the system's files are meant, and not the user's.
    pub is_root: bool,
    /// The user's home directory.
    pub home: PathBuf,
    /// The user's directory for config files, mostly `~/.config`.
    pub config_home: PathBuf,
    /// The installed programs with their versions, if they tell.
    pub programs: BTreeMap<&'static str, Option<Version>>,
    /// dockerd, if it runs.
    pub docker: Option<Docker>,
    /// containerd's config file, as it is without `setup`. Not looked at here.
    pub containerd_config: Option<String>,
}

impl Machine {
    /// Looks at these programs.
    #[must_use]
    pub fn look(programs: &[&'static str]) -> Self {
        let home = env::home_dir().unwrap_or_default();
        let xdg = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let config_home = xdg.unwrap_or_else(|| home.join(".config"));
        let found = programs.iter().filter_map(|&program| {
            let path = find_program(program)?;
            Some((program, answer(&path, &["--version"]).and_then(|text| Version::find(&text))))
        });
        let programs = found.collect();
        let is_root = is_root();
        let run =
            if is_root { Some("/run".into()) } else { env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) };
        let mut machine = Self {
            manager: ServiceManager::look(Path::new("/")),
            dockerd: run.and_then(|run| running(&run.join("docker.pid"), "dockerd", Path::new("/proc"))),
            is_root,
            home,
            config_home,
            programs,
            ..Self::default()
        };
        if machine.programs.contains_key("docker") {
            machine.docker = running_docker();
        }
        machine
    }

    /// Where containerd's config file is.
    #[must_use]
    pub fn containerd_config_path(&self) -> PathBuf {
        self.config_directory("containerd").join("config.toml")
    }

    /// The version of a program.
    #[must_use]
    pub fn version(&self, program: &str) -> Option<Version> {
        self.programs.get(program).copied().flatten()
    }

    /// The directory of the config files of an engine: below `/etc` as root, else the user's.
    #[must_use]
    pub fn config_directory(&self, engine: &str) -> PathBuf {
        if self.is_root { Path::new("/etc").join(engine) } else { self.config_home.join(engine) }
    }
}

/// The process that this file names, if it runs this program. A file may be left of a process that is gone.
fn running(file: &Path, program: &str, proc: &Path) -> Option<u32> {
    let text = String::from_utf8(private_file::read(file).ok()??).ok()?;
    let process = text.trim().parse().ok()?;
    let name = private_file::read(&proc.join(text.trim()).join("comm")).ok()??;
    (name.trim_ascii_end() == program.as_bytes()).then_some(process)
}

/// `docker info` of the daemon that the command line uses.
fn running_docker() -> Option<Docker> {
    let format = "{{.ServerVersion}}\t{{.OperatingSystem}}\t{{.DriverStatus}}\t{{.SecurityOptions}}\t{{with .RegistryConfig}}{{.Mirrors}}{{end}}";
    parse_docker(&answer(&find_program("docker")?, &["info", "--format", format])?)
}

fn parse_docker(text: &str) -> Option<Docker> {
    let fields: Vec<&str> = text.trim().split('\t').collect();
    let [version, system, driver, security, mirrors] = fields[..] else { return None };
    if version.is_empty() {
        return None;
    }
    let is_containerd = driver.contains("io.containerd.snapshotter");
    Some(Docker {
        version: Version::find(version),
        store: if is_containerd { DockerStore::Containerd } else { DockerStore::Classic },
        is_rootless: security.contains("name=rootless"),
        is_desktop: system == "Docker Desktop",
        mirrors: mirrors.trim_matches(['[', ']']).to_owned(),
    })
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"].map(PathBuf::from);
    let mut directories = env::split_paths(&path).chain(system);
    directories.find_map(|directory| Some(directory.join(name)).filter(|path| path.is_file()))
}

/// What a program prints on stdout within a few seconds, if it succeeds.
fn answer(program: &Path, arguments: &[&str]) -> Option<String> {
    let command = &mut Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    // An answer is shorter than a pipe's buffer.
    while child.try_wait().ok()?.is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        for (text, expected) in [
            ("Docker version 20.10.24+dfsg1, build 5d6db84", Some(Version(20, 10, 24))),
            ("containerd github.com/containerd/containerd/v2 2.1.9+unknown \n", Some(Version(2, 1, 9))),
            (
                "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3",
                Some(Version(1, 6, 20)),
            ),
            ("k3s version v1.30.1+k3s1 (8a7c5d3e)", Some(Version(1, 30, 1))),
            ("crio version 1.29", Some(Version(1, 29, 0))),
            ("no number", None),
        ] {
            assert_eq!(Version::find(text), expected, "{text}");
        }
    }

    #[test]
    fn the_service_manager_is_the_one_that_runs() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(ServiceManager::look(root.path()), ServiceManager::Unknown);
        for (directory, manager) in
            [("run/openrc", ServiceManager::OpenRc), ("run/systemd/system", ServiceManager::Systemd)]
        {
            std::fs::create_dir_all(root.path().join(directory)).unwrap();
            assert_eq!(ServiceManager::look(root.path()), manager);
        }
    }

    #[test]
    fn a_process_counts_only_while_it_runs_the_program() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("docker.pid");
        let found = || running(&file, "dockerd", root.path());
        assert_eq!(found(), None);
        std::fs::write(&file, "123\n").unwrap();
        assert_eq!(found(), None, "it is gone");
        std::fs::create_dir(root.path().join("123")).unwrap();
        for (name, expected) in [("bash\n", None), ("dockerd\n", Some(123))] {
            std::fs::write(root.path().join("123/comm"), name).unwrap();
            assert_eq!(found(), expected);
        }
        std::fs::write(&file, "../123").unwrap();
        assert_eq!(found(), None);
    }

    #[test]
    fn a_running_docker_tells_its_store() {
        let docker = parse_docker(
            "28.5.2+dfsg4\tDebian GNU/Linux\t[[driver-type io.containerd.snapshotter.v1]]\t[name=seccomp,profile=builtin]\t[http://127.0.0.1:5080/]\n",
        );
        let expected = Docker {
            version: Some(Version(28, 5, 2)),
            store: DockerStore::Containerd,
            is_rootless: false,
            is_desktop: false,
            mirrors: "http://127.0.0.1:5080/".to_owned(),
        };
        assert_eq!(docker, Some(expected));
        let docker =
            parse_docker("20.10.24\tDocker Desktop\t[[Backing Filesystem xfs]]\t[name=rootless]\t[]")
                .unwrap();
        assert_eq!((docker.store, docker.is_rootless, docker.is_desktop), (DockerStore::Classic, true, true));
        assert_eq!(parse_docker("\t\t\t\t\n"), None);
    }
}
