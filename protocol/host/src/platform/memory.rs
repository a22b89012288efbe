//! The memory that this process may use, and has.
//!
//! Must never fail: what cannot be read does not limit.

use rustix::process::{Resource, getrlimit};
use std::fs;
use std::path::Path;

/// The memory that this process may use, in bytes: the least of the machine's memory, the limits of its cgroup and of
/// those around it, and its own limits of data and address space (setrlimit(2)). `None` if nothing says so.
#[must_use]
pub fn limit() -> Option<u64> {
    let own = [Resource::Data, Resource::As].map(|resource| getrlimit(resource).current);
    let root = Path::new("/");
    [machine(root), cgroup(root)].into_iter().chain(own).flatten().min()
}

/// The memory of this process that is resident, in bytes (`VmRSS` of `/proc/self/status`, proc_pid_status(5)).
#[must_use]
pub fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    kibibytes(&text, "VmRSS:")
}

/// `MemTotal` of `/proc/meminfo` (proc_meminfo(5)), which is in KiB.
fn machine(root: &Path) -> Option<u64> {
    kibibytes(&fs::read_to_string(root.join("proc/meminfo")).ok()?, "MemTotal:")
}

/// The bytes in the line `NAME N kB`.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let size = text.lines().find_map(|line| line.strip_prefix(name))?;
    size.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

/// The least limit of the process's cgroup and of those around it (cgroups(7)). In a container, the path may be that of
/// the host: then the limit is at the root of the mount.
fn cgroup(root: &Path) -> Option<u64> {
    let hierarchies = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let limit = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let (mount, file) = match controllers {
            // Version 2 has one hierarchy, and names no controllers.
            "" => (root.join("sys/fs/cgroup"), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (root.join("sys/fs/cgroup/memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let own = mount.join(path.trim_start_matches('/'));
        let around = own.ancestors().take_while(|directory| directory.starts_with(&mount));
        // No limit is the word `max`.
        around
            .filter_map(|directory| fs::read_to_string(directory.join(file)).ok()?.trim().parse().ok())
            .min()
    };
    hierarchies.lines().filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limits of a machine with these files.
    fn limits(files: &[(&str, &str)]) -> [Option<u64>; 2] {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        [machine(root.path()), cgroup(root.path())]
    }

    #[test]
    fn the_least_limit_of_the_cgroups_around_the_process_counts() {
        const MEMINFO: (&str, &str) = ("proc/meminfo", "MemFree: 1 kB\nMemTotal:      494592 kB\n");
        const MACHINE: Option<u64> = Some(494_592 * 1024);
        let service = "0::/system.slice/docxy-server.service\n";
        for (files, cgroup) in [
            (vec![], None),
            (vec![("proc/self/cgroup", service)], None),
            (
                vec![
                    ("proc/self/cgroup", service),
                    ("sys/fs/cgroup/system.slice/memory.max", "268435456\n"),
                    ("sys/fs/cgroup/system.slice/docxy-server.service/memory.max", "max\n"),
                ],
                Some(256 << 20),
            ),
            // Version 1, in a container that sees the host's path.
            (
                vec![
                    ("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/docker/0123\n0::/\n"),
                    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n"),
                ],
                Some(512 << 20),
            ),
        ] {
            assert_eq!(limits(&[&[MEMINFO], &files[..]].concat()), [MACHINE, cgroup], "{files:?}");
        }
        assert_eq!(limits(&[]), [None, None]);
        assert!(limit().is_some(), "this machine says how much it has");
    }
}
