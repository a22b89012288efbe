//! The next page of a list, however its registry writes the `Link`: each page comes, or the engine gets an error.

use http::StatusCode;
use serde_json::Value;

use super::requested::Recorded;
use crate::support::{
    http_client::{HttpClient, HttpResponse},
    scripted_registry::{CDN, DIGEST, NAME, RegistryRequest, reply},
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The field of the first page, for the repository's name, with `{path}` for the list's path.
fn link(name: &str, path: &str) -> Option<String> {
    let next = format!("{path}?n=1&last=a%2Fb'c'");
    Some(match name {
        "rooted" => format!("Link: <{next}>; rel=\"next\""),
        "query" => "Link: <?n=1&last=a%2Fb'c'>; rel=\"next\"".to_owned(),
        "two-in-a-line" => format!("Link: <{path}?n=1>; rel=\"first\", <{next}>; rel=\"next\""),
        "two-lines" => format!("Link: <{path}?n=1>; rel=first\r\nLink: <{next}>;rel=next"),
        "quoted" => format!(
            "Link: <{path}?n=1>; title=\"a, </v2/x>; rel=\\\"next\\\"\"; rel=prev , <{next}>; rel = NEXT"
        ),
        "network-path" => format!("Link: <//{NAME}{next}>; rel=\"next\""),
        "absolute" => format!("Link: <https://{NAME}{next}>; rel=\"next\""),
        "absolute-with-port" => format!("Link: <https://{}:443{next}>; rel=\"next\"", NAME.to_uppercase()),
        "plain-http" => format!("Link: <http://{NAME}{next}>; rel=\"next\""),
        "dots" => format!("Link: <{}>; rel=\"next\"", next.replacen("/v2/", "/v2/x/.././", 1)),
        "redirected" => "Link: <?n=1&last=a%2Fb'c'>; rel=\"next\"".to_owned(),
        "foreign-first" => {
            format!("Link: <https://elsewhere.example/>; rel=\"first\", <{next}>; rel=\"next\"")
        }
        "foreign" => format!("Link: <https://elsewhere.example{next}>; rel=\"next\""),
        "other-path" => "Link: </list?page=2>; rel=\"next\"".to_owned(),
        "unclosed" => format!("Link: <{next}; rel=\"next\""),
        "unquoted" => format!("Link: <{next}>; rel=\"next"),
        "no-link" => "Link: </v2/a".to_owned(),
        _ => return None,
    })
}

/// Two pages of tags or referrers.
fn list(request: &RegistryRequest) -> Vec<u8> {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let parts: Vec<&str> = path.split('/').collect();
    if parts[2] == "redirected" {
        let target = request.path.replace("/v2/redirected/", "/v2/moved/to/");
        return reply("307 Temporary Redirect", &format!("Location: https://{CDN}{target}\r\n"), "");
    }
    let name = if parts[2] == "moved" { "redirected" } else { parts[2] };
    let is_second = query.contains("last=");
    let entry = if is_second { "two" } else { "one" };
    let (content_type, body) = if path.contains("/referrers/") {
        (INDEX, format!(r#"{{"manifests":["{entry}"]}}"#))
    } else {
        ("application/json", format!(r#"{{"tags":["{entry}"]}}"#))
    };
    let link = link(name, path).filter(|_| !is_second).map(|link| link + "\r\n").unwrap_or_default();
    let headers = format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n{link}", body.len());
    reply("200 OK", &headers, body)
}

/// The target of the link `next` on this page, as a client that knows RFC 8288 finds it.
fn next(page: &HttpResponse) -> Option<String> {
    let lines = page.headers.get_all("link").iter().map(|line| line.to_str().unwrap());
    let links = lines.flat_map(|line| line.split(", <")).filter(|link| link.to_lowercase().contains("next"));
    let target = links.last()?.trim_start_matches('<').split_once('>').unwrap().0;
    assert!(target.starts_with("/v2/"), "{target}");
    Some(target.to_owned())
}

async fn all(engine: &HttpClient, first: String) -> Result<Vec<Value>, HttpResponse> {
    let (mut entries, mut path) = (Vec::new(), Some(first));
    while let Some(current) = path {
        let page = engine.get(&current, &[]).await;
        if page.status != StatusCode::OK {
            return Err(page);
        }
        let json = page.json();
        let list = json.get("tags").or_else(|| json.get("manifests")).unwrap();
        entries.extend(list.as_array().unwrap().iter().cloned());
        path = next(&page);
    }
    Ok(entries)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_of_a_list_comes_however_the_engine_names_the_registry() {
    let odd = Recorded::new(list).await;
    for repository in [
        "rooted",
        "query",
        "two-in-a-line",
        "two-lines",
        "quoted",
        "network-path",
        "absolute",
        "absolute-with-port",
        "plain-http",
        "dots",
        "redirected",
        "foreign-first",
    ] {
        for kind in ["tags/list".to_owned(), format!("referrers/{DIGEST}")] {
            for first in [
                format!("/v2/{NAME}/{repository}/{kind}?n=1"),
                format!("/v2/{repository}/{kind}?n=1&ns={NAME}"),
                format!("/v2/{NAME}/{repository}/{kind}?n=1&ns={NAME}"),
            ] {
                let entries = all(&odd.registry.testbed.engine, first.clone()).await.unwrap();
                assert_eq!(entries, ["one", "two"], "{first}");
                let second = odd.take().pop().unwrap();
                assert!(second.ends_with("?n=1&last=a%2Fb'c'"), "{second}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_page_is_named_as_the_first_one() {
    let odd = Recorded::new(list).await;
    let engine = odd.registry.testbed.engine;
    let link = async |first: String| next(&engine.get(&first, &[]).await).unwrap();
    let rest = "rooted/tags/list?n=1&last=a%2Fb'c'";
    assert_eq!(link(format!("/v2/{NAME}/rooted/tags/list?n=1")).await, format!("/v2/{NAME}/{rest}"));
    assert_eq!(link(format!("/v2/rooted/tags/list?ns={NAME}")).await, format!("/v2/{rest}&ns={NAME}"));
    let both = link(format!("/v2/{NAME}/rooted/tags/list?ns={NAME}")).await;
    assert_eq!(both, format!("/v2/{NAME}/{rest}&ns={NAME}"));
    // No link leads to another registry.
    let two = engine.get(&format!("/v2/{NAME}/two-in-a-line/tags/list?n=1"), &[]).await;
    let expected = format!(
        "</v2/{NAME}/two-in-a-line/tags/list?n=1>; rel=\"first\", \
         </v2/{NAME}/two-in-a-line/tags/list?n=1&last=a%2Fb'c'>; rel=\"next\""
    );
    assert_eq!(two.header("link"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_whose_next_page_is_out_of_reach_is_an_error() {
    let odd = Recorded::new(list).await;
    for repository in ["foreign", "other-path", "unclosed", "unquoted"] {
        for kind in ["tags/list".to_owned(), format!("referrers/{DIGEST}")] {
            let first = format!("/v2/{NAME}/{repository}/{kind}");
            let error = all(&odd.registry.testbed.engine, first.clone()).await.unwrap_err();
            let (status, code, message) = error.fault("registry");
            assert_eq!((status, code.as_str()), (502, "UNAVAILABLE"), "{first}");
            assert!(message.contains("next page"), "{message}");
        }
    }
    // Nothing says that there is another page.
    let first = format!("/v2/{NAME}/no-link/tags/list");
    assert_eq!(all(&odd.registry.testbed.engine, first).await.unwrap(), ["one"]);
}
