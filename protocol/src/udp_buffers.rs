//! How large the system's buffers under either end should be, and what to tell whoever runs a machine
//! that grants less.
//!
//! Knows numbers and no sockets: each end opens its own.

/// Bytes to ask for in each direction: a quarter of a second at 128 Mbit/s. Linux's default of 208 KiB
/// overflows while a process waits for its turn on a busy machine.
pub const BUFFER_SIZE: usize = 4 * 1024 * 1024;

/// What to do on a machine that grants buffers of these sizes, if anything. Linux counts its own
/// bookkeeping in and says twice what it gives, so one of [`BUFFER_SIZE`] is half of what was asked for.
#[must_use]
pub fn advice(receive: usize, send: usize) -> Option<String> {
    let limits = [(receive, "net.core.rmem_max"), (send, "net.core.wmem_max")];
    let small = limits.into_iter().filter(|(granted, _)| *granted < BUFFER_SIZE);
    let raise: Vec<_> = small.map(|(_, limit)| format!("{limit}={BUFFER_SIZE}")).collect();
    (!raise.is_empty()).then(|| {
        let raise = raise.join(" ");
        format!("the system grants small UDP buffers, which fast transfers overflow; raise them: sysctl -w {raise}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stingy_kernel_s_limits_are_named_and_only_those() {
        assert_eq!(advice(2 * BUFFER_SIZE, 2 * BUFFER_SIZE), None);
        let advised = advice(425_984, 2 * BUFFER_SIZE).unwrap();
        assert!(advised.ends_with("sysctl -w net.core.rmem_max=4194304"), "{advised}");
        let advised = advice(425_984, 425_984).unwrap();
        assert!(advised.ends_with("net.core.rmem_max=4194304 net.core.wmem_max=4194304"), "{advised}");
    }
}
