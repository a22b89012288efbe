//! A token that a registry no longer accepts: renewed once for each request, whatever status says so.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::StatusCode;

use crate::support::{
    http_client::HttpResponse,
    scripted_registry::{CDN, ScriptedRegistry},
    token_registry::{TokenRegistry, json, manifest, token, unauthorized},
};

/// A registry whose tokens are numbered, and which refuses those that are revoked with this status.
struct Revoking {
    registry: TokenRegistry,
    issued: Arc<AtomicUsize>,
    revoked: Arc<AtomicUsize>,
}

impl Revoking {
    async fn new(status: &'static str) -> Self {
        let (issued, revoked) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counters = (Arc::clone(&issued), Arc::clone(&revoked));
        let registry = TokenRegistry::new(move |request| match request.path.as_str() {
            "/v2/" => unauthorized(&format!("Bearer realm=\"https://{CDN}/token\",service=\"s\"")),
            "/token" => token(&format!("t{}", counters.0.fetch_add(1, Ordering::SeqCst))),
            path => {
                let number = request.authorization.strip_prefix("Bearer t").and_then(|n| n.parse().ok());
                let is_valid = number.is_some_and(|n: usize| n >= counters.1.load(Ordering::SeqCst));
                match is_valid {
                    false => json(status, r#"{"errors":[{"code":"DENIED","message":"stale"}]}"#),
                    true if path.contains("/blobs/") => json("200 OK", "data"),
                    true => manifest(),
                }
            }
        })
        .await;
        Self { registry, issued, revoked }
    }

    fn revoke_all(&self) {
        self.revoked.store(self.issued.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    async fn blob(&self) -> HttpResponse {
        self.registry.get(&ScriptedRegistry::blob("owner/image")).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_token_is_renewed_whatever_the_registry_answers_to_it() {
    for status in ["400 Bad Request", "401 Unauthorized", "403 Forbidden"] {
        let revoking = Revoking::new(status).await;
        assert_eq!(revoking.blob().await.status, StatusCode::OK, "{status}");
        revoking.revoke_all();
        revoking.registry.take();
        let blob = revoking.blob().await;
        assert_eq!((blob.status, blob.body.as_slice()), (StatusCode::OK, &b"data"[..]), "{status}");
        let sent: Vec<_> =
            revoking.registry.take().into_iter().map(|request| request.authorization).collect();
        assert_eq!(sent, ["Bearer t0", "", "Bearer t1"], "{status}");
        revoking.revoke_all();
        assert_eq!(revoking.registry.pull("one").await.status, StatusCode::OK, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_is_about_the_content_costs_one_more_request_and_is_passed_on() {
    for (status, code) in [("400 Bad Request", 400), ("401 Unauthorized", 401), ("403 Forbidden", 403)] {
        let revoking = Revoking::new(status).await;
        revoking.revoked.store(usize::MAX, Ordering::SeqCst);
        // The first token was fetched for this request, so it is not stale.
        for expected in [vec!["Bearer t0"], vec!["Bearer t0", "Bearer t1"], vec!["Bearer t1", "Bearer t2"]] {
            revoking.registry.take();
            let refused = revoking.blob().await;
            assert_eq!(refused.status, code, "{status}");
            let (_, _, message) = refused.error();
            assert!(message.contains("stale"), "{message}");
            let received = revoking.registry.take();
            let sent: Vec<_> = received
                .iter()
                .filter(|request| request.is_for_content())
                .map(|request| request.authorization.as_str())
                .collect();
            assert_eq!(sent, expected, "{status}");
        }
    }
}
