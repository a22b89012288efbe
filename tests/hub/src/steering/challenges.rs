//! Challenges that a test puts in place of the registry's own.
//! Must never check a line: a hostile registry may send any.

use std::sync::{Mutex, PoisonError};

/// `WWW-Authenticate` lines that replace the registry's own.
#[derive(Default)]
pub(crate) struct Challenges(Mutex<Vec<(String, Vec<String>)>>);

impl Challenges {
    /// Sets the lines for paths that contain `part`.
    pub(crate) fn set(&self, part: &str, lines: &[&str]) {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(of, _)| of != part);
        all.push((part.to_owned(), lines));
    }

    /// The lines for a path.
    pub(crate) fn of(&self, path: &str) -> Option<Vec<String>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|(part, _)| path.contains(part)).map(|(_, lines)| lines.clone())
    }
}
