use super::*;
use crate::settings::{CommonSettings, RepositoryRules, Settings};
use docxy_protocol::patience::Patience;
use std::collections::BTreeMap;
use tokio::net::TcpListener;
use tokio::time::timeout;

/// A fetch that does not end within this time would be a hang.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// The tokens of a registry at this listener's address.
fn tokens(listener: &TcpListener) -> Arc<RegistryTokens> {
    let address = listener.local_addr().unwrap();
    let entry = RegistrySettings {
        name: "r.example".parse().unwrap(),
        api: format!("https://{address}").parse().unwrap(),
        ca: Vec::new(),
        account: None,
        resolve: BTreeMap::new(),
    };
    let settings = Settings {
        layer_cache: None,
        common: CommonSettings::default(),
        fixed_rate_limit: "1 Gbit/s".parse().unwrap(),
        client_max_rate: None,
        stale: false,
        handover: false,
        log: "info".parse().unwrap(),
        admin: Vec::new(),
        log_format: docxy_host::logging::LogFormat::Text,
        log_images: false,
        registries: vec![entry.clone()],
        rules: RepositoryRules::default(),
        resolve: BTreeMap::new(),
        proxy: None,
        tls: None,
    };
    let client = ApiClient::new(&entry, &settings, &rustls::RootCertStore::empty()).unwrap();
    Arc::new(RegistryTokens::new(&entry, Arc::new(client)))
}

fn deadline(patience: Duration) -> RetryDeadline {
    RetryDeadline::starting_at(tokio::time::Instant::now(), Patience::new(patience))
}

#[tokio::test]
async fn a_caller_without_patience_stops_only_its_own_wait_for_v2() {
    // It accepts connections, and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tokens = tokens(&listener);
    assert!(tokens.expected_challenge(None, deadline(Duration::ZERO)).await.is_none());
    assert!(tokens.service(deadline(Duration::ZERO)).await.is_err());
    // The next one fetches, although the others have failed, and waits longer.
    let patient = tokens.expected_challenge(None, deadline(Duration::from_secs(600)));
    let tokens = &tokens;
    let impatient = async move {
        let connection = listener.accept().await.unwrap();
        assert!(tokens.expected_challenge(None, deadline(Duration::ZERO)).await.is_none());
        assert!(tokens.ping_failed_at.lock().is_none(), "no fetch has failed");
        // Now the fetch fails.
        drop((connection, listener));
    };
    let (patient, ()) = timeout(TEST_TIMEOUT, async { tokio::join!(patient, impatient) }).await.unwrap();
    assert!(patient.is_none());
    assert!(tokens.ping_failed_at.lock().is_some(), "a fetch has failed");
}

#[tokio::test]
async fn only_the_registry_itself_names_a_token_service_at_an_exempt_private_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tokens = tokens(&listener);
    let realm = format!("https://{}/token", listener.local_addr().unwrap());
    let bearer = docxy_protocol::challenge::Challenge::bearer(&realm, "s");
    let service = TokenService::of_challenge(&bearer).unwrap();
    let asked_by = |origin| OriginChallenge {
        origin,
        challenge: BearerChallenge { service: service.clone(), scopes: Vec::new() },
    };
    let patient = || deadline(Duration::from_secs(600));
    let stranger = asked_by(url::Url::parse("https://cdn.example").unwrap().origin());
    let refused = timeout(TEST_TIMEOUT, tokens.anonymous_token(&stranger, patient())).await.unwrap();
    let Err(TokenUnavailable::Unusable(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error.fault.kind, FaultKind::RedirectRefused);
    let own = asked_by(tokens.client.origin());
    let deadline = patient();
    let dialed = async {
        tokio::select! {
            answer = tokens.anonymous_token(&own, deadline) => panic!("{answer:?}"),
            connection = listener.accept() => connection.unwrap(),
        }
    };
    timeout(TEST_TIMEOUT, dialed).await.unwrap();
}
