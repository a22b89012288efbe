//! `docxy-client login`: engines that show no credential pull private images by their plain names, and after `logout`
//! they do not. The account goes to its registry only, and nothing that it opens is stored.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use docxy_tests::{
    docxy::Client,
    process::{Finished, PROCESS_TIMEOUT},
};
use futures_util::future::FutureExt as _;
use http::StatusCode;
use serde_json::Value;
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient, HttpResponse, basic},
    scripted_registry::{DIGEST, NAME, RegistryRequest, ScriptedRegistry, reply},
    testbed::{ALICE, Testbed, bytes, wait_until_up},
    two_registries::{OTHER, TwoRegistries, other_image},
};

const PRIVATE: &str = "owner/private";

fn run(client: &Client, arguments: &[&str], input: &str) -> Finished {
    block_in_place(|| client.command_with_input(arguments, input)).unwrap()
}

fn login(client: &Client, registry: &str, password: &str) -> Finished {
    run(client, &["login", registry, "-u", ALICE.0], &format!("{password}\n"))
}

/// Requests the private manifest as an engine that mirrors the registry, without a credential.
async fn manifest(engine: &HttpClient, headers: &[(&str, &str)]) -> HttpResponse {
    let path = format!("/v2/{PRIVATE}/manifests/latest?ns={OTHER}");
    engine.get(&path, &[headers, &[ANY]].concat()).await
}

/// The content of all files below this directory, which may have a socket, too.
fn files_below(directory: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        if path.is_dir() {
            files_below(&path)
        } else {
            path.is_file().then(|| fs::read(path).unwrap()).into_iter().collect()
        }
    };
    entries.flat_map(read).collect()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_image_is_pulled_by_login_and_not_after_logout() {
    let mut two = TwoRegistries::with(OTHER, &["--cache-size", "1 GB"]).await;
    let (client, engine) = (&two.testbed.client, &two.testbed.engine);
    assert_eq!(manifest(engine, &[]).await.status, StatusCode::UNAUTHORIZED);
    let refused = login(client, OTHER, "not-her-password");
    assert!(refused.status.code() == Some(1) && refused.stderr.contains("incorrect"), "{refused:?}");
    assert_eq!(manifest(engine, &[]).await.status, StatusCode::UNAUTHORIZED);
    let accepted = login(client, OTHER, ALICE.1);
    assert!(accepted.status.success() && accepted.stderr.contains("other users"), "{accepted:?}");

    let image = other_image();
    let private = manifest(engine, &[]).await;
    assert_eq!((private.status, &private.body[..]), (StatusCode::OK, &image.index().bytes[..]));
    let public_token = engine.get(&format!("/auth/token/{OTHER}?scope=repository:{PRIVATE}:pull"), &[]).await;
    for blob in image.blobs() {
        let path = format!("/v2/{OTHER}/{PRIVATE}/blobs/{}", blob.digest());
        let response = engine.get(&path, &[("authorization", &public_token.bearer())]).await;
        assert!(response.status == StatusCode::OK && response.whole, "{response:?}");
    }
    // One that speaks for another machine, and one with a token of its own.
    let forwarded = manifest(engine, &[("x-forwarded-for", "192.0.2.1")]).await;
    assert_eq!(forwarded.status, StatusCode::UNAUTHORIZED);
    let hub = &two.testbed.hub;
    let alices = "/v2/alice/private/manifests/latest";
    assert_eq!(engine.get(alices, &[ANY]).await.status, StatusCode::UNAUTHORIZED, "Docker Hub's is another");
    let tar =
        run(client, &["pull", &format!("{OTHER}/{PRIVATE}"), "--platform", "linux/amd64", "-o", "-"], "");
    assert!(tar.status.success() && tar.stdout.contains("oci-layout"), "{}", tar.stderr);

    block_in_place(|| client.command_without_link(&["logout", OTHER], PROCESS_TIMEOUT)).unwrap();
    for token in [None, Some(public_token.bearer())] {
        let header: Vec<_> = token.iter().map(|token| ("authorization", token.as_str())).collect();
        assert_eq!(manifest(engine, &header).await.status, StatusCode::UNAUTHORIZED);
    }
    let again = run(client, &["pull", &format!("{OTHER}/{PRIVATE}"), "-o", "-"], "");
    assert!(again.status.code() == Some(1) && again.stdout.is_empty(), "{again:?}");
    assert!(again.stderr.contains(&format!("docxy-client login {OTHER}")), "{again:?}");
    let files = [files_below(&client.cache()), files_below(&two.testbed.server.state())].concat();
    for digest in
        image.manifests().map(|m| m.digest.to_string()).chain(image.blobs().map(|b| b.digest().to_string()))
    {
        let hex = digest.trim_start_matches("sha256:").as_bytes();
        assert!(files.iter().all(|file| !contains(file, hex)), "{digest} is named on disk");
    }
    let manifests = image.manifests().map(|manifest| manifest.bytes.to_vec());
    for part in manifests.chain(image.blobs().map(bytes)) {
        assert!(files.iter().all(|file| !contains(file, &part)), "a manifest or a blob is on disk");
    }
    let to_hub = hub.request_log().snapshot();
    assert!(to_hub.iter().all(|entry| entry.authorization_scheme() != Some("Basic")), "{to_hub:#?}");

    // Where private layers are kept, they go with the login.
    let Testbed { client, engine, .. } = &mut two.testbed;
    let (cache, config) = (client.cache(), client.cache().with_file_name("client.toml"));
    fs::write(&config, "cache_private = true").unwrap();
    let arguments = ["--cache-size", "1 GB", "--config", config.to_str().unwrap()];
    block_in_place(|| client.stop().and_then(|_| client.start_again_with(&arguments))).unwrap();
    wait_until_up(client);
    assert!(login(client, OTHER, ALICE.1).status.success());
    let layer = &image.platform("amd64").unwrap().layers[0].blob;
    let path = format!("/v2/{OTHER}/{PRIVATE}/blobs/{}", layer.digest());
    assert!(engine.get(&path, &[("authorization", &public_token.bearer())]).await.whole);
    let is_kept = |health: &Value| health["cache"]["blobs"] == 1;
    block_in_place(|| client.wait_for_health("keep a layer", PROCESS_TIMEOUT, is_kept)).unwrap();
    block_in_place(|| client.command_without_link(&["logout", OTHER], PROCESS_TIMEOUT)).unwrap();
    assert!(files_below(&cache).iter().all(|file| !contains(file, &bytes(layer))));
    assert_eq!(block_in_place(|| client.health()).unwrap()["cache"]["blobs"], 0);
}

/// Writes the file that `login` writes, with these entries.
fn write_logins(client: &Client, entries: &str) {
    let directory = client.cache().with_file_name("config");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("logins"), format!("{{{entries}}}")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_hides_neither_public_images_nor_the_challenge() {
    let two = TwoRegistries::new().await;
    let (client, engine) = (&two.testbed.client, &two.testbed.engine);
    let write = |password: &str| {
        write_logins(
            client,
            &format!(r#""{OTHER}":{{"password":{{"user":"{}","password":"{password}"}}}}"#, ALICE.0),
        );
    };
    let is_challenged = |response: &HttpResponse| {
        response.status == StatusCode::UNAUTHORIZED
            && response.header("www-authenticate").starts_with("Bearer ")
    };
    write(ALICE.1);
    let ping = engine.get(&format!("/v2/?ns={OTHER}"), &[]).await;
    assert!(is_challenged(&ping), "engines with an account of their own show it then: {ping:?}");
    assert_eq!(manifest(engine, &[]).await.status, StatusCode::OK);
    let tries = || two.other.request_log().count(|entry| entry.authorization_scheme() == Some("Basic"));
    two.other.request_log().clear();
    write("not-her-password");
    let private = manifest(engine, &[]).await;
    assert!(is_challenged(&private), "{private:?}");
    let public_token = engine.get(&format!("/auth/token/{OTHER}?scope=repository:{PRIVATE}:pull"), &[]).await;
    let bearer = public_token.bearer();
    let denied = manifest(engine, &[("authorization", &bearer)]).await;
    let (status, _, message) = denied.error();
    assert!(status == 401 && message.contains(ALICE.0) && message.contains("Log in again"), "{message}");
    let public = format!("/v2/owner/image/manifests/latest?ns={OTHER}");
    for headers in [&[ANY][..], &[ANY, ("authorization", &bearer)]] {
        assert_eq!(engine.get(&public, headers).await.status, StatusCode::OK);
    }
    assert_eq!(tries(), 1, "registries lock accounts");
    write("not-hers-either");
    let all = (0..4).map(|n| format!("/v2/owner/image{n}/manifests/latest?ns={OTHER}"));
    futures_util::future::join_all(all.map(|path| async move { engine.get(&path, &[ANY]).await })).await;
    assert_eq!(tries(), 2, "another login is tried, by one request");
    let pulled = run(client, &["pull", &format!("{OTHER}/owner/image"), "-o", "-"], "");
    assert!(pulled.status.success() && pulled.stderr.contains("refuses that login"), "{}", pulled.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_account_is_forbidden_is_pulled_if_everybody_may_read_it() {
    let (seen, forbidden) = (Arc::new(AtomicUsize::new(0)), "Content-Length: 0\r\n");
    let count = Arc::clone(&seen);
    let respond = move |request: RegistryRequest| {
        let response = match (request.path.as_str(), request.header("authorization")) {
            ("/v2/", _) => reply("200 OK", forbidden, ""),
            (_, Some(_)) => {
                count.fetch_add(1, Ordering::Relaxed);
                reply("403 Forbidden", forbidden, "")
            }
            _ => reply("200 OK", "Content-Length: 4\r\n", "data"),
        };
        std::future::ready(response).boxed()
    };
    let scripted = ScriptedRegistry::serving("", |_| {}, respond).await;
    let entry = format!(r#""{NAME}":{{"password":{{"user":"{}","password":"{}"}}}}"#, ALICE.0, ALICE.1);
    write_logins(&scripted.testbed.client, &entry);
    for _ in 0..3 {
        let response = scripted.testbed.engine.get(&format!("/v2/a/b/blobs/{DIGEST}?ns={NAME}"), &[]).await;
        assert_eq!((response.status, &response.body[..]), (StatusCode::OK, &b"data"[..]));
    }
    assert_eq!(seen.load(Ordering::Relaxed), 1, "it is not asked for twice each time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_helper_that_hangs_delays_no_other_registry() {
    let two = TwoRegistries::new().await;
    let (client, engine) = (&two.testbed.client, &two.testbed.engine);
    let started = client.cache().with_file_name("started");
    let script = format!(
        "#!/bin/sh\nread key\n[ $key = hangs ] && touch {} && exec sleep 15\n\
         echo '{{\"Username\":\"{}\",\"Secret\":\"{}\"}}'\n",
        started.display(),
        ALICE.0,
        ALICE.1
    );
    block_in_place(|| client.install("docker-credential-slow", &script)).unwrap();
    let entry = |registry: &str, key: &str| {
        format!(r#""{registry}":{{"helper":{{"helper":"slow","key":"{key}","own":false}}}}"#)
    };
    write_logins(client, &[entry("docker.io", "hangs"), entry(OTHER, "answers")].join(","));
    let other = async {
        while !started.exists() {
            engine.get("/health", &[]).await;
        }
        manifest(engine, &[]).await.status
    };
    let hangs = two.testbed.engine.get("/v2/alice/private/manifests/latest", &[ANY]);
    tokio::select! {
        status = other => assert_eq!(status, StatusCode::OK),
        _ = hangs => panic!("the other registry has waited for the helper"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_helper_is_asked_again_when_its_password_is_refused() {
    let two = TwoRegistries::new().await;
    let (client, engine) = (&two.testbed.client, &two.testbed.engine);
    let install = |password: &str| {
        let account = format!(r#"{{"ServerURL":"{OTHER}","Username":"{}","Secret":"{password}"}}"#, ALICE.0);
        let script =
            format!("#!/bin/sh\nread server\n[ $1 = get ] && [ $server = {OTHER} ] && echo '{account}'\n");
        block_in_place(|| client.install("docker-credential-short", &script)).unwrap();
    };
    let missing = run(client, &["login", OTHER, "--helper", "short"], "");
    assert!(missing.stderr.contains("cannot run docker-credential-short"), "{missing:?}");
    install(ALICE.1);
    let accepted = run(client, &["login", OTHER, "--helper", "short"], "");
    assert!(accepted.status.success(), "{accepted:?}");
    assert_eq!(manifest(engine, &[]).await.status, StatusCode::OK);
    install("her-next-password");
    two.other.store().add_account(ALICE.0, "her-next-password");
    two.other.tokens().revoke_all();
    let path = format!("/v2/{PRIVATE}/tags/list?ns={OTHER}");
    let is_renewed = async {
        // The helper is not asked for each refusal.
        while engine.get(&path, &[]).await.status != StatusCode::OK {}
    };
    tokio::time::timeout(PROCESS_TIMEOUT, is_renewed).await.unwrap();

    // A helper keeps a password until another login of the same registry is kept elsewhere.
    let record = client.cache().with_file_name("commands");
    let script = format!("#!/bin/sh\necho $1 >>{}\n", record.display());
    block_in_place(|| client.install("docker-credential-keeps", &script)).unwrap();
    for arguments in [&["--helper", "keeps"][..], &["--helper", "keeps"], &[]] {
        let arguments = [&["login", OTHER, "-u", ALICE.0], arguments].concat();
        let accepted = run(client, &arguments, "her-next-password\n");
        assert!(accepted.status.success(), "{accepted:?}");
    }
    assert_eq!(fs::read_to_string(&record).unwrap(), "store\nstore\nerase\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_tokens_gets_the_password_of_its_login_itself() {
    let scripted = ScriptedRegistry::serving(
        "",
        |_| {},
        |request| {
            let challenge = "WWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n";
            let response = match request.header("authorization") {
                Some(value) if value == basic(ALICE.0, ALICE.1) => {
                    reply("200 OK", "Content-Length: 4\r\n", "data")
                }
                _ => reply("401 Unauthorized", challenge, ""),
            };
            std::future::ready(response).boxed()
        },
    )
    .await;
    let (client, engine) = (&scripted.testbed.client, &scripted.testbed.engine);
    let blob = format!("/v2/a/b/blobs/{DIGEST}?ns={NAME}");
    assert_eq!(engine.get(&blob, &[]).await.status, StatusCode::UNAUTHORIZED);
    assert!(!login(client, NAME, "not-her-password").status.success());
    // As Docker keeps it.
    let (config, auth) =
        (scripted.testbed.client.cache().with_file_name("config.json"), basic(ALICE.0, ALICE.1));
    let auth = auth.trim_start_matches("Basic ");
    fs::write(
        &config,
        format!(r#"{{"auths":{{"{NAME}":{{"auth":"{auth}"}},"gone.example":{{"auth":"{auth}"}}}}}}"#),
    )
    .unwrap();
    let imported = run(client, &["login", "--import", config.to_str().unwrap()], "");
    assert!(
        imported.status.success() && imported.stderr.contains("does not serve gone.example"),
        "{imported:?}"
    );
    assert_eq!(engine.get(&format!("/v2/?ns={NAME}"), &[]).await.status, StatusCode::OK);
    let response = engine.get(&blob, &[]).await;
    assert_eq!((response.status, &response.body[..]), (StatusCode::OK, &b"data"[..]));
}
