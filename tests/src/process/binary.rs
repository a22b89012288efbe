//! Finds the project's own programs where cargo put them.
//! Must never build anything nor search PATH: a test runs the programs that were built with it.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// The program `name` (`docxy-server`, `docxy-client`, `hub`) of the profile that the current test was built in.
pub fn binary(name: &str) -> Result<PathBuf> {
    let test = env::current_exe()?;
    // target/PROFILE/deps/TEST-HASH for a test, target/PROFILE/NAME for a program.
    let profile = test
        .ancestors()
        .skip(1)
        .find(|folder| !folder.ends_with("deps") && !folder.ends_with("examples"))
        .map(Path::to_path_buf)
        .context("the test's program has no parent folder")?;
    let binary = profile.join(name);
    if !binary.is_file() {
        bail!("{} is not there: run `cargo build --workspace` first", binary.display());
    }
    Ok(binary)
}
