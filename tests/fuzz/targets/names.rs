//! Names, images and scopes: what is taken is what is shown, and is taken again.
#![no_main]

use docxy_protocol::authorization::Authorization;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::name::{Digest, Reference, Registry, Repository, Tag};
use docxy_protocol::scope::Scope;
use libfuzzer_sys::fuzz_target;
use std::fmt::{Debug, Display};
use std::str::FromStr;

fuzz_target!(|text: &str| {
    again::<Registry>(text);
    again::<Repository>(text);
    again::<Tag>(text);
    again::<Digest>(text);
    again::<Reference>(text);
    again::<ImageName>(text);
    // Less its registry, a scope's name may look as if it began with another one.
    if let Ok((None, scope)) = Scope::parse(text) {
        assert_eq!(Scope::parse(&scope.to_string()), Ok((None, scope)));
    }
    // A header's value comes out as one that can go into a header again.
    if let Some(header) = Authorization::parse(text).header() {
        assert!(http::HeaderValue::from_str(header.expose()).is_ok());
    }
});

fn again<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse::<T>().unwrap(), value);
    }
}
