//! Where a registry may send the server, and where it may not.

use http::StatusCode;

use crate::crooked::{Crooked, DIGEST, NAME, reply};

/// Sends each repository where its name says.
fn answer(path: &str) -> Vec<u8> {
    let to = |location: &str| reply("307 Temporary Redirect", &format!("Location: {location}\r\n"), "");
    let repository = path.split('/').nth(2).unwrap_or_default();
    match repository {
        "plain-http" => to(&format!("http://{NAME}/data")),
        "loopback" => to("https://127.0.0.1:1/data"),
        "loopback-v6" => to("https://[::1]:1/data"),
        "metadata" => to("https://169.254.169.254/latest/meta-data/"),
        "by-name" => to("https://localhost:1/data"),
        "with-password" => to(&format!("https://user:password@{NAME}/data?secret=1")),
        "round-and-round" => to(path),
        "nowhere" => to("https://"),
        "relative" => to("/data?secret=1"),
        "twice" => to(&format!("/v2/relative/blobs/{DIGEST}")),
        _ => reply("200 OK", "Content-Length: 4\r\n", "data"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_into_the_servers_own_network_is_refused_and_the_hop_named() {
    let crooked = Crooked::new(answer).await;
    for (repository, host) in [
        ("plain-http", NAME),
        ("loopback", "127.0.0.1"),
        ("loopback-v6", "[::1]"),
        ("metadata", "169.254.169.254"),
        ("by-name", "localhost"),
    ] {
        let answer = crooked.world.engine.get(&Crooked::blob(repository), &[]).await;
        let (status, code, message) = answer.fault("CDN");
        assert_eq!((status, code.as_str()), (502, "UNAVAILABLE"), "{repository}");
        assert!(message.contains(host), "{message}");
        assert!(message.contains("public address"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_that_makes_no_sense_is_refused_and_the_hop_named() {
    let crooked = Crooked::new(answer).await;
    for (repository, hop, words) in [
        ("with-password", "registry", "must not be asked"),
        ("round-and-round", "registry", "redirects"),
        ("nowhere", "registry", "no URL"),
    ] {
        let answer = crooked.world.engine.get(&Crooked::blob(repository), &[]).await;
        let (status, code, message) = answer.fault(hop);
        assert_eq!((status, code.as_str()), (502, "UNAVAILABLE"), "{repository}");
        assert!(message.contains(words) && !message.contains("secret"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_within_a_registry_and_of_manifests_are_followed() {
    let crooked = Crooked::new(answer).await;
    for path in [Crooked::blob("relative"), Crooked::blob("twice"), Crooked::manifest("relative")] {
        let answer = crooked.world.engine.get(&path, &[]).await;
        assert_eq!((answer.status, answer.body.as_slice()), (StatusCode::OK, &b"data"[..]), "{path}");
    }
}
