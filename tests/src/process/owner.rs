//! Names of folders and namespaces that contain the test program's id, so that a later test finds what a killed one
//! left.
//! Must never match a name of another program, nor of a test that still runs.

use std::{
    path::Path,
    process,
    sync::atomic::{AtomicUsize, Ordering},
};

const PREFIX: &str = "docxy-test";

/// A name that is unique on this machine: `docxy-test-PID-NUMBER`. A suffix may follow after a dash.
pub fn unique_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("{PREFIX}-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether `name` comes from [`unique_name`] in a test program that has ended.
pub fn is_abandoned(name: &str) -> bool {
    owner(name).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}

fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.strip_prefix('-')?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_test_are_not_abandoned() {
        let name = format!("{}-laptop", unique_name());
        assert_eq!(owner(&name), Some(process::id()));
        assert!(!is_abandoned(&name));
    }

    #[test]
    fn names_of_an_ended_test_are_abandoned() {
        // Above any pid_max.
        assert!(is_abandoned("docxy-test-999999999-0-laptop"));
    }

    #[test]
    fn other_names_are_not_abandoned() {
        for foreign in
            ["docxy-test", "docxy-test-", "docxy-test-x-1", "docxy-999999999-0", "cni-1234", "demo"]
        {
            assert!(!is_abandoned(foreign), "{foreign}");
        }
    }
}
