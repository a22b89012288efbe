//! `Debug` output gets into logs, so no type may print a secret with it.

use docxy_protocol::authorization::{Authorization, basic};
use docxy_protocol::congestion::Choice;
use docxy_protocol::control::Hello;
use docxy_protocol::link::{ClientSecret, Link};
use docxy_protocol::name::Registry;
use docxy_protocol::request::{Operation, Request};
use docxy_protocol::token::{Parsed, TokenRequest};
use std::fmt::Debug;

const SECRET: &str = "b3Blbi1zZXNhbWUtb3Blbi1zZXNhbWUtb3Blbi1zZXM";

fn assert_hides(value: &impl Debug, secrets: &[&str]) {
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        for secret in secrets {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[test]
fn a_link_and_its_parts_hide_the_secret() {
    let text =
        format!("docxy://laptop:{SECRET}@example.org:61443?pin=ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8");
    let link: Link = text.parse().unwrap();
    // As text, and decoded.
    let secrets = [SECRET, "open-sesame", "111, 112, 101, 110", "6f70656e"];
    assert_hides(&link, &secrets);
    assert_hides(
        &Hello { name: link.name, secret: link.secret, congestion: Choice::Auto, max_rate: None },
        &secrets,
    );
    assert_hides(&ClientSecret::from_random([111; 32]), &["111", "ooo", "6f6f"]);
    assert_hides(&format!("{text}&secret={SECRET}").parse::<Link>().unwrap_err(), &secrets);
    assert_hides(&text.replace("example.org", "exa mple").parse::<Link>().unwrap_err(), &secrets);
}

#[test]
fn a_request_hides_its_credentials() {
    let forms = [
        "grant_type=password&username=me&password=open-sesame",
        "grant_type=refresh_token&refresh_token=open-sesame",
    ];
    let hub = Registry::docker_hub();
    let token = |form| match TokenRequest::from_form(form, &hub).unwrap() {
        Parsed::Request(token) => token,
        Parsed::NamesOtherRegistry => panic!("{form}"),
    };
    let tokens = forms.map(|form| Operation::Token(token(form)));
    for operation in [&tokens[..], &[Operation::Ping]].concat() {
        for authorization in [basic("me", "open-sesame"), Authorization::parse("Bearer open-sesame")] {
            let request = Request::new(hub.clone(), operation.clone()).with_authorization(authorization);
            assert_hides(&request, &["open-sesame", "b3Blbi1zZXNhbWU"]);
        }
    }
    for form in forms {
        assert_hides(&token(form).form(None), &["open-sesame"]);
        let error = TokenRequest::from_form(&form.replace("grant_type", "grant"), &hub).unwrap_err();
        assert_hides(&error, &["open-sesame"]);
    }
}
