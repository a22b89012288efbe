//! The URLs of redirects: signatures cover each byte of path and query, so these must arrive as they were written.

use http::StatusCode;

use super::requested::Recorded;
use crate::support::scripted_registry::{CDN, NAME, RegistryRequest, ScriptedRegistry, reply};

/// Signed URLs as CDNs write them, and worse.
const PATHS: [&str; 8] = [
    "/signed?sig='a'%27b&x=a+b~c",
    "/signed/a'b(c)*d!?e=%2f%2F%7e~&f=%7B{g}&h",
    "/signed/{a}|b\"c?h={a}|b^c\\d`e",
    "/signed//a/%2e%2E/b;c=d?/../e/./f?g",
    "/signed/\u{fc}?k=\u{fc}%C3%BC",
    "/signed/?",
    "/signed?=&&=&X-Amz-Credential=A/1/us-east-1/s3/aws4_request&response-content-disposition=attachment; x",
    "/signed?a=\"b\"<c>",
];

/// As in the last two of [`PATHS`]: a request line cannot have these bytes.
fn in_request_line(path: &str) -> String {
    if path.contains([' ', '<']) {
        path.replace(' ', "%20").replace('"', "%22").replace('<', "%3C").replace('>', "%3E")
    } else {
        path.to_owned()
    }
}

fn response(request: &RegistryRequest) -> Vec<u8> {
    let to = |location: &str| reply("307 Temporary Redirect", &format!("Location: {location}\r\n"), "");
    let repository = request.path.split('/').nth(2).unwrap_or_default();
    let number = |prefix: &str| repository.strip_prefix(prefix)?.parse::<usize>().ok();
    if let Some(n) = number("absolute-") {
        return to(&format!("https://{CDN}{}#fragment", PATHS[n]));
    }
    if let Some(n) = number("rooted-") {
        return to(PATHS[n]);
    }
    if let Some(n) = number("network-path-") {
        return to(&format!("//{}:443{}", CDN.to_uppercase(), PATHS[n]));
    }
    if let Some(hops) = number("hops-") {
        return if hops == 0 {
            reply("200 OK", "Content-Length: 4\r\n", "data")
        } else {
            to(&request.path.replace(repository, &format!("hops-{}", hops - 1)))
        };
    }
    match repository {
        "loop" => to(&request.path.replace("loop", "pool")),
        "pool" => to(&request.path.replace("pool", "loop")),
        "relative" => to("../relative-data?a='b'"),
        "query" => to("?a='b'"),
        "backslash" => to(&format!("https://{NAME}\\@{CDN}/signed")),
        "user" => to(&format!("https://{NAME}@{CDN}/signed?secret=1")),
        "tab" => to(&format!("https://{NAME}\t.evil.example/signed")),
        "no-host" => to("https:///signed?secret=1"),
        "other-scheme" => to("ftp://x.example/signed?secret=1"),
        "long" => to(&format!("/signed?{}", "a".repeat(70_000))),
        _ => reply("200 OK", "Content-Length: 4\r\n", "data"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn path_and_query_of_a_redirect_go_out_as_they_were_written() {
    let odd = Recorded::new(response).await;
    for (n, path) in PATHS.iter().enumerate() {
        for form in ["absolute", "rooted", "network-path"] {
            let blob = ScriptedRegistry::blob(&format!("{form}-{n}"));
            let response = odd.registry.testbed.engine.get(&blob, &[]).await;
            assert_eq!((response.status, response.body.as_slice()), (StatusCode::OK, &b"data"[..]), "{path}");
            assert_eq!(odd.take().pop().unwrap(), format!("GET {}", in_request_line(path)), "{form}");
        }
    }
    for (repository, last) in [
        ("relative", "/v2/relative/relative-data?a='b'".to_owned()),
        ("query", ScriptedRegistry::blob("query").replace(&format!("/{NAME}"), "") + "?a='b'"),
    ] {
        odd.registry.testbed.engine.get(&ScriptedRegistry::blob(repository), &[]).await;
        assert_eq!(odd.take()[1], format!("GET {last}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_redirects_are_followed_and_no_more() {
    let odd = Recorded::new(response).await;
    for path in [ScriptedRegistry::blob("hops-10"), ScriptedRegistry::manifest("hops-10")] {
        let response = odd.registry.testbed.engine.get(&path, &[]).await;
        assert_eq!((response.status, response.body.as_slice()), (StatusCode::OK, &b"data"[..]), "{path}");
    }
    odd.take();
    for path in [ScriptedRegistry::blob("hops-11"), ScriptedRegistry::blob("loop")] {
        let (status, code, message) = odd.registry.testbed.engine.get(&path, &[]).await.fault("registry");
        assert_eq!((status, code.as_str()), (502, "UNAVAILABLE"), "{path}");
        assert!(message.contains("more than 10 redirects"), "{message}");
        assert_eq!(odd.take().len(), 11, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_whose_host_could_be_read_in_two_ways_is_refused() {
    let odd = Recorded::new(response).await;
    for repository in ["backslash", "user", "tab", "no-host", "other-scheme", "long"] {
        let response = odd.registry.testbed.engine.get(&ScriptedRegistry::blob(repository), &[]).await;
        let hop = if repository == "user" { "CDN" } else { "registry" };
        let (status, code, message) = response.fault(hop);
        assert_eq!((status, code.as_str()), (502, "UNAVAILABLE"), "{repository}");
        assert!(!message.contains("secret"), "{message}");
        assert!(odd.take().iter().all(|request| !request.contains("/signed")), "{repository}");
    }
}
