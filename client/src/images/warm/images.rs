//! Which images are wanted: a list, or a file that has one on each line.

use docxy_host::files::input_file;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::name::NameError;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// Images, or where they are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WarmImages {
    /// These.
    List(Vec<ImageName>),
    /// Those in a file, which is read each time. An empty line, and what follows a `#`, is none.
    File(PathBuf),
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are the file, its line, and what is wrong")]
pub enum ImageListError {
    #[error("cannot read {}: {source}", file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("{}, line {line}: {source}", file.display())]
    Line { file: PathBuf, line: usize, source: NameError },
    #[error("{} names no image", .0.display())]
    Empty(PathBuf),
}

impl WarmImages {
    /// The images. Reads the file, if they are in one, and so blocks.
    ///
    /// # Errors
    /// If the file cannot be read, has a line that is no image, or has none at all.
    pub fn load(&self) -> Result<Vec<ImageName>, ImageListError> {
        match self {
            Self::List(images) => Ok(images.clone()),
            Self::File(file) => {
                let read = input_file::read_to_string(file);
                let text = read.map_err(|source| ImageListError::Read { file: file.clone(), source })?;
                parse(file, &text)
            }
        }
    }
}

fn parse(file: &Path, text: &str) -> Result<Vec<ImageName>, ImageListError> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let named = (1..).zip(lines).filter(|(_, line)| !line.is_empty());
    let images = named.map(|(line, name)| {
        name.parse().map_err(|source| ImageListError::Line { file: file.to_owned(), line, source })
    });
    let images: Vec<_> = images.collect::<Result<_, _>>()?;
    if images.is_empty() { Err(ImageListError::Empty(file.to_owned())) } else { Ok(images) }
}

impl<'de> Deserialize<'de> for WarmImages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FileOrList)
    }
}

struct FileOrList;

impl<'de> Visitor<'de> for FileOrList {
    type Value = WarmImages;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of images like [\"alpine:3.19\"], or the name of a file of images")
    }

    fn visit_str<E: Error>(self, file: &str) -> Result<WarmImages, E> {
        Ok(WarmImages::File(file.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<WarmImages, A::Error> {
        let mut images = Vec::new();
        while let Some(name) = list.next_element::<String>()? {
            images.push(name.parse().map_err(A::Error::custom)?);
        }
        Ok(WarmImages::List(images))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_image_on_each_line() {
        let parse = |text| parse(Path::new("images"), text).map_err(|error| error.to_string());
        let images = parse("# ours\n\nalpine  # small\r\n  ghcr.io/a/b:1\n").unwrap();
        let names: Vec<_> = images.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["docker.io/library/alpine:latest", "ghcr.io/a/b:1"]);
        assert!(parse("alpine\nal pine").unwrap_err().starts_with("images, line 2: "));
        assert_eq!(parse("#\n").unwrap_err(), "images names no image");
    }
}
