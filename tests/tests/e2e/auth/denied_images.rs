//! Private images of registries that no account can be sent to: the refusal says why, and what to do.

use http::{Method, StatusCode};

use crate::support::{
    http_client::{ANY, HttpResponse, basic},
    testbed::ALICE,
    two_registries::{OTHER, TwoRegistries},
};

const PRIVATE: &str = "owner/private";

/// Asserts that a response tells the user of the private image what is known.
fn assert_explains(response: &HttpResponse, method: &Method, is_credential_withheld: bool) {
    assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{response:?}");
    let start =
        format!("docxy: {OTHER} denied anonymous access to {PRIVATE}: it is private, or does not exist");
    let account = if is_credential_withheld { "was not sent" } else { "No account was sent" };
    // containerd prints the error of the challenge.
    let challenge = response.header("www-authenticate");
    assert!(challenge.contains(&format!("error=\"{start}")) && challenge.contains(account), "{challenge}");
    // Or, without a challenge, the status line.
    let reason = response.reason.as_deref().unwrap_or_default();
    assert!(reason.starts_with(&format!("Unauthorized (docxy: {OTHER} denied")), "{reason}");
    if method == Method::GET {
        let (_, code, message) = response.error();
        assert_eq!(code, "DENIED");
        assert!(message.starts_with(&start) && message.contains(account), "{message}");
        assert!(message.contains("Check the name") && !message.contains("docker login"), "{message}");
    } else {
        assert!(response.body.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_image_of_another_registry_is_refused_in_words() {
    let two = TwoRegistries::new().await;
    let engine = two.testbed.engine;
    let scope = format!("scope=repository:{OTHER}/{PRIVATE}:pull");
    let credential = basic(ALICE.0, ALICE.1);
    let form = format!("grant_type=password&username={}&password={}&{scope}", ALICE.0, ALICE.1);
    let token = |response: HttpResponse| response.bearer();
    for (path, realm) in [
        (format!("/v2/{OTHER}/{PRIVATE}/manifests/latest"), "/auth/token".to_owned()),
        (format!("/v2/{PRIVATE}/manifests/latest?ns={OTHER}"), format!("/auth/token/{OTHER}")),
    ] {
        let query = format!("{realm}?service=x&{scope}");
        for (bearer, is_credential_withheld) in [
            (token(engine.get(&query, &[]).await), false),
            (token(engine.get(&query, &[("authorization", &credential)]).await), true),
            (token(engine.post_to(&realm, &form).await), true),
            (credential.clone(), true),
        ] {
            for method in [Method::GET, Method::HEAD] {
                let headers = [("authorization", bearer.as_str()), ANY];
                let response = engine.request(method.clone(), &path, &headers).await;
                assert_explains(&response, &method, is_credential_withheld);
            }
            // Public images need no account.
            let public = path.replace(PRIVATE, "owner/image");
            let response = engine.get(&public, &[("authorization", &bearer), ANY]).await;
            assert_eq!(response.status, StatusCode::OK, "{public} {is_credential_withheld}");
        }
    }
    let log = two.other.request_log().snapshot();
    assert!(log.iter().all(|entry| entry.authorization_scheme() != Some("Basic")), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_to_another_registry_is_refused_in_words() {
    let two = TwoRegistries::new().await;
    let engine = two.testbed.engine;
    let credential = basic(ALICE.0, ALICE.1);
    let realm = format!("/auth/token/{OTHER}");
    let path =
        format!("{realm}?account=alice&service=container_registry&offline_token=true&client_id=docker");
    let form = format!("grant_type=password&username={}&password={}", ALICE.0, ALICE.1);
    for response in
        [engine.get(&path, &[("authorization", &credential)]).await, engine.post_to(&realm, &form).await]
    {
        let (status, code, message) = response.error();
        assert_eq!((status, code.as_str()), (403, "DENIED"));
        assert!(message.contains(OTHER) && message.contains("was not sent"), "{message}");
    }
    assert!(two.other.request_log().snapshot().is_empty());
}
