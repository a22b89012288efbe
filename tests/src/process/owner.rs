//! Names that tell which test program a thing on this machine belongs to, so that what a killed one left can be found.
//! Must never take a stranger's thing for ours, nor one whose test still runs.

use std::{
    path::Path,
    process,
    sync::atomic::{AtomicUsize, Ordering},
};

const PREFIX: &str = "docxy-test";

/// A name that nothing else on this machine has: `docxy-test-PID-NUMBER`. More may be put behind it after a dash.
pub fn unique_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("{PREFIX}-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether `name` was given by [`unique_name`] in a test program that is gone.
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
    fn what_this_test_made_is_not_abandoned() {
        let name = format!("{}-laptop", unique_name());
        assert_eq!(owner(&name), Some(process::id()));
        assert!(!is_abandoned(&name));
    }

    #[test]
    fn what_a_gone_test_made_is_abandoned() {
        // Above any pid_max.
        assert!(is_abandoned("docxy-test-999999999-0-laptop"));
    }

    #[test]
    fn what_others_made_is_not_ours() {
        for foreign in
            ["docxy-test", "docxy-test-", "docxy-test-x-1", "docxy-999999999-0", "cni-1234", "demo"]
        {
            assert!(!is_abandoned(foreign), "{foreign}");
        }
    }
}
