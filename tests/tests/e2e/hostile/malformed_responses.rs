//! Responses that no registry should send, and some do: HTML, bodies without an end, hop-by-hop headers.

use std::{
    io::Write as _,
    sync::atomic::{AtomicBool, Ordering},
};

use flate2::{Compression, write::GzEncoder};
use http::StatusCode;

use crate::support::{
    raw_http::{End, RawConnection, RawResponse},
    scripted_registry::{ScriptedRegistry, reply},
};

const HTML: &str = "<!DOCTYPE html><html><body>Bad gateway, says nginx</body></html>";

fn gzipped() -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&[7; 5000]).unwrap();
    gzip.finish().unwrap()
}

/// `len` bytes in chunks of 1000, with or without the last chunk.
fn chunked(len: usize, whole: bool) -> Vec<u8> {
    let mut body = Vec::new();
    for chunk in vec![b'x'; len].chunks(1000) {
        body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    if whole {
        body.extend_from_slice(b"0\r\n\r\n");
    }
    body
}

fn response(path: &str) -> Vec<u8> {
    let html = format!("Content-Type: text/html\r\nContent-Length: {}\r\n", HTML.len());
    let repository = path.split('/').nth(2).unwrap_or_default();
    match repository {
        "html-401" => reply("401 Unauthorized", &html, HTML),
        "html-403" => reply("403 Forbidden", &html, HTML),
        "html-404" => reply("404 Not Found", &html, HTML),
        "html-429" => reply("429 Too Many Requests", &format!("Retry-After: 3\r\n{html}"), HTML),
        "html-502" => reply("502 Bad Gateway", &html, HTML),
        "huge-error" => reply("500 Oops", "Content-Length: 1000000\r\n", vec![b'x'; 1_000_000]),
        "gzip" => {
            let gzipped = gzipped();
            let headers = format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", gzipped.len());
            reply("200 OK", &headers, gzipped)
        }
        "chunked" => reply("200 OK", "Transfer-Encoding: chunked\r\n", chunked(700_000, true)),
        "chunked-cut" => reply("200 OK", "Transfer-Encoding: chunked\r\n", chunked(700_000, false)),
        "until-close" => reply("200 OK", "", vec![b'x'; 700_000]),
        "too-short" => reply("200 OK", "Content-Length: 900000\r\n", vec![b'x'; 700_000]),
        "too-short-small" => reply("200 OK", "Content-Length: 9000\r\n", vec![b'x'; 7000]),
        "no-http" => b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        "headers" => reply(
            "200 OK",
            "Warning: 299 - \"one\"\r\nWarning: 299 - \"two\"\r\nX-Odd: kept\r\nX-Hop: gone\r\n\
             Connection: X-Hop\r\nKeep-Alive: timeout=5\r\nSet-Cookie: a=b\r\n\
             Strict-Transport-Security: max-age=9\r\nOCI-Subject: sha256:0\r\nContent-Length: 2\r\n",
            "{}",
        ),
        _ => reply("200 OK", "Content-Length: 2\r\n", "{}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn html_errors_are_replaced() {
    let registry = ScriptedRegistry::new(response).await;
    for (repository, status, manifest_code, blob_code) in [
        ("html-401", 401, "UNAUTHORIZED", "UNAUTHORIZED"),
        ("html-403", 403, "DENIED", "DENIED"),
        ("html-404", 404, "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"),
        ("html-429", 429, "TOOMANYREQUESTS", "TOOMANYREQUESTS"),
        ("html-502", 502, "UNAVAILABLE", "UNAVAILABLE"),
    ] {
        for (path, code) in [
            (ScriptedRegistry::manifest(repository), manifest_code),
            (ScriptedRegistry::blob(repository), blob_code),
        ] {
            let response = registry.testbed.engine.get(&path, &[]).await;
            let (actual, actual_code, message) = response.error();
            assert_eq!((actual, actual_code.as_str()), (status, code), "{path}");
            assert!(!message.contains('<'), "{message}");
            assert_eq!(response.header("content-length"), response.body.len().to_string());
            assert_eq!(response.header("retry-after"), if status == 429 { "3" } else { "" });
        }
    }
    let (status, code, _) =
        registry.testbed.engine.get(&ScriptedRegistry::manifest("huge-error"), &[]).await.error();
    assert!(matches!(status, 500 | 502) && code == "UNAVAILABLE", "{status} {code}");
    let response = registry.testbed.engine.get(&ScriptedRegistry::manifest("no-http"), &[]).await;
    assert_eq!(response.fault("registry").0, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn encoded_content_stays_encoded() {
    let registry = ScriptedRegistry::new(response).await;
    for path in [ScriptedRegistry::blob("gzip"), ScriptedRegistry::manifest("gzip")] {
        let response = registry.testbed.engine.get(&path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(response.header("content-encoding"), "gzip");
        assert!(response.whole && response.body == gzipped(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_of_unknown_length_arrives_whole() {
    let registry = ScriptedRegistry::new(response).await;
    for repository in ["chunked", "until-close"] {
        let content = vec![b'x'; 700_000];
        let response =
            registry.testbed.engine.get(&ScriptedRegistry::blob_of(repository, &content), &[]).await;
        assert_eq!(response.status, StatusCode::OK);
        assert_eq!(response.header("content-length"), "", "unknown is not zero");
        assert!(response.whole && response.body == content, "{repository}");
        let other =
            RawConnection::get(registry.testbed.client.address(), &ScriptedRegistry::blob(repository), &[])
                .await
                .rest()
                .await;
        assert!(!ends_whole(&other), "a blob that does not match its digest looks complete");
    }
}

/// Whether a chunked response has its last chunk.
fn ends_whole(received: &RawResponse) -> bool {
    received.body().ends_with(b"\r\n0\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_layer_of_unknown_length_is_incomplete() {
    let registry = ScriptedRegistry::new(response).await;
    let raw =
        RawConnection::get(registry.testbed.client.address(), &ScriptedRegistry::blob("chunked-cut"), &[])
            .await;
    let received = raw.rest().await;
    assert_eq!((received.status(), received.end), (200, End::Fin));
    assert!(received.head().contains("transfer-encoding: chunked\r\n"), "{}", received.head());
    assert!(!ends_whole(&received), "a truncated blob looks complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_shorter_than_its_length_is_incomplete() {
    for (repository, len, max_len) in [("too-short", 900_000, 700_000), ("too-short-small", 9000, 7000)] {
        let was_requested = AtomicBool::new(false);
        // It answers the request for the rest with 404.
        let registry = ScriptedRegistry::new(move |path| match was_requested.swap(true, Ordering::Relaxed) {
            false => response(path),
            true => reply("404 Not Found", "Content-Length: 0\r\n", ""),
        });
        let registry = registry.await;
        let received =
            RawConnection::get(registry.testbed.client.address(), &ScriptedRegistry::blob(repository), &[])
                .await
                .rest()
                .await;
        assert!(received.head().contains(&format!("content-length: {len}\r\n")), "{}", received.head());
        assert!(received.body().len() <= max_len, "{} bytes", received.body().len());
        assert_eq!(received.end, End::Fin, "{repository}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hop_by_hop_headers_are_removed() {
    let registry = ScriptedRegistry::new(response).await;
    let response = registry.testbed.engine.get(&ScriptedRegistry::manifest("headers"), &[]).await;
    let warnings: Vec<_> = response.headers.get_all("warning").iter().collect();
    assert_eq!(warnings, ["299 - \"one\"", "299 - \"two\""]);
    assert_eq!((response.header("x-odd"), response.header("oci-subject")), ("kept", "sha256:0"));
    for gone in ["x-hop", "keep-alive", "set-cookie", "strict-transport-security"] {
        assert_eq!(response.header(gone), "", "{gone}");
    }
}
