//! Random numbers that need not be secret.

/// A random number. Without a source of randomness it is always 0, which does no harm.
#[must_use]
pub fn random_number() -> u64 {
    let mut bytes = [0; 8];
    let _ = getrandom::fill(&mut bytes);
    u64::from_be_bytes(bytes)
}

/// A random number from 0 to 1, for the jitter of delays. Without a source of randomness it is always the
/// same, which does no harm.
#[must_use]
pub fn random_fraction() -> f64 {
    let mut bytes = [0; 4];
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
}
