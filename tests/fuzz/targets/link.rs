//! The link that a user pastes: a parsed link is formatted as the same link, and neither `Debug` nor an
//! error contains the secret.
#![no_main]

use docxy_protocol::link::Link;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match text.parse::<Link>() {
        Ok(link) => {
            let text = link.expose();
            assert_eq!(text.parse::<Link>().unwrap(), link);
            assert_eq!(link.expose_with_sum().parse::<Link>().unwrap(), link);
            let secret = text.split_once('@').unwrap().0.rsplit_once(':').unwrap().1;
            // Unless the host or the name contains the same text.
            assert!(text.matches(secret).count() > 1 || !format!("{link:?}").contains(secret));
        }
        Err(error) => {
            assert!(error.to_string().len() < 500);
        }
    }
});
