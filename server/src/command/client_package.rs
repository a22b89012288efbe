//! `docxy-server client-package`: gives the client's package to a machine that cannot download it.
//!
//! Must never write anything but the package on stdout, and nothing on a terminal.

use super::error::CommandError;
use clap::{Args, ValueEnum};
use docxy_host::process::terminal::{is_stdout_closed, print_note};
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

/// Write the client's package to stdout, for ssh.
///
/// For a machine that reaches this one and no download. The packages are those of this server's version and
/// platform, and came with its own package, below share/docxy-server.
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(super) struct ClientPackageArguments {
    /// For Debian and Ubuntu, for Fedora, RHEL and SUSE, or a tar with the program alone
    #[arg(value_enum, default_value_t = Format::Deb)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Deb,
    Rpm,
    Tar,
}

impl Format {
    /// The name of the client's package, without a version: the server's package brings one of each format.
    fn file_name(self) -> &'static str {
        match self {
            Self::Deb => "docxy-client.deb",
            Self::Rpm => "docxy-client.rpm",
            Self::Tar => "docxy-client.tar.gz",
        }
    }
}

fn after_help() -> String {
    // Set where releases are built.
    let elsewhere = other_platforms(option_env!("DOCXY_RELEASE_URL"));
    format!(
        "Example:\n  docxy-server client-package > docxy-client.deb\n\n\
         On the laptop:\n  ssh HOST docxy-server client-package > docxy-client.deb\n  \
         sudo apt install ./docxy-client.deb\n\nFor other platforms:\n  {elsewhere}"
    )
}

/// Where the client for other platforms is. `release` is the address of the release that this server is of, if it is of one.
fn other_platforms(release: Option<&str>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let build = "cargo build --release --package docxy-client";
    match release {
        Some(address) => format!(
            "docxy-{version}-TARGET.tar.gz, from {address}\n  \
             where TARGET is aarch64-unknown-linux-gnu, x86_64-unknown-linux-musl, aarch64-unknown-linux-musl,\n  \
             aarch64-apple-darwin or x86_64-apple-darwin, as far as that page has it.\n  \
             With Rust and the source of version {version}, also there: {build}"
        ),
        None => format!(
            "This server is of no release: it was built from the source of version {version}.\n  \
             With Rust and that source, on the other platform: {build}"
        ),
    }
}

pub(super) fn client_package(arguments: &ClientPackageArguments) -> Result<(), CommandError> {
    let name = arguments.format.file_name();
    let mut stdout = io::stdout().lock();
    if stdout.is_terminal() {
        return Err(CommandError::PackageOnTerminal(name));
    }
    if is_stdout_closed() {
        return Err(CommandError::NoOutput("the package"));
    }
    let program = std::env::current_exe().map_err(CommandError::Start)?;
    let path = directory(&program).join(name);
    let package = fs::read(&path).map_err(|source| CommandError::ClientPackage { path, source })?;
    stdout.write_all(&package).and_then(|()| stdout.flush()).map_err(CommandError::Output)?;
    print_note(&format!(
        "{name} {} for {} on {}; for other platforms see docxy-server client-package --help",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
    ));
    Ok(())
}

/// Where the packages are: `/usr/share/docxy-server` for `/usr/bin/docxy-server`.
fn directory(program: &Path) -> PathBuf {
    let prefix = program.parent().and_then(Path::parent).unwrap_or(Path::new("/usr"));
    prefix.join("share/docxy-server")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_platforms_are_at_the_address_of_the_release_or_in_the_source() {
        let of_release = other_platforms(Some("https://example.org/releases/tag/v1"));
        assert!(of_release.contains("https://example.org/releases/tag/v1"), "{of_release}");
        for text in [of_release, other_platforms(None)] {
            assert!(text.contains("cargo build"), "{text}");
        }
    }
}
