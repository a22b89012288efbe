//! What `setup` does to files and takes back, in directories of the test.

use super::*;
use crate::command::setup::change::Change;
use std::os::unix::fs::PermissionsExt as _;
use tempfile::TempDir;

/// A directory with a `daemon.json` of mode 0640, and what `setup` wants in it and in another file.
struct Lab {
    root: TempDir,
    files: Vec<FileChanges>,
}

const BEFORE: &str = "{\n    \"debug\": true\n}\n";

impl Lab {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let file = |path: &str, format, key: &str| {
            let changes = vec![Change::First(vec![key.into()], "here".into())];
            FileChanges::new(root.path().join(path), format, changes)
        };
        let files = vec![
            file("daemon.json", Format::Json, "mirrors"),
            file("certs.d/x/hosts.toml", Format::Toml, "hosts"),
        ];
        fs::write(root.path().join("daemon.json"), BEFORE).unwrap();
        fs::set_permissions(root.path().join("daemon.json"), fs::Permissions::from_mode(0o640)).unwrap();
        Self { root, files }
    }

    fn journal(&self) -> Journal {
        let path = self.root.path().join("docxy/setup.json");
        let records = fs::read(&path).map_or(Vec::new(), |text| serde_json::from_slice(&text).unwrap());
        Journal { path, records }
    }

    /// Sets up these files. Returns how many changed.
    fn run(&self, files: &[FileChanges]) -> usize {
        let journal = self.journal();
        let steps = journal.steps("docker", files).unwrap();
        journal.carry_out(&steps).unwrap();
        steps.iter().filter(|step| step.is_change()).count()
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.path().join(path)).ok()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn an_undo_leaves_the_machine_as_it_was() {
    let lab = Lab::new();
    assert_eq!(lab.run(&lab.files), 2);
    assert_eq!(lab.run(&lab.files), 0, "a second time");
    assert_eq!(lab.read("daemon.json.before-docxy").as_deref(), Some(BEFORE));
    for (name, mode) in
        [("daemon.json", 0o640), ("daemon.json.before-docxy", 0o640), ("docxy/setup.json", 0o600)]
    {
        let about = lab.root.path().join(name).metadata().unwrap();
        assert_eq!(about.permissions().mode() & 0o777, mode, "{name}");
    }
    assert_eq!(lab.run(&[]), 2);
    assert_eq!(lab.read("daemon.json").as_deref(), Some(BEFORE));
    assert_eq!(lab.names(), ["daemon.json", "docxy"]);
    assert!(lab.read("docxy/setup.json").is_none());
    assert_eq!(lab.run(&[]), 0, "a second undo");
    // A link to a file that is not there yet.
    let link = lab.root.path().join("daemon.json");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("elsewhere.json", &link).unwrap();
    assert_eq!([lab.run(&lab.files), lab.run(&[])], [2, 2]);
    assert_eq!(lab.names(), ["daemon.json", "docxy"]);
    assert!(link.is_symlink());
}

#[test]
fn what_the_user_adds_after_setup_stays() {
    let lab = Lab::new();
    lab.run(&lab.files);
    let edited = lab.read("daemon.json").unwrap().replace("true", "false");
    fs::write(lab.root.path().join("daemon.json"), &edited).unwrap();
    fs::write(lab.root.path().join("certs.d/mine"), "").unwrap();
    assert_eq!(lab.run(&lab.files), 0);
    assert_eq!(lab.read("daemon.json").unwrap(), edited);
    assert_eq!(lab.run(&[]), 2);
    assert_eq!(lab.read("daemon.json").unwrap(), BEFORE.replace("true", "false"));
    assert!(lab.read("certs.d/mine").is_some());
}

#[test]
fn a_run_with_other_files_undoes_the_ones_before() {
    let lab = Lab::new();
    lab.run(&lab.files);
    assert_eq!(lab.run(&lab.files[1..]), 1);
    assert_eq!(lab.read("daemon.json").as_deref(), Some(BEFORE));
    assert!(lab.read("certs.d/x/hosts.toml").is_some());
    assert_eq!(lab.run(&[]), 1);
    assert_eq!(lab.names(), ["daemon.json", "docxy"]);
}

#[test]
fn what_becomes_of_the_files_after_setup_is_known() {
    let lab = Lab::new();
    let state = |port| lab.journal().state("docker", &lab.files, port).unwrap();
    assert_eq!(state(5080), State::NotSetUp);
    lab.run(&lab.files);
    assert_eq!(state(5080), State::SetUp);
    // With other flags, which the text does not name.
    let other = |value: &str| {
        let mut files = Lab::new().files;
        files.iter_mut().zip(&lab.files).for_each(|(file, here)| {
            (file.path, file.changes) =
                (here.path.clone(), vec![Change::First(vec!["x".into()], value.into())]);
        });
        lab.run(&files);
    };
    other("there:5080");
    assert_eq!(state(5080), State::SetUp);
    assert!(matches!(state(5081), State::Elsewhere(_)));
    let of_another_user = Journal { records: Vec::new(), ..lab.journal() };
    let state_there = |port| of_another_user.state("docker", &lab.files, port).unwrap();
    assert_eq!([state_there(5080), state_there(5081)], [State::SetUp, State::NotSetUp]);
    let [config, hosts] = ["daemon.json", "certs.d/x/hosts.toml"].map(|path| lab.root.path().join(path));
    fs::write(&config, lab.read("daemon.json").unwrap().replace("true", "false")).unwrap();
    assert_eq!(state(5080), State::SetUp, "what is not ours may change");
    fs::write(&config, BEFORE).unwrap();
    assert_eq!(state(5080), State::Changed(config));
    other("there:5080");
    fs::remove_file(&hosts).unwrap();
    assert_eq!(state(5080), State::Changed(hosts));
}

#[test]
fn what_the_user_has_set_up_by_hand_is_never_undone() {
    let lab = Lab::new();
    let by_hand = "{\"mirrors\": [\"here\"]}";
    fs::write(lab.root.path().join("daemon.json"), by_hand).unwrap();
    assert_eq!(lab.run(&lab.files), 1);
    assert_eq!(lab.run(&[]), 1);
    assert_eq!(lab.read("daemon.json").as_deref(), Some(by_hand));
}

#[test]
fn a_file_that_cannot_be_written_leaves_no_record() {
    let mut lab = Lab::new();
    lab.files.truncate(1);
    lab.files[0].path = "/proc/docxy/daemon.json".into();
    let journal = lab.journal();
    let steps = journal.steps("docker", &lab.files).unwrap();
    assert!(journal.carry_out(&steps).is_err());
    assert!(lab.journal().records.is_empty());
}

#[test]
fn all_files_change_or_none_does() {
    let lab = Lab::new();
    let blocked = lab.root.path().join("blocked");
    fs::create_dir_all(blocked.join("hosts.toml/in-the-way")).unwrap();
    // The first cannot be prepared, and the second only be renamed.
    for path in [Path::new("/proc/docxy/hosts.toml"), &blocked.join("hosts.toml")] {
        let lab = Lab::new();
        let journal = lab.journal();
        let mut steps = journal.steps("docker", &lab.files).unwrap();
        steps.push(Step { path: path.to_owned(), now: None, new: Some("x".into()), ..bare_step() });
        let error = journal.carry_out(&steps).unwrap_err().to_string();
        assert!(error.ends_with("nothing was changed"), "{error}");
        let names = lab.names();
        assert!(names.iter().all(|name| ["daemon.json", "docxy"].contains(&&**name)), "{names:?}");
        assert_eq!(lab.read("daemon.json").as_deref(), Some(BEFORE));
        assert!(lab.journal().records.is_empty());
    }
}

fn bare_step() -> Step {
    Step { path: PathBuf::new(), now: None, new: None, keeps_changes: false, old_record: None, record: None }
}

#[test]
fn a_named_pipe_is_refused_at_once() {
    let lab = Lab::new();
    let path = lab.root.path().join("daemon.json");
    fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let error = lab.journal().steps("docker", &lab.files).unwrap_err().to_string();
    assert!(error.contains("daemon.json: it is a named pipe"), "{error}");
}

#[test]
fn a_byte_order_mark_stays_where_the_engine_takes_it() {
    let mut lab = Lab::new();
    let before = format!("\u{feff}{BEFORE}");
    fs::write(lab.root.path().join("daemon.json"), &before).unwrap();
    assert_eq!(lab.run(&lab.files), 2);
    assert!(lab.read("daemon.json").unwrap().starts_with("\u{feff}{"));
    assert_eq!(lab.run(&[]), 2);
    assert_eq!(lab.read("daemon.json"), Some(before.clone()));
    lab.files[0].refuses_mark = true;
    let error = lab.journal().steps("docker", &lab.files).unwrap_err().to_string();
    assert!(error.contains("daemon.json: it begins with a byte order mark"), "{error}");
}

#[test]
fn a_file_that_is_not_valid_stops_everything_before_anything_is_written() {
    let lab = Lab::new();
    fs::create_dir_all(lab.root.path().join("certs.d/x")).unwrap();
    fs::write(lab.root.path().join("certs.d/x/hosts.toml"), "\n[server").unwrap();
    let error = lab.journal().steps("docker", &lab.files).unwrap_err().to_string();
    assert!(error.contains("certs.d/x/hosts.toml:2: "), "{error}");
    assert_eq!(lab.read("daemon.json").as_deref(), Some(BEFORE));
}
