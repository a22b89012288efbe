//! The operator may allow hosts in the server's own network for one registry. No other registry's responses reach them.

use futures_util::future::FutureExt as _;
use http::StatusCode;
use hub_stand_in::{Hub, HubConfig, Image, Names, Store};
use tokio::task::block_in_place;

use crate::support::{
    http_client::ANY,
    scripted_registry::{CDN, NAME, RegistryRequest, ScriptedRegistry, reply},
    testbed::add,
    two_registries::OTHER,
};

const AUTH: &str = "auth.ghcr.example";
const BLOBS: &str = "pkg.ghcr.example";

/// A registry in the server's own network.
async fn private() -> Hub {
    let store = Store::default();
    store.publish("owner/image", "latest", &Image::hello().unwrap());
    let names = Names { registry: OTHER.into(), auth: AUTH.into(), cdn: BLOBS.into(), service: "s".into() };
    Hub::start(HubConfig { store, names, ..HubConfig::default() }).await.unwrap()
}

/// Names the other registry's hosts wherever a response can name a host.
fn response(request: &RegistryRequest, realm: &str) -> Vec<u8> {
    let to = |host: &str| {
        let location = format!("Location: https://{host}/v2/owner/image/manifests/latest\r\n");
        reply("307 Temporary Redirect", &location, "")
    };
    match request.path.split('/').nth(2).unwrap_or_default() {
        "" if realm.is_empty() => reply("200 OK", "Content-Length: 2\r\n", "{}"),
        "" => {
            let challenge =
                format!("WWW-Authenticate: Bearer realm=\"https://{realm}/token\",service=\"s\"\r\n");
            reply("401 Unauthorized", &format!("{challenge}Content-Length: 0\r\n"), "")
        }
        "to-api" => to(OTHER),
        "to-auth" => to(AUTH),
        "to-cdn" => to(BLOBS),
        // Over its own CDN.
        "by-cdn" if request.header("host") == Some(CDN) => to(OTHER),
        "by-cdn" => {
            reply("307 Temporary Redirect", &format!("Location: https://{CDN}{}\r\n", request.path), "")
        }
        _ => reply("200 OK", "Content-Length: 4\r\n", "data"),
    }
}

/// The registry that names `other`'s hosts, which are pinned for that registry and for all.
async fn evil_registry(other: &Hub, realm: &'static str) -> ScriptedRegistry {
    let pins = other.resolve_table();
    ScriptedRegistry::serving(
        &other.ca_pem(),
        |config| {
            add(config, OTHER, other);
            config.resolve.extend(pins);
        },
        move |request| std::future::ready(response(&request, realm)).boxed(),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_does_not_reach_another_registrys_private_host() {
    let other = private().await;
    let evil_registry = evil_registry(&other, "").await;
    let engine = evil_registry.testbed.engine;
    for (repository, host) in [("to-api", OTHER), ("to-auth", AUTH), ("to-cdn", BLOBS), ("by-cdn", OTHER)] {
        for path in [ScriptedRegistry::blob(repository), ScriptedRegistry::manifest(repository)] {
            let (status, code, message) = engine.get(&path, &[ANY]).await.fault("CDN");
            assert_eq!((status, code.as_str()), (502, "UNAVAILABLE"), "{path}");
            assert!(message.contains(host) && message.contains("no public address"), "{message}");
            assert!(message.contains("operator") && message.contains(NAME), "{message}");
            assert!(!message.contains("127.0.0"), "an address of the server's network: {message}");
        }
    }
    assert!(other.request_log().snapshot().is_empty(), "{:#?}", other.request_log().snapshot());
    assert_eq!(engine.get(&ScriptedRegistry::blob("honest"), &[]).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_realm_does_not_reach_another_registrys_private_host() {
    let other = private().await;
    for realm in [OTHER, AUTH, BLOBS] {
        let evil_registry = evil_registry(&other, realm).await;
        let engine = evil_registry.testbed.engine;
        let bearer = engine.anonymous("library/hello").await;
        let response =
            engine.get(&ScriptedRegistry::manifest("honest"), &[("authorization", &bearer), ANY]).await;
        let (status, code, message) = response.fault("token service");
        assert_eq!((status, code.as_str()), (502, "UNAVAILABLE"));
        assert!(message.contains(realm) && message.contains("no public address"), "{message}");
        assert!(!message.contains("127.0.0"), "{message}");
        assert!(other.request_log().snapshot().is_empty(), "{:#?}", other.request_log().snapshot());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_hide_private_addresses_from_clients() {
    // In the registry's own table: a host with a certificate for other names, and a host with a closed port.
    let (wrong, closed) = ("wrong.odd.example", "closed.odd.example");
    let registry = ScriptedRegistry::serving(
        "",
        |config| {
            let resolve = &mut config.registries.get_mut(NAME).unwrap().resolve;
            resolve.insert(wrong.to_owned(), resolve[CDN]);
            resolve.insert(closed.to_owned(), "127.0.0.1:1".parse().unwrap());
        },
        move |request| {
            let host = match request.path.split('/').nth(2).unwrap_or_default() {
                "" => return std::future::ready(reply("200 OK", "Content-Length: 2\r\n", "{}")).boxed(),
                "wrong" => wrong,
                "closed" => closed,
                _ => "localhost",
            };
            let location = format!("Location: https://{host}/data\r\n");
            std::future::ready(reply("307 Temporary Redirect", &location, "")).boxed()
        },
    )
    .await;
    for (repository, words) in
        [("wrong", "another name"), ("closed", "refused"), ("local", "no public address")]
    {
        let (status, _, message) =
            registry.testbed.engine.get(&ScriptedRegistry::blob(repository), &[]).await.fault("CDN");
        assert_eq!(status, 502, "{message}");
        assert!(message.contains(words), "{message}");
        assert!(
            !message.contains("127.0.0") && !message.contains("::1") && !message.contains(CDN),
            "{message}"
        );
    }
    let config = registry.testbed.server.state().with_file_name("server.toml");
    let image = format!("{NAME}/local");
    let arguments = ["check", "--config", config.to_str().unwrap(), &image];
    let received = block_in_place(|| registry.testbed.server.command(&arguments)).unwrap_err();
    let received = format!("{received:#}");
    assert!(received.contains("127.0.0.1") || received.contains("::1"), "{received}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_registry_is_served() {
    let other = private().await;
    let evil_registry = evil_registry(&other, "").await;
    let engine = evil_registry.testbed.engine;
    let bearer = engine.anonymous("library/hello").await;
    let image = Image::hello().unwrap();
    let layer = image.platforms()[0].layers[0].blob.digest();
    for path in [
        format!("/v2/{OTHER}/owner/image/manifests/latest"),
        format!("/v2/{OTHER}/owner/image/blobs/{layer}"),
    ] {
        let response = engine.get(&path, &[("authorization", &bearer), ANY]).await;
        assert_eq!((response.status, response.whole), (StatusCode::OK, true), "{path}");
    }
}
