//! Ends a client's access, on a full disk as well.

use crate::state::{ClientsError, Revocation, State, StateError};
use crate::upstream::store;
use docxy_protocol::link::ClientName;
use jiff::Timestamp;
use std::thread;
use std::time::Duration;

/// The bytes of stored manifests that are removed first. They cost quota to fetch again, so they are few.
const FIRST_FREED_BYTES: usize = 1024 * 1024;

/// The same as a number of files.
const FIRST_FREED_FILES: usize = 16;

/// The attempts on a full disk after everything was removed that can be.
const FINAL_ATTEMPTS: usize = 20;

/// The pause after each of them: a running server's temporary files use the space only for a moment.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(50);

/// Revokes a client. Blocks for as long as the disk takes.
///
/// # Errors
/// If the clients cannot be changed.
pub(crate) fn revoke(state: &State, name: &ClientName) -> Result<Revocation, ClientsError> {
    let manifests = || state.path("manifests");
    with_space(
        || state.change_clients(|list| Ok(list.revoke(name, Timestamp::now()))),
        || state.change_clients_with_reserve(|list| Ok(list.revoke(name, Timestamp::now()))),
        [&|| store::remove_oldest(manifests(), FIRST_FREED_BYTES, FIRST_FREED_FILES), &|| {
            store::remove_oldest(manifests(), usize::MAX, usize::MAX)
        }],
        &|| state.remove_reserve(),
    )
}

/// Writes a change, on a full disk as well. `free_space` removes less valuable files, the least valuable first; each
/// returns whether it removed any.
fn with_space<T>(
    mut write: impl FnMut() -> Result<T, ClientsError>,
    mut write_into_reserve: impl FnMut() -> Result<T, ClientsError>,
    free_space: [&dyn Fn() -> bool; 2],
    delete_reserve: &dyn Fn() -> bool,
) -> Result<T, ClientsError> {
    let mut outcome = write();
    for free_space in free_space {
        if is_full(&outcome) && free_space() {
            outcome = write();
        }
    }
    if !is_full(&outcome) {
        return outcome;
    }
    if let Ok(done) = write_into_reserve() {
        return Ok(done);
    }
    // The file system needs free space to overwrite a file, or there is no reserve.
    delete_reserve();
    for _ in 0..FINAL_ATTEMPTS {
        outcome = write();
        if !is_full(&outcome) {
            break;
        }
        thread::sleep(ATTEMPT_INTERVAL);
    }
    outcome
}

fn is_full<T>(outcome: &Result<T, ClientsError>) -> bool {
    matches!(outcome, Err(ClientsError::State(error)) if StateError::is_full(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_host::files::private_file::FileError;
    use std::cell::RefCell;
    use std::io::ErrorKind;

    fn failed(kind: ErrorKind) -> ClientsError {
        StateError::from(FileError::Write { path: "clients".into(), source: kind.into() }).into()
    }

    /// The steps in order, if so many plain attempts fail with this error, and the reserve is usable or not.
    fn done(attempts_in_vain: usize, kind: ErrorKind, has_reserve: bool) -> (Vec<&'static str>, bool) {
        let done = RefCell::new(Vec::new());
        let note = |what| {
            done.borrow_mut().push(what);
            true
        };
        let mut left = attempts_in_vain;
        let outcome = with_space(
            || {
                note("write");
                if left == 0 {
                    return Ok(());
                }
                left -= 1;
                Err(failed(kind))
            },
            || {
                note("by reserve");
                if has_reserve { Ok(()) } else { Err(failed(ErrorKind::NotFound)) }
            },
            [&|| note("some"), &|| note("all")],
            &|| note("reserve"),
        );
        (done.into_inner(), outcome.is_ok())
    }

    #[test]
    fn the_least_valuable_files_are_removed_first_and_only_as_needed() {
        let full = ErrorKind::StorageFull;
        assert_eq!(done(0, full, true), (vec!["write"], true));
        assert_eq!(done(1, full, true), (vec!["write", "some", "write"], true));
        assert_eq!(done(2, full, true), (vec!["write", "some", "write", "all", "write"], true));
        let write_into_reserve = vec!["write", "some", "write", "all", "write", "by reserve"];
        assert_eq!(done(3, full, true), (write_into_reserve.clone(), true));
        let without = [write_into_reserve, vec!["reserve", "write", "write"]].concat();
        assert_eq!(done(4, ErrorKind::QuotaExceeded, false), (without, true));
    }

    #[test]
    fn a_disk_that_stays_full_is_an_error_and_another_error_removes_nothing() {
        let (attempts, is_done) = done(usize::MAX, ErrorKind::StorageFull, false);
        assert!(!is_done && attempts.len() == 7 + FINAL_ATTEMPTS, "{attempts:?}");
        assert_eq!(done(1, ErrorKind::PermissionDenied, true), (vec!["write"], false));
    }
}
