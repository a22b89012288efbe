//! The line that a user pastes: one that is taken is written again as the same link, and neither
//! its `Debug` nor an error shows the secret.
#![no_main]

use docxy_protocol::link::Link;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match text.parse::<Link>() {
        Ok(link) => {
            let line = link.expose();
            assert_eq!(line.parse::<Link>().unwrap(), link);
            let secret = line.split_once('@').unwrap().0.rsplit_once(':').unwrap().1;
            // Unless it stands in the line a second time, where a host or a name belongs.
            assert!(line.matches(secret).count() > 1 || !format!("{link:?}").contains(secret));
        }
        Err(error) => {
            assert!(error.to_string().len() < 500);
        }
    }
});
