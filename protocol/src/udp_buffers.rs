//! The size of the UDP socket buffers on both sides, and the advice for an operator whose system allows
//! less.
//!
//! Must not open sockets: client and server open their own.

/// Bytes of each buffer: a quarter of a second at 128 Mbit/s. Linux's default of 208 KiB overflows while a
/// process waits to be scheduled on a busy machine.
pub const BUFFER_SIZE: usize = 4 * 1024 * 1024;

/// What to do if the system granted buffers of these sizes in bytes; `None` if they are large enough. Linux
/// reports twice the size that it grants, for its own bookkeeping. So a reported [`BUFFER_SIZE`] is half of
/// the size requested, which is accepted.
#[must_use]
pub fn advice(receive: usize, send: usize) -> Option<String> {
    let limits = [(receive, "net.core.rmem_max"), (send, "net.core.wmem_max")];
    let too_small = limits.into_iter().filter(|(granted, _)| *granted < BUFFER_SIZE);
    let settings: Vec<_> = too_small.map(|(_, limit)| format!("{limit}={BUFFER_SIZE}")).collect();
    (!settings.is_empty()).then(|| {
        let settings = settings.join(" ");
        format!("the system grants small UDP buffers, which fast transfers overflow; raise them: sysctl -w {settings}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_only_the_limits_that_are_too_low() {
        assert_eq!(advice(2 * BUFFER_SIZE, 2 * BUFFER_SIZE), None);
        let advised = advice(425_984, 2 * BUFFER_SIZE).unwrap();
        assert!(advised.ends_with("sysctl -w net.core.rmem_max=4194304"), "{advised}");
        let advised = advice(425_984, 425_984).unwrap();
        assert!(advised.ends_with("net.core.rmem_max=4194304 net.core.wmem_max=4194304"), "{advised}");
    }
}
