//! No secret stands in a log, at any level, nor in an error or in the process list.

use std::{fs, net::Ipv4Addr, process::Command};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use docxy_tests::{
    docxy::{Client, Launch, Server},
    process::{PROCESS_TIMEOUT, binary, run, scratch},
};
use hub_stand_in::{Fault, Hub, Rule, Site};
use tokio::task::block_in_place;

use crate::support::{
    http_client::{ANY, HttpClient, basic},
    testbed::{ALICE, OPERATOR, client, config, hub, invite},
};

/// The log of a client whose link the server refuses.
fn refused_client_log(link: &str) -> String {
    let mut client = Client::start_with(None, link, &["--log", "trace"]).unwrap();
    client.wait_for_health("be refused", PROCESS_TIMEOUT, |health| health["tunnel"] == "refused").unwrap();
    client.process().output()
}

/// The output of `docxy-client pull`.
fn pull(link: &str) -> String {
    let folder = scratch().unwrap();
    let file = folder.path().join("link");
    fs::write(&file, link).unwrap();
    let mut command = Command::new(binary("docxy-client").unwrap());
    command
        .env_clear()
        .args(["pull", "hello", "--log", "trace", "--output"])
        .arg(folder.path().join("out.tar"));
    command.arg("--link-file").arg(file);
    let pulled = run(command, PROCESS_TIMEOUT).unwrap();
    assert!(pulled.status.success(), "{pulled:?}");
    pulled.stdout + &pulled.stderr
}

/// The command line, which every user of the machine can read.
fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// The secrets, each with a name for messages.
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn add(&mut self, name: &'static str, secret: impl Into<String>) {
        let secret = secret.into();
        assert!(secret.len() >= 8, "{name} is too short for a search");
        self.0.push((name, secret));
    }

    /// Adds bytes in the forms in which programs print them.
    fn add_bytes(&mut self, name: &'static str, bytes: &[u8]) {
        let (list, hex) =
            (format!("{bytes:?}"), bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        self.add(name, list.trim_matches(['[', ']']));
        self.add(name, hex);
        self.add(name, bytes.escape_ascii().to_string());
    }

    fn found_in(&self, log: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (name, secret) in &self.0 {
            if let Some(line) = log.lines().find(|line| line.contains(secret)) {
                found.push(format!("{name}: {}", line.chars().take(300).collect::<String>()));
            }
        }
        found
    }
}

/// Uses all kinds of credentials. Returns the errors that the engine got.
async fn use_everything(engine: &HttpClient, hub: &Hub, secrets: &mut Secrets) -> String {
    let mut errors = String::new();
    let mut refused = |response: crate::support::http_client::HttpResponse| {
        errors += &format!("{:?}\n{}\n", response.headers, String::from_utf8_lossy(&response.body));
    };
    let scope = "service=registry.docker.io&scope=repository:alice/private:pull";
    let credential = basic(ALICE.0, ALICE.1);
    secrets.add("a Basic credential", credential.strip_prefix("Basic ").unwrap());
    let path = format!("/auth/token?account=alice&offline_token=true&{scope}");
    let login = engine.get(&path, &[("authorization", &credential)]).await.json();
    let (token, refresh) = (login["token"].as_str().unwrap(), login["refresh_token"].as_str().unwrap());
    // All tokens of this service have the same beginning, also the anonymous ones and the operator's.
    secrets.add("a token", token.split('.').next().unwrap());
    secrets.add("a token's signature", token.rsplit('.').next().unwrap());
    secrets.add("an identity token", refresh);
    engine.post(&format!("grant_type=refresh_token&refresh_token={refresh}&{scope}")).await;
    engine.post(&format!("grant_type=password&username=alice&password={}&{scope}", ALICE.1)).await;
    let mistyped = "nearly-alices-password";
    secrets.add("a mistyped password", mistyped);
    secrets.add("a mistyped password's credential", basic("alice", mistyped).strip_prefix("Basic ").unwrap());
    refused(engine.get(&path, &[("authorization", &basic("alice", mistyped))]).await);
    refused(engine.post(&format!("grant_type=password&username=alice&password={mistyped}&{scope}")).await);
    // Requests that the client refuses, and credentials in the wrong place.
    refused(engine.post(&format!("grant_type=magic&username=alice&password={mistyped}")).await);
    refused(engine.post(&format!("grant_type=password&password={mistyped}&scope=nonsense")).await);
    refused(engine.get(&format!("/auth/token?scope=nonsense&password={mistyped}"), &[]).await);
    refused(engine.get("/v2/UPPER/manifests/1", &[("authorization", &credential)]).await);
    refused(engine.get("/v2/ghcr.io/a/b/manifests/1", &[("authorization", &credential)]).await);
    refused(engine.get("/v2/", &[("authorization", &credential), ("origin", "https://evil.example")]).await);
    refused(engine.get("/v2/", &[("authorization", &credential), ("host", "evil.example")]).await);

    let bearer = format!("Bearer {token}");
    let anonymous = engine.anonymous("library/hello").await;
    let image = crate::support::testbed::hello();
    let layer = format!("/v2/library/hello/blobs/{}", image.platforms()[0].layers[0].blob.digest());
    for (path, bearer) in [
        ("/v2/alice/private/manifests/latest", &bearer),
        ("/v2/alice/private/tags/list", &bearer),
        ("/v2/library/hello/manifests/latest", &anonymous),
        (&layer, &anonymous),
    ] {
        let response = engine.get(path, &[("authorization", bearer), ANY]).await;
        assert_eq!(response.status, 200, "{path}");
    }
    // Errors are logged in most detail, and those of the CDN involve signed URLs.
    for fault in [Fault::ExpiredUrl, Fault::HangUp { site: Site::Cdn }, Fault::CutAt { byte: 50 }] {
        hub.faults().arm(Rule::once(fault));
        refused(engine.get(&layer, &[("authorization", &anonymous)]).await);
    }
    assert!(hub.faults().armed().is_empty());
    errors
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_logged_at_trace_level() {
    let hub = hub().await;
    hub.store().add_account(OPERATOR.0, OPERATOR.1);
    let mut config = config(&hub);
    config.registries.get_mut("docker.io").unwrap().account = Some((OPERATOR.0.into(), OPERATOR.1.into()));
    let launch = Launch::default().logging("trace");
    let mut server =
        block_in_place(|| Server::start_as(&launch, None, Ipv4Addr::LOCALHOST.into(), &config)).unwrap();
    let link = invite(&mut server, "laptop");
    let mut client = client(&link, &["--log", "trace"]);
    let engine = HttpClient::at(client.address());

    let mut secrets = Secrets(Vec::new());
    let secret = link.split_once("laptop:").unwrap().1.split_once('@').unwrap().0;
    secrets.add("the link's secret", secret);
    secrets.add_bytes("the link's secret", &URL_SAFE_NO_PAD.decode(secret).unwrap()[..12]);
    secrets.add("a password", ALICE.1);
    secrets.add("the operator's password", OPERATOR.1);
    let operator = basic(OPERATOR.0, OPERATOR.1);
    secrets.add("the operator's credential", operator.strip_prefix("Basic ").unwrap());
    secrets.add("a signed URL", "signature=");
    let errors = use_everything(&engine, &hub, &mut secrets).await;
    let login = ["login", "-u", ALICE.0];
    let login = block_in_place(|| client.command_with_input(&login, ALICE.1)).unwrap();
    assert!(login.status.success(), "{login:?}");
    let private = engine.get("/v2/alice/private/manifests/latest", &[("user-agent", "a"), ANY]).await;
    assert_eq!(private.status, 200);
    assert!(errors.contains("docxy: ") && errors.contains("DENIED"), "there is nothing to search");
    let wrong = "wrongwrongwrongwrongwrongwrongwrongwrongwro";
    secrets.add("a wrong link's secret", wrong);
    let refused_log = block_in_place(|| refused_client_log(&link.replace(secret, wrong)));
    let pull = block_in_place(|| pull(&link));

    let (server_log, client_log) = (server.process().output(), client.process().output());
    for log in [&server_log, &client_log, &refused_log, &pull] {
        assert!(log.len() > 10_000, "at trace level a log is longer than {} bytes", log.len());
    }
    let lists = [server.process().pid(), client.process().pid()].map(command_line).join("\n");
    assert!(lists.contains("--log"), "{lists}");
    let found: Vec<_> = [
        ("server", server_log),
        ("client", client_log),
        ("a refused client", refused_log),
        ("docxy-client pull", pull),
        ("errors", errors),
        ("docxy-client login", login.stderr),
        ("the process list", lists),
    ]
    .iter()
    .flat_map(|(side, log)| secrets.found_in(log).into_iter().map(move |found| format!("{side}: {found}")))
    .collect();
    assert!(found.is_empty(), "{found:#?}");
}
