//! Names, images and scopes: a parsed value is formatted as text that is parsed as the same value.
#![no_main]

use docxy_protocol::authorization::Authorization;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::name::{Digest, Reference, Registry, Repository, Tag};
use docxy_protocol::scope::Scope;
use libfuzzer_sys::fuzz_target;
use std::fmt::{Debug, Display};
use std::str::FromStr;

fuzz_target!(|text: &str| {
    reparse::<Registry>(text);
    reparse::<Repository>(text);
    reparse::<Tag>(text);
    reparse::<Digest>(text);
    reparse::<Reference>(text);
    reparse::<ImageName>(text);
    // Without its registry, a scope's name may look as if it began with another one.
    if let Ok((None, scope)) = Scope::parse(text) {
        assert_eq!(Scope::parse(&scope.to_string()), Ok((None, scope.clone())));
        // The wire format keeps it as well.
        let frame = docxy_protocol::frame::encode(&scope).unwrap();
        assert_eq!(docxy_protocol::frame::decode::<Scope>(&frame[4..]).unwrap(), scope);
    }
    // The formatted value is valid in a header field.
    if let Some(header) = Authorization::parse(text).header() {
        assert!(http::HeaderValue::from_str(header.expose()).is_ok());
    }
});

fn reparse<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse::<T>().unwrap(), value);
    }
}
