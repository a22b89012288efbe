//! `docxy-server revoke`: ends a client's access, on a full disk as well.

use super::{CommandError, remark};
use crate::settings::{Basics, Flags};
use crate::state::{ClientsError, Revocation, State, StateError};
use crate::store;
use docxy_protocol::link::ClientName;
use jiff::Timestamp;
use std::thread;
use std::time::Duration;

/// Bytes and files that are given up of the kept manifests at first: they cost quota to fetch again.
const SOME: (u64, usize) = (1024 * 1024, 16);

/// Attempts on a full disk once all has been given up that can be.
const LAST_ATTEMPTS: usize = 20;

/// The pause after each of those: what a running server writes at the same time takes a moment, and gives
/// its room back.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) fn revoke(name: &ClientName, flags: &Flags) -> Result<(), CommandError> {
    let state = State::open(&Basics::load(flags)?.state)?;
    match write_down(&state, name)? {
        Revocation::Now => {
            remark(&format!("{name} is revoked; a running server ends its connections within 2 seconds"))
        }
        Revocation::Before(time) => remark(&format!("{name} is revoked already, since {time}")),
    }
    Ok(())
}

fn write_down(state: &State, name: &ClientName) -> Result<Revocation, ClientsError> {
    let manifests = || state.path("manifests");
    let attempts = Attempts {
        plainly: || state.change_clients(|book| book.revoke(name, Timestamp::now())),
        by_reserve: || state.change_clients_with_reserve(|book| book.revoke(name, Timestamp::now())),
        give_up: [&|| store::give_up(manifests(), SOME.0, SOME.1), &|| {
            store::give_up(manifests(), u64::MAX, usize::MAX)
        }],
        give_up_reserve: &|| state.give_up_reserve(),
    };
    attempts.make()
}

/// How something is written down that must be, and what is given up for it where the disk is full.
struct Attempts<'a, P, R> {
    plainly: P,
    by_reserve: R,
    /// What is worth less, the least first. Each says whether there was anything.
    give_up: [&'a dyn Fn() -> bool; 2],
    give_up_reserve: &'a dyn Fn() -> bool,
}

impl<T, P, R> Attempts<'_, P, R>
where
    P: FnMut() -> Result<T, ClientsError>,
    R: FnMut() -> Result<T, ClientsError>,
{
    fn make(mut self) -> Result<T, ClientsError> {
        let mut outcome = (self.plainly)();
        for give_up in self.give_up {
            if is_full(&outcome) && give_up() {
                outcome = (self.plainly)();
            }
        }
        if !is_full(&outcome) {
            return outcome;
        }
        if let Ok(done) = (self.by_reserve)() {
            return Ok(done);
        }
        // A file system that needs room to overwrite, or no reserve.
        (self.give_up_reserve)();
        for _ in 0..LAST_ATTEMPTS {
            outcome = (self.plainly)();
            if !is_full(&outcome) {
                break;
            }
            thread::sleep(PAUSE);
        }
        outcome
    }
}

fn is_full<T>(outcome: &Result<T, ClientsError>) -> bool {
    matches!(outcome, Err(ClientsError::State(error)) if StateError::is_full(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::io::ErrorKind;

    fn failed(kind: ErrorKind) -> ClientsError {
        StateError::Write { path: "clients".into(), source: kind.into() }.into()
    }

    /// What is done, in order, where so many plain attempts fail like this, and the reserve is of use or not.
    fn done(attempts_in_vain: usize, kind: ErrorKind, has_reserve: bool) -> (Vec<&'static str>, bool) {
        let done = RefCell::new(Vec::new());
        let note = |what| {
            done.borrow_mut().push(what);
            true
        };
        let mut left = attempts_in_vain;
        let outcome = Attempts {
            plainly: || {
                note("write");
                if left == 0 {
                    return Ok(());
                }
                left -= 1;
                Err(failed(kind))
            },
            by_reserve: || {
                note("by reserve");
                if has_reserve { Ok(()) } else { Err(failed(ErrorKind::NotFound)) }
            },
            give_up: [&|| note("some"), &|| note("all")],
            give_up_reserve: &|| note("reserve"),
        }
        .make();
        (done.into_inner(), outcome.is_ok())
    }

    #[test]
    fn only_what_is_needed_is_given_up_in_the_order_of_what_it_is_worth() {
        let full = ErrorKind::StorageFull;
        assert_eq!(done(0, full, true), (vec!["write"], true));
        assert_eq!(done(1, full, true), (vec!["write", "some", "write"], true));
        assert_eq!(done(2, full, true), (vec!["write", "some", "write", "all", "write"], true));
        let by_reserve = vec!["write", "some", "write", "all", "write", "by reserve"];
        assert_eq!(done(3, full, true), (by_reserve.clone(), true));
        let without = [by_reserve, vec!["reserve", "write", "write"]].concat();
        assert_eq!(done(4, ErrorKind::QuotaExceeded, false), (without, true));
    }

    #[test]
    fn a_disk_that_stays_full_is_an_error_in_the_end_and_another_one_gives_nothing_up() {
        let (attempts, is_done) = done(usize::MAX, ErrorKind::StorageFull, false);
        assert!(!is_done && attempts.len() == 7 + LAST_ATTEMPTS, "{attempts:?}");
        assert_eq!(done(1, ErrorKind::PermissionDenied, true), (vec!["write"], false));
    }
}
