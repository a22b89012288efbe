//! Computes digests of content while it streams. Content that has a digest must never be used unverified.

use crate::name::Digest;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// Computes one digest.
#[derive(Debug)]
pub struct Digester(Hash);

#[derive(Debug)]
enum Hash {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Digester {
    /// Uses the algorithm of `expected`, so that the two digests can be compared.
    #[must_use]
    pub fn matching(expected: &Digest) -> Self {
        match expected.algorithm() {
            "sha384" => Self(Hash::Sha384(Sha384::new())),
            "sha512" => Self(Hash::Sha512(Sha512::new())),
            _ => Self::sha256(),
        }
    }

    /// Uses the algorithm that registries use.
    #[must_use]
    pub fn sha256() -> Self {
        Self(Hash::Sha256(Sha256::new()))
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Hash::Sha256(hash) => hash.update(bytes),
            Hash::Sha384(hash) => hash.update(bytes),
            Hash::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The digest of all bytes added.
    ///
    /// # Panics
    /// Never: an algorithm and a hash in hexadecimal digits are a digest.
    #[must_use]
    pub fn finish(self) -> Digest {
        let text = match self.0 {
            Hash::Sha256(hash) => format!("sha256:{:x}", hash.finalize()),
            Hash::Sha384(hash) => format!("sha384:{:x}", hash.finalize()),
            Hash::Sha512(hash) => format!("sha512:{:x}", hash.finalize()),
        };
        text.parse().expect("an algorithm and its hash in hexadecimal digits are a digest")
    }

    /// Adds the last bytes and returns the digest.
    #[must_use]
    pub fn digest(mut self, bytes: &[u8]) -> Digest {
        self.update(bytes);
        self.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digester_uses_the_algorithm_of_the_expected_digest() {
        // FIPS 180-4's example message.
        for digest in [
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned(),
            format!(
                "sha384:{}{}",
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded163",
                "1a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"
            ),
            format!(
                "sha512:{}{}",
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a",
                "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
            ),
        ] {
            let expected: Digest = digest.parse().unwrap();
            assert_eq!(Digester::matching(&expected).digest(b"abc"), expected);
        }
    }
}
