//! A link's checksum: two characters of base64url (12 bits of SHA-256) for each of its parts, so that an error can name
//! the part that was changed in copying.
//!
//! Must never be taken for a proof: who changes a link can change its checksum.

use super::{Link, LinkError};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// Characters for each part.
const LENGTH: usize = 2;

/// The checksum of a link.
pub(super) fn of(link: &Link) -> String {
    parts(link).into_iter().map(|(_, sum)| sum).collect()
}

/// Compares the checksum that came with a link.
pub(super) fn check(link: &Link, given: &str) -> Result<(), LinkError> {
    let parts = parts(link);
    if given.len() != parts.len() * LENGTH || !given.is_ascii() {
        return Err(LinkError::Sum);
    }
    let given = given.as_bytes().chunks(LENGTH);
    let changed = parts.iter().zip(given).filter(|((_, sum), given)| sum.as_bytes() != *given);
    let changed: Vec<_> = changed.map(|((name, _), _)| *name).collect();
    match changed.len() {
        0 => Ok(()),
        // Of another link, or changed itself.
        all if all == parts.len() => Err(LinkError::Sum),
        _ => Err(LinkError::Changed(changed.join(" and the "))),
    }
}

/// The parts' names, and the sum of each.
fn parts(link: &Link) -> [(&'static str, String); 4] {
    let Link { name, secret, pin, .. } = link;
    [
        ("name", name.to_string()),
        ("secret", secret.expose()),
        ("host or port", link.address()),
        ("pin", pin.to_string()),
    ]
    .map(|(name, text)| {
        let mut sum = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(text));
        sum.truncate(LENGTH);
        (name, sum)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    const PIN: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8";

    #[test]
    fn the_part_that_was_changed_is_named() {
        let link: Link = format!("docxy://laptop:{SECRET}@example.org:61443?pin={PIN}").parse().unwrap();
        let good = link.expose_with_sum();
        assert!(good.ends_with("&sum=Xu6oYqzw"), "{good}");
        for (text, changed) in [
            (good.replace("laptop", "1aptop"), "name"),
            (good.replace("AAEC", "AAEc"), "secret"),
            (good.replace("example", "exarnple"), "host or port"),
            (good.replace("61443", "6144"), "host or port"),
            (good.replace("ICEi", "lCEi"), "pin"),
            (good.replace("laptop", "Laptop").replace("ICEi", "lCEi"), "name and the pin"),
        ] {
            let error = text.parse::<Link>().unwrap_err();
            assert_eq!(error, LinkError::Changed(changed.into()), "{text}");
            assert!(!error.to_string().contains(&SECRET[8..20]));
        }
        for cut in 1..=8 {
            assert_eq!(good[..good.len() - cut].parse::<Link>(), Err(LinkError::Sum), "{cut}");
        }
        assert_eq!(good.replace("Xu6oYqzw", "AAAAAAAA").parse::<Link>(), Err(LinkError::Sum));
        assert_eq!(good.replace("&sum=Xu6o", "&sum=Ээ").parse::<Link>(), Err(LinkError::Sum));
        assert_eq!(good.split("&sum").next().unwrap().parse(), Ok(link), "a link without it is accepted");
    }
}
