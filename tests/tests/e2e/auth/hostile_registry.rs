//! A hostile registry on the server's list tries to get a user's Docker Hub token: its challenges name Docker Hub's
//! realm, service and repositories. The engine has a Docker Hub account and does what challenges say.

use http::{Method, StatusCode};
use hub_stand_in::{Hub, LoggedRequest, Site, TokenError};
use serde_json::Value;

use crate::support::{
    http_client::{ANY, HttpClient, HttpResponse, basic},
    testbed::{ALICE, restart_client},
    two_registries::TwoRegistries,
};

const EVIL: &str = "evil.example";

/// The repository that the engine pulls from. Only Alice may; she has an account with the same password there, so that
/// a leaked password would succeed.
const REPOSITORY: &str = "owner/private";

/// How an engine sends its credentials to a realm.
#[derive(Clone, Copy, Debug)]
enum Proof {
    /// `GET`, as docker and podman do.
    Basic,
    /// `POST`, as containerd does.
    Password,
    /// `POST`, as docker does after a login.
    IdentityToken,
}

const PROOFS: [Proof; 3] = [Proof::Basic, Proof::Password, Proof::IdentityToken];

/// An engine with Alice's credentials for Docker Hub.
struct Victim {
    engine: HttpClient,
    identity_token: String,
}

impl Victim {
    async fn of(two: &TwoRegistries) -> Self {
        let engine = two.testbed.engine;
        let path = "/auth/token?account=alice&client_id=docker&offline_token=true&service=registry.docker.io";
        let login = engine.get(path, &[("authorization", &basic(ALICE.0, ALICE.1))]).await.json();
        let identity_token = login["refresh_token"].as_str().unwrap().to_owned();
        two.testbed.hub.request_log().clear();
        Self { engine, identity_token }
    }

    /// Requests a token at this path of the client. `None` if the client refuses a login.
    async fn token(&self, path: &str, service: &str, scopes: &[String], proof: Proof) -> Option<String> {
        let mut fields = format!("service={service}");
        let scopes: Vec<_> = scopes.iter().map(|scope| scope.replace(',', "%2C")).collect();
        let response = match proof {
            Proof::Basic => {
                scopes.iter().for_each(|scope| fields += &format!("&scope={scope}"));
                let path = format!("{path}?account={}&{fields}", ALICE.0);
                self.engine.get(&path, &[("authorization", &basic(ALICE.0, ALICE.1))]).await
            }
            Proof::Password => {
                let account = format!("username={}&password={}", ALICE.0, ALICE.1);
                fields = format!("grant_type=password&access_type=offline&{account}&{fields}");
                self.engine.post_to(path, &format!("{fields}&scope={}", scopes.join("+"))).await
            }
            Proof::IdentityToken => {
                fields = format!("grant_type=refresh_token&refresh_token={}&{fields}", self.identity_token);
                self.engine.post_to(path, &format!("{fields}&scope={}", scopes.join("+"))).await
            }
        };
        if scopes.is_empty() && response.status == StatusCode::FORBIDDEN {
            return None;
        }
        assert_eq!(response.status, StatusCode::OK, "{response:?}");
        let response = response.json();
        let token = response.get("token").or(response.get("access_token")).and_then(Value::as_str);
        Some(format!("Bearer {}", token.unwrap()))
    }

    /// Requests a token as a challenge says: from its realm, for its service and its scopes.
    async fn follow(&self, challenge: &str, proof: Proof) -> Option<String> {
        let realm = parameter(challenge, "realm").unwrap();
        let path = realm.strip_prefix(&format!("http://{}", self.engine.address())).unwrap();
        let scope = parameter(challenge, "scope").unwrap_or_default();
        let scopes: Vec<_> = scope.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
        let service = parameter(challenge, "service").unwrap_or_default();
        self.token(path, &service, &scopes, proof).await
    }
}

/// A parameter's value, as a simple parser reads it.
fn parameter(challenge: &str, name: &str) -> Option<String> {
    let (_, rest) = challenge.split_once(&format!("{name}=\""))?;
    Some(rest.split_once('"')?.0.to_owned())
}

fn challenges(response: &HttpResponse) -> Vec<String> {
    let lines = response.headers.get_all("www-authenticate").iter();
    lines.map(|line| line.to_str().unwrap().to_owned()).collect()
}

/// The first challenge that asks for a token.
fn bearer(response: &HttpResponse) -> Option<String> {
    challenges(response).into_iter().find(|line| line.to_lowercase().starts_with("bearer "))
}

/// Challenges of a hostile registry. `HERE` stands for the client's address.
const HOSTILE: [&[&str]; 10] = [
    &[
        r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:alice/private:pull,push""#,
    ],
    &[
        r#"Bearer realm="http://HERE/auth/token",service="registry.docker.io",scope="repository:alice/private:pull,push""#,
    ],
    &[
        r#"bearer REALM="http://HERE/auth/token/docker.io", Service=registry.docker.io, SCOPE="repository:alice/private:*""#,
    ],
    &[
        r#"Bearer realm="x",realm="http://HERE/auth/token",scope="repository:owner/private:pull",scope="repository:alice/private:pull""#,
    ],
    &[
        r#"Bearer realm="x",service="registry.docker.io",scope="repository:owner/private:pull repository:alice/private:pull,push repository(plugin):alice/private:push registry:catalog:*""#,
    ],
    &[
        r#"Basic realm="http://HERE/auth/token""#,
        r#"Bearer realm="x",scope="repository:alice/private:pull""#,
        r#"Bearer realm="http://HERE/auth/token",service="registry.docker.io",scope="repository:alice/private:pull""#,
    ],
    &[
        r#"Basic realm="a", Bearer realm="http://HERE/auth/token",scope="repository:alice/private:pull", Bearer realm="http://HERE/auth/token""#,
    ],
    &[
        r#"Bearer realm="http://HERE/auth/token",scope="repository:docker.io/alice/private:pull",error="insufficient_scope""#,
    ],
    &[
        r#"Bearer scope="repository:alice/private:pull",service="registry.docker.io",realm=http://HERE/auth/token"#,
    ],
    &[
        r#"Bearer realm="http://HERE/auth/token"#,
        r#"Bearer; realm="http://HERE/auth/token""#,
        r#"Basic realm="x\", Bearer realm=\"http://HERE/auth/token\"""#,
        r#"Bearer realm="http://HERE/auth/token",scope="REPOSITORY:alice/private:pull repository:alice/private:push""#,
    ],
];

/// Makes the hostile registry refuse requests whose path contains `part` with these lines.
fn answer_with(two: &TwoRegistries, part: &str, lines: &[&str]) {
    let here = two.testbed.engine.address().to_string();
    let lines: Vec<_> = lines.iter().map(|line| line.replace("HERE", &here)).collect();
    two.other.challenge_with(part, &lines.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Asserts that every challenge points to the hostile registry's own realm, and that its scopes allow pulling from
/// the repository `name` at most.
fn assert_harmless(engine: &HttpClient, response: &HttpResponse, name: Option<&str>) {
    assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{response:?}");
    assert!(bearer(response).is_some(), "{response:?}");
    for line in &challenges(response) {
        let realm = format!("http://{}/auth/token/{EVIL}", engine.address());
        let found = parameter(line, "realm").unwrap();
        let is_title = line.starts_with("Basic ") && found == "a";
        assert!(found == realm || is_title, "{line}");
        assert_eq!(line.matches("http://").count(), usize::from(!is_title), "{line}");
        assert!(!line.contains("alice") && !line.contains("push") && !line.contains('*'), "{line}");
        let scope = parameter(line, "scope");
        let expected = name.map(|name| format!("repository:{name}:pull"));
        let plugin = name.map(|name| format!("repository(plugin):{name}:pull"));
        for scope in scope.iter().flat_map(|scope| scope.split(' ')) {
            let scope = Some(scope.to_owned());
            assert!(scope == expected || scope == plugin, "{line}");
        }
    }
}

/// Asserts that the hostile registry received no Docker Hub credential, and Docker Hub's token service no request.
fn assert_nothing_leaked(two: &TwoRegistries, victim: &Victim) {
    let mut secrets = vec![ALICE.1.to_owned(), victim.identity_token.clone()];
    secrets.push(basic(ALICE.0, ALICE.1).split_off("Basic ".len()));
    let seen = two.other.request_log().snapshot();
    assert!(!seen.is_empty());
    for entry in &seen {
        let text = format!("{entry:?}");
        assert!(!secrets.iter().any(|secret| text.contains(secret)), "{entry:#?}");
        assert!(!shows_token_of(&two.testbed.hub, entry), "{entry:#?}");
        assert_ne!(entry.authorization_scheme(), Some("Basic"), "{entry:#?}");
    }
    let requests = two.testbed.hub.request_log().of(Site::Auth);
    assert!(requests.is_empty(), "{requests:#?}");
}

fn shows_token_of(hub: &Hub, entry: &LoggedRequest) -> bool {
    let token = entry.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    token.is_some_and(|token| hub.tokens().verify(token) != Err(TokenError::Forged))
}

/// Requests to the hostile registry: path, repository as the engine spells it, method.
fn requests() -> Vec<(String, String, Method)> {
    let by_path = format!("{EVIL}/{REPOSITORY}");
    let mut all = Vec::new();
    for (prefix, name, query) in
        [(REPOSITORY, REPOSITORY, format!("?ns={EVIL}")), (&by_path, &by_path, String::new())]
    {
        for (rest, method) in [
            ("manifests/latest", Method::HEAD),
            ("manifests/latest", Method::GET),
            ("tags/list", Method::GET),
        ] {
            all.push((format!("/v2/{prefix}/{rest}{query}"), name.to_owned(), method));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_follows_a_hostile_challenge_leaks_no_docker_hub_credential() {
    let two = TwoRegistries::named(EVIL).await;
    let victim = Victim::of(&two).await;
    for lines in HOSTILE {
        answer_with(&two, REPOSITORY, lines);
        for (path, _, method) in requests() {
            for proof in PROOFS {
                let ask = async |token: &str| {
                    let mut headers = vec![ANY];
                    headers.extend((!token.is_empty()).then_some(("authorization", token)));
                    victim.engine.request(method.clone(), &path, &headers).await
                };
                let mut response = ask("").await;
                // The first challenge may come from the client's memory; the second comes from the registry.
                for _ in 0..2 {
                    let Some(challenge) = bearer(&response) else { break };
                    let Some(token) = victim.follow(&challenge, proof).await else { break };
                    response = ask(&token).await;
                }
            }
        }
    }
    assert_nothing_leaked(&two, &victim);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_challenge_is_confined_to_its_own_realm_and_the_requested_repository() {
    let two = TwoRegistries::named(EVIL).await;
    let engine = two.testbed.engine;
    for lines in HOSTILE {
        answer_with(&two, REPOSITORY, lines);
        for (path, name, method) in requests() {
            let response = engine.request(method.clone(), &path, &[ANY]).await;
            assert_harmless(&engine, &response, Some(&name));
            let token = engine.get(&format!("/auth/token/{EVIL}"), &[]).await.bearer();
            let response = engine.request(method, &path, &[("authorization", &token), ANY]).await;
            assert_harmless(&engine, &response, Some(&name));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_hostile_challenge_is_confined_as_well_also_after_a_restart() {
    let mut two = TwoRegistries::named(EVIL).await;
    let victim = Victim::of(&two).await;
    let engine = victim.engine;
    // This one names the requested repository, so it is remembered and repeated for all repositories.
    answer_with(&two, "alice/private", HOSTILE[1]);
    let learned = engine.get(&format!("/v2/alice/private/tags/list?ns={EVIL}"), &[]).await;
    assert_eq!(parameter(&challenges(&learned)[0], "scope").unwrap(), "repository:alice/private:pull");
    answer_with(&two, "/v2/", HOSTILE[1]);
    engine.get(&format!("/v2/?ns={EVIL}"), &[]).await;
    let pings_before = two.other.request_log().count(|entry| entry.line() == "GET /v2/");
    for restarted in [false, true] {
        if restarted {
            restart_client(&mut two.testbed.client);
        }
        for (path, name, method) in requests() {
            let response = engine.request(method, &path, &[ANY]).await;
            assert_harmless(&engine, &response, Some(&name));
        }
        assert_harmless(&engine, &engine.get(&format!("/v2/?ns={EVIL}"), &[]).await, None);
        assert_eq!(
            two.other.request_log().count(|entry| entry.line() == "GET /v2/"),
            pings_before,
            "it was not remembered"
        );
    }
    assert_nothing_leaked(&two, &victim);
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_hubs_realm_gives_the_public_token_for_a_scope_of_another_registry() {
    let two = TwoRegistries::named(EVIL).await;
    let victim = Victim::of(&two).await;
    let own = format!("repository:{EVIL}/{REPOSITORY}:pull");
    let path = format!("/v2/{EVIL}/{REPOSITORY}/manifests/latest");
    let insufficient = r#"Bearer realm="x",scope="repository:alice/private:pull",error="insufficient_scope""#;
    answer_with(&two, REPOSITORY, &[insufficient]);
    for proof in PROOFS {
        let token = victim
            .token("/auth/token", "registry.docker.io", std::slice::from_ref(&own), proof)
            .await
            .unwrap();
        let refusal = victim.engine.get(&path, &[("authorization", &token), ANY]).await;
        assert_harmless(&victim.engine, &refusal, Some(&format!("{EVIL}/{REPOSITORY}")));
        let challenge = challenges(&refusal).remove(0);
        // Its user reads why.
        assert!(challenge.contains(&format!(",error=\"docxy: {EVIL} denied")), "{challenge}");
        // podman asks once more with the challenge's scope in addition. Also try the registry's unchanged scope.
        let planted = "repository:alice/private:pull".to_owned();
        for further in [parameter(&challenge, "scope").unwrap(), planted] {
            for scopes in [[own.clone(), further.clone()], [further.clone(), own.clone()]] {
                let token = victim.token("/auth/token", "registry.docker.io", &scopes, proof).await.unwrap();
                victim.engine.get(&path, &[("authorization", &token), ANY]).await;
            }
        }
    }
    assert_nothing_leaked(&two, &victim);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_names_docker_hubs_token_service_gets_no_token_from_it() {
    for realm in ["https://auth.docker.io/token", "https://AUTH.docker.io./token"] {
        let two = TwoRegistries::named(EVIL).await;
        let victim = Victim::of(&two).await;
        let line = HOSTILE[0][0].replace("https://auth.docker.io/token", realm);
        answer_with(&two, "/v2/", &[&line]);
        let scopes = [format!("repository:{REPOSITORY}:pull")];
        for (path, _, method) in requests() {
            let realm = format!("/auth/token/{EVIL}");
            let token = victim.token(&realm, "", &scopes, Proof::Basic).await.unwrap();
            victim.engine.request(method, &path, &[("authorization", &token), ANY]).await;
        }
        assert_nothing_leaked(&two, &victim);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_a_request_to_another_registry_is_not_sent_there() {
    let two = TwoRegistries::named(EVIL).await;
    let victim = Victim::of(&two).await;
    for (path, _, method) in requests() {
        let credential = basic(ALICE.0, ALICE.1);
        let response = victim.engine.request(method, &path, &[("authorization", &credential), ANY]).await;
        assert_eq!(response.status, StatusCode::UNAUTHORIZED);
    }
    assert_nothing_leaked(&two, &victim);
}
