//! `Debug` is what ends up in logs: no type that carries a secret may show it.

use docxy_protocol::authorization::{Authorization, basic};
use docxy_protocol::congestion::Choice;
use docxy_protocol::control::{Hello, StreamHeader};
use docxy_protocol::headers::Headers;
use docxy_protocol::link::{ClientSecret, Link};
use docxy_protocol::name::Registry;
use docxy_protocol::request::{Operation, Request};
use docxy_protocol::token::{Parsed, TokenRequest};
use std::fmt::Debug;

const SECRET: &str = "b3Blbi1zZXNhbWUtb3Blbi1zZXNhbWUtb3Blbi1zZXM";

fn assert_silent(value: &impl Debug, secrets: &[&str]) {
    for shown in [format!("{value:?}"), format!("{value:#?}")] {
        for secret in secrets {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[test]
fn a_link_and_what_is_made_of_it_hide_the_secret() {
    let line =
        format!("docxy://laptop:{SECRET}@example.org:61443?pin=ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8");
    let link: Link = line.parse().unwrap();
    // As text, and as the bytes that it stands for.
    let secrets = [SECRET, "open-sesame", "111, 112, 101, 110", "6f70656e"];
    assert_silent(&link, &secrets);
    assert_silent(
        &StreamHeader::Hello(Hello { name: link.name, secret: link.secret, congestion: Choice::Auto }),
        &secrets,
    );
    assert_silent(&ClientSecret::from_random([111; 32]), &["111", "ooo", "6f6f"]);
    assert_silent(&format!("{line}&secret={SECRET}").parse::<Link>().unwrap_err(), &secrets);
    assert_silent(&line.replace("example.org", "exa mple").parse::<Link>().unwrap_err(), &secrets);
}

#[test]
fn a_request_hides_whom_it_speaks_for() {
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
            let request = Request {
                registry: "docker.io".parse().unwrap(),
                operation: operation.clone(),
                authorization,
                headers: Headers::default(),
                prefetch: None,
            };
            assert_silent(&request, &["open-sesame", "b3Blbi1zZXNhbWU"]);
        }
    }
    for form in forms {
        assert_silent(&token(form).form(None), &["open-sesame"]);
        let error = TokenRequest::from_form(&form.replace("grant_type", "grant"), &hub).unwrap_err();
        assert_silent(&error, &["open-sesame"]);
    }
}
