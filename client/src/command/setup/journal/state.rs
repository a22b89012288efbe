//! How an engine's files are now, compared with what `setup` wrote.
//!
//! Must never write.

use super::{Journal, JournalError, Record};
use crate::command::setup::FileChanges;
use crate::command::setup::format::HEADER;
use std::path::PathBuf;

/// How an engine's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// As `setup` would leave them, or has left them with other flags.
    SetUp,
    /// As if it had never run for this engine.
    NotSetUp,
    /// This one was changed since, or is gone.
    Changed(PathBuf),
    /// This one leads to another port of this machine.
    Elsewhere(PathBuf),
}

impl Journal {
    /// How an engine's files are, which a run without flags would change so, for a client at this port.
    ///
    /// # Errors
    /// If a file cannot be read or parsed.
    pub fn state(&self, engine: &str, files: &[FileChanges], port: u16) -> Result<State, JournalError> {
        let wanted = self.steps(engine, files)?;
        if wanted.iter().all(|step| !step.is_change()) {
            return Ok(State::SetUp);
        }
        let records: Vec<&Record> = self.records.iter().filter(|record| record.engine == engine).collect();
        for record in &records {
            let undone = self.step(engine, &record.path, None)?;
            let is_as_wanted = wanted.iter().any(|step| step.path == record.path && !step.is_change());
            let (is_ours_alone, has_ours) = (record.before.is_none(), undone.is_change());
            if !is_as_wanted && undone.keeps_changes && (is_ours_alone || !has_ours) {
                return Ok(State::Changed(record.path.clone()));
            }
        }
        let here = format!(":{port}");
        let leads_here = |record: &&Record| record.after.contains(&here);
        // Of another user, whose journal cannot be read.
        let mut texts = wanted.iter().filter_map(|step| step.now.as_ref());
        match records.first() {
            None if texts.any(|text| text.starts_with(HEADER) && text.contains(&here)) => Ok(State::SetUp),
            None => Ok(State::NotSetUp),
            Some(first) if !records.iter().any(leads_here) => Ok(State::Elsewhere(first.path.clone())),
            Some(_) => Ok(State::SetUp),
        }
    }
}
