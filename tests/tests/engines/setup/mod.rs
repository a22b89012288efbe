//! `docxy-client setup` on the engines' own config files: each engine pulls from a registry of each kind, pushes to a
//! registry process before and after, and gets its files back to the byte. One table shows all.
//! Must never let a cell that fails keep the others from being tried.

mod bed;
mod engine;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use docxy_tests::{
    engine::Sandbox,
    process::{binary, run},
    table::Table,
};

use bed::Bed;
use engine::{ENGINES, EngineRow, SetUp};

const TIMEOUT: Duration = Duration::from_secs(60);

/// The word of a cell that passed, or why it failed.
type Cell = Result<&'static str, String>;

#[test]
fn every_engine_pulls_from_every_kind_of_registry_and_pushes_as_before() {
    let bed = Bed::new().unwrap_or_else(|error| panic!("cannot set up the testbed: {error:?}"));
    let rows: Vec<Vec<Cell>> = thread::scope(|scope| {
        let rows: Vec<_> = ENGINES.iter().map(|engine| scope.spawn(|| row(&bed, engine))).collect();
        rows.into_iter().map(|row| row.join().expect("a row returns its errors")).collect()
    });
    let kinds = bed.registries.iter().map(|registry| registry.kind);
    let columns: Vec<_> = ["engine", "push before", "setup"]
        .into_iter()
        .chain(kinds)
        .chain(["push after", "more", "undo"])
        .collect();
    let mut table = Table::new(&columns);
    let mut failed = Vec::new();
    for (engine, row) in ENGINES.iter().zip(rows) {
        let words: Vec<_> = row.iter().map(|cell| (*cell.as_ref().unwrap_or(&"FAILED")).to_owned()).collect();
        table.row([engine.title.to_owned()].into_iter().chain(words));
        let named = columns[1..].iter().zip(row);
        failed.extend(
            named.filter_map(|(column, cell)| Some(format!("{}, {column}: {}", engine.title, cell.err()?))),
        );
    }
    // To the stream itself: the test runner shows what a macro prints only of a test that fails.
    let _ =
        write!(io::stdout(), "\n{table}by path: the engine names the client, 127.0.0.1:5080/REGISTRY/…\n");
    assert!(failed.is_empty(), "{table}\n{}", failed.join("\n\n"));
}

/// The cells of one engine.
fn row(bed: &Bed, engine: &EngineRow) -> Vec<Cell> {
    if !(engine.is_here)() {
        return vec![Ok("not here")];
    }
    match (engine.start)(&bed.lab.laptop) {
        Ok(mut running) => cells(bed, engine, &mut *running),
        Err(error) => vec![Err(format!("it did not start: {error:?}"))],
    }
}

fn cells(bed: &Bed, engine: &EngineRow, running: &mut dyn SetUp) -> Vec<Cell> {
    let before = snapshot(running.sandbox());
    let mut cells = vec![cell("ok", || push(bed, engine, running, true))];
    cells.push(cell("ok", || {
        setup(bed, running.sandbox(), engine, engine.apply)?;
        let again = setup(bed, running.sandbox(), engine, &[])?;
        ensure!(again.is_empty(), "a second setup changes something: {again}");
        running.reload()
    }));
    for registry in &bed.registries {
        let (word, image) = match running.is_mirrored(registry.name) {
            true => ("ok", format!("{}/{}:latest", registry.name, registry.image)),
            false => {
                ("by path", format!("{}/{}/{}:latest", bed.client_host(), registry.name, registry.image))
            }
        };
        cells.push(cell(word, || running.pull(&image, &registry.expected)));
    }
    cells.push(cell("ok", || push(bed, engine, running, false)));
    cells.push(cell("ok", || running.more(bed)));
    cells.push(cell("ok", || {
        setup(bed, running.sandbox(), engine, &[&["--undo"], engine.apply].concat())?;
        let (before, after) = (before?, snapshot(running.sandbox())?);
        let changed = before.keys().chain(after.keys()).find(|path| before.get(*path) != after.get(*path));
        ensure!(
            changed.is_none(),
            "{} is not as it was",
            changed.map_or("", |path| path.to_str().unwrap_or("a file"))
        );
        Ok(())
    }));
    cells
}

fn cell(word: &'static str, check: impl FnOnce() -> Result<()>) -> Cell {
    check().map(|()| word).map_err(|error| format!("{error:?}"))
}

/// Pushes an image to the registry on the laptop. Before setup, it is pulled from the client by path.
fn push(bed: &Bed, engine: &EngineRow, running: &dyn SetUp, before: bool) -> Result<()> {
    let (from, tag) = match before {
        true => (format!("{}/{}:latest", bed.client_host(), bed::PUSHED), "before"),
        false => (format!("docker.io/{}:latest", bed::PUSHED), "after"),
    };
    running.push(&from, &format!("{}/my/{}:{tag}", bed.target.address(), engine.title))
}

/// `docxy-client setup ENGINE` in the engine's sandbox, for all registries and for the one on the laptop: a push to that
/// would go to the client if it went wrong. Returns its stdout.
fn setup(bed: &Bed, sandbox: &Sandbox, engine: &EngineRow, arguments: &[&str]) -> Result<String> {
    let mut command = sandbox.command(binary("docxy-client")?);
    command.env("PATH", format!("{}:/usr/sbin:/usr/bin", sandbox.path("home/bin").display()));
    command.args(["setup", engine.setup, "--via", &bed.client_host()]);
    let target = bed.target.address().to_string();
    for registry in bed.registries.iter().map(|registry| registry.name).chain([&target[..]]) {
        command.args(["--registry", registry]);
    }
    command.args(arguments);
    run(command, TIMEOUT)?.succeeded()
}

/// All files of the folders that engines have their config in.
fn snapshot(sandbox: &Sandbox) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for folder in ["etc/docker", "etc/containerd", "etc/buildkit", "containers"] {
        read_all(&sandbox.path(folder), &mut files)?;
    }
    Ok(files)
}

fn read_all(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    // An engine may have no such folder; and one that stays empty would be a difference.
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    files.insert(folder.to_owned(), Vec::new());
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            read_all(&path, files)?
        } else {
            drop(files.insert(path.clone(), fs::read(&path)?))
        }
    }
    Ok(())
}

fn succeeds(command: Command) -> Result<()> {
    run(command, TIMEOUT)?.succeeded().map(drop)
}
