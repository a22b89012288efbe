//! Digests of content, taken as it passes by. Nothing that has one is believed without.

use crate::name::Digest;
use sha2::{Digest as _, Sha256, Sha512};

/// A digest in the making.
#[derive(Debug)]
pub struct Digester(Hash);

#[derive(Debug)]
enum Hash {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Digester {
    /// Begins one by the algorithm of `wanted`, so that the two can be compared.
    #[must_use]
    pub fn matching(wanted: &Digest) -> Self {
        match wanted.algorithm() {
            "sha512" => Self(Hash::Sha512(Sha512::new())),
            _ => Self::sha256(),
        }
    }

    /// Begins one by the algorithm that registries use.
    #[must_use]
    pub fn sha256() -> Self {
        Self(Hash::Sha256(Sha256::new()))
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Hash::Sha256(hash) => hash.update(bytes),
            Hash::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The digest of all that was taken in.
    ///
    /// # Panics
    /// Never: a hash in hexadecimal digits is a digest.
    #[must_use]
    pub fn finish(self) -> Digest {
        let text = match self.0 {
            Hash::Sha256(hash) => format!("sha256:{:x}", hash.finalize()),
            Hash::Sha512(hash) => format!("sha512:{:x}", hash.finalize()),
        };
        text.parse().expect("an algorithm and its hash in hexadecimal digits are a digest")
    }

    /// The digest of bytes that are all there.
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
    fn both_algorithms_are_taken_from_the_digest_to_compare_with() {
        // FIPS 180-4's example message.
        for digest in [
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned(),
            format!(
                "sha512:{}{}",
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a",
                "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
            ),
        ] {
            let wanted: Digest = digest.parse().unwrap();
            assert_eq!(Digester::matching(&wanted).digest(b"abc"), wanted);
        }
    }
}
