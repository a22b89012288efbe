//! One registry of the operator's list: its address, its token service, the tokens held for it.

use super::answer::{Answer, collect};
use super::follow::{Followed, follow};
use super::guard::Guard;
use super::one_flight::{Fetched, OneFlight};
use super::origin::Origin;
use super::token_cache::TokenCache;
use super::token_service::{NoToken, TokenService, sensitive};
use crate::settings::{Account, RegistrySettings, Settings};
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::limits::DOORSTEP_TIMEOUT;
use docxy_protocol::name::Repository;
use docxy_protocol::request::{Method, Operation, Request};
use docxy_protocol::scope::Scope;
use docxy_protocol::secret::Secret;
use docxy_protocol::token::{Grant, TokenRequest};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rustls::RootCertStore;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use url::Url;

/// How long a registry's word on its token service is believed. It hardly ever changes, and a
/// failure there makes the server ask again at once.
const CHALLENGE_LIFETIME: Duration = Duration::from_secs(3600);

/// How long the operator's account is left alone after it was refused: a password that is wrong is
/// wrong for a while, and asking with it for each manifest would have the account locked.
const REFUSAL_LIFETIME: Duration = Duration::from_secs(60);

/// A registry.
#[derive(Debug)]
pub(super) struct Registry {
    api: Url,
    origin: Origin,
    account: Option<Account>,
    account_refused: Mutex<Option<Instant>>,
    token_service: OneFlight<Option<TokenService>>,
    tokens: TokenCache<(Payer, Option<Repository>)>,
}

/// On whose quota a token's requests go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Payer {
    Anonymous,
    Operator,
}

impl Registry {
    /// # Errors
    /// Where a CA certificate of the settings cannot be used.
    pub(super) fn new(
        entry: &RegistrySettings,
        settings: &Settings,
        roots: &RootCertStore,
    ) -> Result<Self, rustls::Error> {
        let mut roots = roots.clone();
        for certificate in &entry.ca {
            roots.add(certificate.clone())?;
        }
        let named: BTreeSet<(String, u16)> =
            settings.registries.iter().filter_map(|registry| place(&registry.api)).collect();
        let guard = Guard::new(settings.resolve.clone(), named);
        Ok(Self {
            api: entry.api.clone(),
            origin: Origin::new(guard, roots)?,
            account: entry.account.clone(),
            account_refused: Mutex::new(None),
            token_service: OneFlight::default(),
            tokens: TokenCache::new(),
        })
    }

    /// Does one operation.
    ///
    /// # Errors
    /// Where a hop fails; what the registry refuses is an answer.
    pub(super) async fn ask(&self, request: &Request) -> Result<Answer, Fault> {
        let hop = match request.operation {
            Operation::Ping => Hop::Registry,
            Operation::Token(_) => Hop::Auth,
            _ => return self.answer(request).await,
        };
        // Engines give up on these early, so our word on who was slow has to come earlier.
        let in_time = tokio::time::timeout(DOORSTEP_TIMEOUT, self.answer(request)).await;
        in_time.unwrap_or_else(|_| {
            let seconds = DOORSTEP_TIMEOUT.as_secs();
            Err(Fault::new(
                hop,
                FaultKind::TimedOut,
                format!("{} did not answer within {seconds} s", request.registry),
            ))
        })
    }

    async fn answer(&self, request: &Request) -> Result<Answer, Fault> {
        let Followed { hop, response } = match (&request.operation, &request.authorization) {
            (Operation::Token(token), authorization) => {
                let user_agent = request.headers.map().get(header::USER_AGENT);
                self.credentialed_token(token, authorization, user_agent).await?
            }
            (_, Authorization::Public) => self.ask_for_the_public(request).await?,
            (_, authorization) => self.send(request, authorization.header()).await?,
        };
        Answer::of(hop, &request.operation, response).await
    }

    /// An engine's own credential, passed on to the token service for its own verdict.
    async fn credentialed_token(
        &self,
        token: &TokenRequest,
        authorization: &Authorization,
        user_agent: Option<&HeaderValue>,
    ) -> Result<Followed, Fault> {
        let service = match self.token_service().await {
            Ok(Some(service)) => service,
            Ok(None) => {
                let detail = "has no token service: it wants no token";
                return Err(Fault::new(Hop::Registry, FaultKind::BadAnswer, detail));
            }
            Err(no_token) => return no_token.into_answer(),
        };
        match service.ask(&self.origin, token, authorization.header(), user_agent).await {
            Ok(response) => Ok(Followed { hop: Hop::Auth, response }),
            Err(fault) => {
                self.token_service_failed(&service).await;
                Err(fault)
            }
        }
    }

    /// On behalf of those who showed no credential: with a token that nobody in particular gets.
    ///
    /// The operator's account pays for manifests, where there is one, but it never authorises:
    /// it is used only for what the registry has just shown to be open to everybody.
    async fn ask_for_the_public(&self, request: &Request) -> Result<Followed, Fault> {
        let is_manifest = matches!(request.operation, Operation::Manifest { method: Method::Get, .. });
        if is_manifest && self.operator_may_pay() {
            let head = self.send_with_token(&head_of(request), Payer::Anonymous).await?;
            if head.hop == Hop::Auth {
                // No token is to be had now, so neither is anything else.
                return Ok(head);
            }
            let status = head.response.status();
            let open = status.is_success() || status == StatusCode::NOT_MODIFIED;
            if open && self.operator_can_pay(request).await {
                return self.send_with_token(request, Payer::Operator).await;
            }
        }
        self.send_with_token(request, Payer::Anonymous).await
    }

    /// Whether there is an account, and none that was refused a moment ago.
    fn operator_may_pay(&self) -> bool {
        let refused = self.lock_refused().is_some_and(|since| since.elapsed() < REFUSAL_LIFETIME);
        self.account.is_some() && !refused
    }

    /// A token service that doesn't know the operator, or not now, must not stop those who can do
    /// without.
    async fn operator_can_pay(&self, request: &Request) -> bool {
        let key = (Payer::Operator, request.operation.repository().cloned());
        let why = match self.token(&key).await {
            Ok(Some(_)) => return true,
            Ok(None) => "refused; check user and password".to_owned(),
            Err(NoToken::Limited(_)) => "the token service answers 429".to_owned(),
            Err(NoToken::Fault(fault)) => fault.to_string(),
        };
        tracing::warn!(%why, "the operator's account cannot pay; asking anonymously");
        *self.lock_refused() = Some(Instant::now());
        false
    }

    fn lock_refused(&self) -> MutexGuard<'_, Option<Instant>> {
        self.account_refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends with the token held for this repository, and once more with a fresh one if the
    /// registry doesn't take it: it may have expired early.
    async fn send_with_token(&self, request: &Request, payer: Payer) -> Result<Followed, Fault> {
        let key = (payer, request.operation.repository().cloned());
        let token = match self.token(&key).await {
            Ok(Some(token)) => token,
            Ok(None) => return self.send(request, None).await,
            Err(no_token) => return no_token.into_answer(),
        };
        let answer = self.send(request, Some(bearer(&token))).await?;
        if answer.response.status() != StatusCode::UNAUTHORIZED || answer.hop != Hop::Registry {
            return Ok(answer);
        }
        self.tokens.forget(&key, &token).await;
        match self.token(&key).await {
            Ok(Some(fresh)) if fresh != token => self.send(request, Some(bearer(&fresh))).await,
            Ok(_) => Ok(answer),
            Err(no_token) => no_token.into_answer(),
        }
    }

    async fn token(&self, key: &(Payer, Option<Repository>)) -> Result<Option<Secret>, NoToken> {
        let Some(service) = self.token_service().await? else {
            return Ok(None);
        };
        let (payer, repository) = key;
        let request = TokenRequest {
            scopes: repository.iter().cloned().map(Scope::pull).collect(),
            client_id: None,
            offline: false,
            grant: Grant::Get { account: None },
        };
        let account = match payer {
            Payer::Anonymous => None,
            Payer::Operator => self.account.as_ref().map(|a| (a.user.as_str(), &a.password)),
        };
        let token = self.tokens.get(key, || service.token(&self.origin, &request, account)).await;
        if matches!(token, Err(NoToken::Fault(_))) {
            self.token_service_failed(&service).await;
        }
        token
    }

    /// Where the registry says that tokens come from; asked for once, by whoever comes first.
    async fn token_service(&self) -> Result<Option<TokenService>, NoToken> {
        let fetch = || async {
            let ping = follow(&self.origin, &http::Method::GET, self.url("/v2/")?, HeaderMap::new());
            let Followed { hop, response } = ping.await?;
            let status = response.status();
            if status == StatusCode::TOO_MANY_REQUESTS {
                return Err(NoToken::Limited(response));
            }
            let value = TokenService::of_challenge(response.headers());
            // Read to the end, so that the connection can serve the next request.
            collect(hop, response.into_body()).await?;
            if !(status.is_success() || status == StatusCode::UNAUTHORIZED) {
                return Err(Fault::new(hop, FaultKind::BadAnswer, format!("answers {status} on /v2/")).into());
            }
            Ok(Fetched { value, lifetime: CHALLENGE_LIFETIME })
        };
        self.token_service.get(fetch).await
    }

    /// Perhaps it has moved: whoever comes next asks the registry where it is.
    async fn token_service_failed(&self, failed: &TokenService) {
        self.token_service.forget(|known| known.as_ref() == Some(failed)).await;
    }

    async fn send(&self, request: &Request, authorization: Option<Secret>) -> Result<Followed, Fault> {
        let path = request.operation.path().ok_or_else(|| {
            Fault::new(Hop::Server, FaultKind::Internal, "a token request has no path on the registry")
        })?;
        let mut headers = request.headers.map().clone();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, sensitive(&value)?);
        }
        let method = match request.operation.method() {
            Method::Get => http::Method::GET,
            Method::Head => http::Method::HEAD,
        };
        follow(&self.origin, &method, self.url(&path)?, headers).await
    }

    fn url(&self, path: &str) -> Result<Url, Fault> {
        // Typed names are safe in a path, so this can only fail by a bug.
        self.api.join(path).map_err(|error| Fault::new(Hop::Server, FaultKind::Internal, error))
    }
}

/// The host and port that a URL names.
fn place(url: &Url) -> Option<(String, u16)> {
    Some((url.host_str()?.trim_matches(['[', ']']).to_owned(), url.port_or_known_default()?))
}

fn bearer(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.expose()))
}

/// The same request without its content, to see what everybody may see.
fn head_of(request: &Request) -> Request {
    let mut head = request.clone();
    if let Operation::Manifest { method, .. } = &mut head.operation {
        *method = Method::Head;
    }
    head
}
