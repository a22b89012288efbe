//! Which redirects of a registry the server follows, and which it refuses.

use std::net::Ipv4Addr;

use http::StatusCode;

use crate::support::scripted_registry::{DIGEST, LOCAL, NAME, ScriptedRegistry, reply};

/// Redirects each repository as its name says.
fn response(path: &str) -> Vec<u8> {
    let to = |location: &str| reply("307 Temporary Redirect", &format!("Location: {location}\r\n"), "");
    let repository = path.split('/').nth(2).unwrap_or_default();
    match repository {
        "plain-http" => to(&format!("http://{NAME}/data")),
        "loopback" => to("https://127.0.0.1:1/data"),
        "loopback-v6" => to("https://[::1]:1/data"),
        "metadata" => to("https://169.254.169.254/latest/meta-data/"),
        "by-name" => to("https://localhost:1/data"),
        "private" => to("https://10.0.0.1/data"),
        "shared" => to("https://100.64.0.1/data"),
        "unspecified" => to("https://0.0.0.0/data"),
        "multicast" => to("https://224.0.0.1/data"),
        "unique-local" => to("https://[fd00::1]/data"),
        "link-local" => to("https://[fe80::1]/data"),
        "mapped" => to("https://[::ffff:127.0.0.1]/data"),
        "translated" => to("https://[64:ff9b::a00:1]/data"),
        "in-hexadecimal" => to("https://0x7f000001/data"),
        "another-registrys" => to(&format!("https://{LOCAL}:2/data")),
        "not-followed" => reply("300 Multiple Choices", "Location: https://elsewhere.example/\r\n", ""),
        "no-location" => reply("307 Temporary Redirect", "", ""),
        "location-without-redirect" => {
            reply("200 OK", "Location: https://elsewhere.example/\r\nContent-Length: 4\r\n", "data")
        }
        "with-password" => to(&format!("https://user:password@{NAME}/data?secret=1")),
        "round-and-round" => to(path),
        "nowhere" => to("https://"),
        "relative" => to("/data?secret=1"),
        "twice" => to(&format!("/v2/relative/blobs/{DIGEST}")),
        _ => reply("200 OK", "Content-Length: 4\r\n", "data"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_a_private_network_is_refused() {
    let registry = ScriptedRegistry::new(response).await;
    for (repository, host) in [
        ("plain-http", NAME),
        ("loopback", "127.0.0.1"),
        ("loopback-v6", "[::1]"),
        ("metadata", "169.254.169.254"),
        ("by-name", "localhost"),
        ("private", "10.0.0.1"),
        ("shared", "100.64.0.1"),
        ("unspecified", "0.0.0.0"),
        ("multicast", "224.0.0.1"),
        ("unique-local", "[fd00::1]"),
        ("link-local", "[fe80::1]"),
        ("mapped", "[::ffff:7f00:1]"),
        ("translated", "[64:ff9b::a00:1]"),
        ("in-hexadecimal", "127.0.0.1"),
        // The operator listed this host and port for another registry.
        ("another-registrys", LOCAL),
    ] {
        let response = registry.testbed.engine.get(&ScriptedRegistry::blob(repository), &[]).await;
        let (status, code, message) = response.fault("CDN");
        assert_eq!((status, code.as_str()), (502, "UNAVAILABLE"), "{repository}");
        // A client may learn a host name, but no address in the server's network.
        let is_literal = host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok();
        assert_eq!(message.contains(host), !is_literal, "{message}");
        assert!(message.contains("public address"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_redirect_is_refused() {
    let registry = ScriptedRegistry::new(response).await;
    for (repository, hop, words) in [
        ("with-password", "registry", "must not be dialed"),
        ("round-and-round", "registry", "redirects"),
        ("nowhere", "registry", "no URL"),
    ] {
        let response = registry.testbed.engine.get(&ScriptedRegistry::blob(repository), &[]).await;
        let (status, code, message) = response.fault(hop);
        assert_eq!((status, code.as_str()), (502, "UNAVAILABLE"), "{repository}");
        assert!(message.contains(words) && !message.contains("secret"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_get_no_redirect() {
    let registry = ScriptedRegistry::new(response).await;
    for repository in ["not-followed", "no-location"] {
        for path in [ScriptedRegistry::blob(repository), ScriptedRegistry::manifest(repository)] {
            let response = registry.testbed.engine.get(&path, &[]).await;
            let (status, code, message) = response.fault("registry");
            assert_eq!((status, code.as_str()), (502, "UNAVAILABLE"), "{path}");
            assert!(message.contains("redirect") && response.header("location").is_empty(), "{message}");
        }
    }
    let response =
        registry.testbed.engine.get(&ScriptedRegistry::manifest("location-without-redirect"), &[]).await;
    assert_eq!((response.status, response.header("location")), (StatusCode::OK, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_followed() {
    let registry = ScriptedRegistry::new(response).await;
    for path in [
        ScriptedRegistry::blob("relative"),
        ScriptedRegistry::blob("twice"),
        ScriptedRegistry::manifest("relative"),
    ] {
        let response = registry.testbed.engine.get(&path, &[]).await;
        assert_eq!((response.status, response.body.as_slice()), (StatusCode::OK, &b"data"[..]), "{path}");
    }
}
