//! Where the links come from: a flag, the environment, the config file, or what was joined.

use crate::settings::error::SettingsError;
use crate::settings::file::ConfigFile;
use crate::settings::flags::Flags;
use crate::settings::links::places::default_link_file;
use crate::settings::links::store::{LinkLine, LinksError, combine, is_emptied, parse_lines, read_lines};
use crate::tunnel::JoinedLink;
use docxy_host::files::private_file;
use docxy_protocol::secret::Secret;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A link or a file of links that the user named.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkSource {
    /// `DOCXY_LINK`.
    Variable(Secret),
    /// `--link-file` or `DOCXY_LINK_FILE`.
    File(PathBuf),
}

impl LinkSource {
    /// The file of the flag `--link-file`, or the one in the environment, if any.
    #[must_use]
    pub fn named(flag: Option<PathBuf>) -> Option<Self> {
        Self::choose(flag, |name| std::env::var_os(name))
    }

    fn choose(flag: Option<PathBuf>, variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let link = || Some(Self::Variable(Secret::new(set("DOCXY_LINK")?.to_string_lossy())));
        let file = || Some(Self::File(set("DOCXY_LINK_FILE")?.into()));
        flag.map(Self::File).or_else(link).or_else(file)
    }

    /// The links; at least one.
    ///
    /// # Errors
    /// If it cannot be read, or holds no link.
    pub fn read(&self) -> Result<Vec<LinkLine>, LinksError> {
        match self {
            Self::Variable(text) => parse_lines(text.expose(), "DOCXY_LINK"),
            Self::File(path) => read_lines(path),
        }
    }
}

pub(in crate::settings) fn load_links(
    flags: &Flags,
    config: &ConfigFile,
) -> Result<Vec<JoinedLink>, SettingsError> {
    match link_source(flags, config) {
        Some(LinkSource::File(path)) if flags.serving.wait_for_link && !path.exists() => Ok(Vec::new()),
        Some(LinkSource::File(path)) => Ok(read_links_in_use(&path)?),
        Some(source) => Ok(combine(source.read()?)),
        None => Err(SettingsError::NoLink),
    }
}

/// The links that the user names, or the joined ones.
pub(in crate::settings) fn link_source(flags: &Flags, config: &ConfigFile) -> Option<LinkSource> {
    let is_used = |path: &PathBuf| flags.serving.wait_for_link || path.exists();
    let joined = || Some(LinkSource::File(link_file(config).filter(is_used)?));
    LinkSource::named(flags.connection.link_file.clone()).or_else(joined)
}

/// The links in a file that a client uses. There is none if the last one was removed.
///
/// # Errors
/// If the file cannot be read, or a line is not a link.
pub fn read_links_in_use(path: &Path) -> Result<Vec<JoinedLink>, LinksError> {
    if is_emptied(path) { Ok(Vec::new()) } else { Ok(combine(read_lines(path)?)) }
}

pub(in crate::settings) fn link_file(config: &ConfigFile) -> Option<PathBuf> {
    config.link_file.clone().or_else(default_link_file)
}

/// Warns if other users of this machine may read or change the file with the links.
pub fn warn_of_open_links(link_file: Option<&Path>) {
    if let Some(path) = link_file.filter(|path| private_file::is_open_to_others(path)) {
        let path = path.display();
        tracing::warn!(
            "{path} holds secrets, and other users of this machine may read or change it: run chmod 600 {path}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_wins_over_the_link_in_the_environment() {
        let named = |flag: Option<&str>, set: &[&str]| {
            let variable = |name: &str| set.contains(&name).then(|| OsString::from(name));
            LinkSource::choose(flag.map(PathBuf::from), variable)
        };
        let both = ["DOCXY_LINK_FILE", "DOCXY_LINK"];
        assert_eq!(named(Some("flag"), &both), Some(LinkSource::File("flag".into())));
        assert_eq!(named(None, &both), Some(LinkSource::Variable(Secret::new("DOCXY_LINK"))));
        assert_eq!(named(None, &both[..1]), Some(LinkSource::File("DOCXY_LINK_FILE".into())));
        assert_eq!(named(None, &[]), None);
    }
}
