//! Parses the paths of the registry API.
//! A path must be parsed from its end, as repository names contain slashes.

use crate::content::blob::Digest;

/// The resource that a path names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Ping,
    Manifest { repository: &'a str, reference: &'a str },
    Blob { repository: &'a str, digest: Digest },
    Tags { repository: &'a str },
    Referrers { repository: &'a str, subject: Digest },
}

/// Why a path is invalid.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RouteError {
    /// Not a path of the API.
    Unknown,
    InvalidName,
    InvalidDigest,
}

impl<'a> Route<'a> {
    pub(crate) fn parse(path: &'a str) -> Result<Self, RouteError> {
        let rest = path.strip_prefix("/v2/").ok_or(RouteError::Unknown)?;
        if rest.is_empty() {
            return Ok(Self::Ping);
        }
        let (rest, last) = rest.rsplit_once('/').ok_or(RouteError::Unknown)?;
        let (repository, kind) = rest.rsplit_once('/').ok_or(RouteError::Unknown)?;
        let digest = || Digest::parse(last).ok_or(RouteError::InvalidDigest);
        let route = match kind {
            "manifests" if last.contains(':') => {
                Self::Manifest { repository, reference: digest().map(|_| last)? }
            }
            "manifests" => Self::Manifest { repository, reference: last },
            "blobs" => Self::Blob { repository, digest: digest()? },
            "referrers" => Self::Referrers { repository, subject: digest()? },
            "tags" if last == "list" => Self::Tags { repository },
            _ => return Err(RouteError::Unknown),
        };
        if is_name(repository) { Ok(route) } else { Err(RouteError::InvalidName) }
    }

    pub(crate) fn repository(&self) -> Option<&'a str> {
        match self {
            Self::Ping => None,
            Self::Manifest { repository, .. }
            | Self::Blob { repository, .. }
            | Self::Tags { repository }
            | Self::Referrers { repository, .. } => Some(repository),
        }
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= 255
        && name.split('/').all(|part| {
            let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            part.bytes().all(|b| alphanumeric(b) || matches!(b, b'.' | b'_' | b'-'))
                && part.bytes().next().is_some_and(alphanumeric)
                && part.bytes().last().is_some_and(alphanumeric)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_slashes_and_reserved_words_are_parsed_from_the_end() {
        assert_eq!(Route::parse("/v2/"), Ok(Route::Ping));
        assert_eq!(
            Route::parse("/v2/a/manifests/b/manifests/v1.0"),
            Ok(Route::Manifest { repository: "a/manifests/b", reference: "v1.0" })
        );
        assert_eq!(Route::parse("/v2/library/x/tags/list"), Ok(Route::Tags { repository: "library/x" }));
    }

    #[test]
    fn invalid_paths_have_their_own_errors() {
        assert_eq!(Route::parse("/v1/search"), Err(RouteError::Unknown));
        assert_eq!(Route::parse("/v2/_catalog"), Err(RouteError::Unknown));
        assert_eq!(Route::parse("/v2/Library/x/tags/list"), Err(RouteError::InvalidName));
        assert_eq!(Route::parse("/v2/x/blobs/sha256:12"), Err(RouteError::InvalidDigest));
    }
}
