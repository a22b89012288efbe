//! One registry of the operator's list: its address, its token service, the tokens held for it.

use super::answer::Answer;
use super::blob_source::BlobSource;
use super::body::collect;
use super::follow::{Followed, follow};
use super::guard::Guard;
use super::one_flight::{Fetched, OneFlight};
use super::origin::Origin;
use super::retry::{Budget, Chance, Patience, asked_to_wait, is_passing};
use super::token_cache::TokenCache;
use super::token_service::{NoToken, Token, TokenService, sensitive};
use crate::settings::{Account, RegistrySettings, Settings};
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::limits::{DOORSTEP_TIMEOUT, MAX_MANIFEST};
use docxy_protocol::name::Repository;
use docxy_protocol::request::{Method, Operation, Request};
use docxy_protocol::scope::Scope;
use docxy_protocol::secret::Secret;
use docxy_protocol::token::{Grant, TokenRequest};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::body::Body as _;
use rustls::RootCertStore;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use url::Url;

/// How long a registry's word on its token service is believed. It hardly ever changes, and a
/// failure there makes the server ask again at once.
const CHALLENGE_LIFETIME: Duration = Duration::from_secs(3600);

/// How long the operator's account is left alone after it was refused: a password that is wrong is
/// wrong for a while, and asking with it for each manifest would have the account locked.
const REFUSAL_LIFETIME: Duration = Duration::from_secs(60);

/// How long after its last request a registry counts as in use: one pull is followed by another, or
/// by none for hours.
const IN_USE: Duration = Duration::from_secs(600);

/// KiB of manifests that may be read at a time: they are read whole before a byte is passed on.
const READ_AT_A_TIME: usize = 32 * 1024;

/// A registry.
#[derive(Debug)]
pub(super) struct Registry {
    api: Url,
    origin: Origin,
    account: Option<Account>,
    account_refused: Mutex<Option<Instant>>,
    token_service: OneFlight<Option<TokenService>>,
    tokens: TokenCache<(Payer, Option<Repository>)>,
    used: Mutex<Option<Instant>>,
    reading: Semaphore,
    chance: Chance,
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
        chance: Chance,
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
            used: Mutex::new(None),
            reading: Semaphore::new(READ_AT_A_TIME),
            chance,
        })
    }

    /// Does one operation.
    ///
    /// # Errors
    /// Where a hop fails; what the registry refuses is an answer.
    pub(super) async fn ask(self: &Arc<Self>, request: &Request) -> Result<Answer, Fault> {
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

    async fn answer(self: &Arc<Self>, request: &Request) -> Result<Answer, Fault> {
        let patience = Patience::from(tokio::time::Instant::now());
        let Followed { hop, response } = self.exchange(request, patience).await?;
        let rest = matches!(request.operation, Operation::Blob { method: Method::Get, .. })
            .then(|| BlobSource::new(Arc::clone(self), request.clone()));
        Answer::of(hop, &request.operation, response, rest).await
    }

    /// Does one operation for somebody who asks again by themselves.
    ///
    /// # Errors
    /// Where a hop fails; what the registry refuses is an answer.
    pub(super) async fn ask_once(&self, request: &Request) -> Result<Followed, Fault> {
        self.exchange(request, Patience::none(tokio::time::Instant::now())).await
    }

    /// A random number from 0 to 1.
    pub(super) fn chance(&self) -> f64 {
        (self.chance)()
    }

    /// For an operator who wants to know: where the API is, and which host its tokens come from.
    ///
    /// # Errors
    /// Where the registry cannot be asked, or its limit is reached.
    pub(super) async fn check_challenge(&self) -> Result<(String, Option<String>), Fault> {
        let patience = Patience::none(tokio::time::Instant::now());
        let service = self.token_service(patience).await.map_err(|why| why.into_fault(Hop::Registry))?;
        let api = self.api.as_str().trim_end_matches('/').to_owned();
        Ok((api, service.map(|service| service.host())))
    }

    /// The same of the token service: to whom it grants tokens, in words.
    ///
    /// # Errors
    /// Where it cannot be asked, or refuses.
    pub(super) async fn check_tokens(&self, repository: Option<Repository>) -> Result<String, Fault> {
        let patience = Patience::none(tokio::time::Instant::now());
        let refused = |who: &str| Fault::new(Hop::Auth, FaultKind::BadAnswer, format!("refuses {who}"));
        let ask = async |payer, who: &str| {
            let token = self.token(&(payer, repository.clone()), patience).await;
            token.map_err(|why| why.into_fault(Hop::Auth))?.ok_or_else(|| refused(who))
        };
        ask(Payer::Anonymous, "anonymous users").await?;
        let Some(account) = &self.account else { return Ok("everybody".to_owned()) };
        ask(Payer::Operator, &format!("the account {}: check user and password", account.user)).await?;
        Ok(format!("everybody and to the account {}", account.user))
    }

    /// Asks each host of which a connection may be about to end for nothing in particular, and renews
    /// the tokens in use that soon will. Does nothing while nobody pulls.
    pub(super) async fn keep_warm(&self) {
        let idle = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.is_none_or(|since| since.elapsed() > IN_USE) {
            return;
        }
        let patience = Patience::none(tokio::time::Instant::now());
        for key in self.tokens.used_late() {
            self.tokens.renew(&key, || self.fetch_token(&key, patience)).await;
        }
        let auth = self.token_service(patience).await.ok().flatten().and_then(|service| service.root());
        let registry = self.url("/v2/").ok();
        for (hop, url) in [(Hop::Registry, registry), (Hop::Auth, auth), (Hop::Cdn, self.origin.last_cdn())] {
            let Some(url) = url else { continue };
            let mut request = http::Request::new(http_body_util::Full::default());
            *request.method_mut() = http::Method::HEAD;
            // Whatever it says: the connection is what counts.
            if let Err(fault) = self.origin.send(hop, &url, request, DOORSTEP_TIMEOUT).await {
                tracing::debug!(%fault, "keeping warm");
            }
        }
    }

    async fn exchange(&self, request: &Request, patience: Patience) -> Result<Followed, Fault> {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        match (&request.operation, &request.authorization) {
            (Operation::Token(token), authorization) => {
                let user_agent = request.headers.map().get(header::USER_AGENT);
                self.credentialed_token(token, authorization, user_agent, patience).await
            }
            (_, Authorization::Public) => self.ask_for_the_public(request, patience).await,
            (_, authorization) => self.send(request, authorization.header(), patience).await,
        }
    }

    /// An engine's own credential, passed on to the token service for its own verdict.
    async fn credentialed_token(
        &self,
        token: &TokenRequest,
        authorization: &Authorization,
        user_agent: Option<&HeaderValue>,
        patience: Patience,
    ) -> Result<Followed, Fault> {
        let service = match self.token_service(patience).await {
            Ok(Some(service)) => service,
            Ok(None) => {
                let detail = "has no token service: it wants no token";
                return Err(Fault::new(Hop::Registry, FaultKind::BadAnswer, detail));
            }
            Err(no_token) => return no_token.into_answer(),
        };
        let ask = || service.ask(&self.origin, token, authorization.header(), user_agent);
        let answer = self.patiently(patience, false, ask).await;
        if answer.is_err() {
            self.token_service_failed(&service).await;
        }
        answer
    }

    /// Asks, and asks again while the failure is one that may pass. What is asked for only reads,
    /// or is a token, so twice does no harm; but a manifest is paid for each time.
    async fn patiently<F>(
        &self,
        mut patience: Patience,
        blob: bool,
        ask: impl Fn() -> F,
    ) -> Result<Followed, Fault>
    where
        F: Future<Output = Result<Followed, Fault>>,
    {
        let mut budget = Budget::default();
        loop {
            let began = tokio::time::Instant::now();
            let answer = ask().await;
            let (why, asked) = match &answer {
                Ok(Followed { hop, response }) if is_passing(*hop, response.status(), blob) => {
                    (format!("{hop} answers {}", response.status()), asked_to_wait(response.headers()))
                }
                Err(fault) if fault.kind == FaultKind::Unreachable => (fault.to_string(), None),
                Err(fault) if fault.kind == FaultKind::Truncated => {
                    patience = patience.but_for(began.elapsed());
                    (fault.to_string(), None)
                }
                _ => return answer,
            };
            let now = tokio::time::Instant::now();
            let Some(wait) = patience.wait(&mut budget, now, self.chance(), asked) else { return answer };
            // Closes its connection, if it is one.
            drop(answer);
            tracing::info!(%why, wait_ms = wait.as_millis(), "asking again");
            tokio::time::sleep(wait).await;
        }
    }

    /// On behalf of those who showed no credential: with a token that nobody in particular gets.
    async fn ask_for_the_public(&self, request: &Request, patience: Patience) -> Result<Followed, Fault> {
        if matches!(request.operation, Operation::Manifest { method: Method::Get, .. }) {
            self.manifest(request, false, patience).await
        } else {
            self.send_with_token(request, Payer::Anonymous, patience).await
        }
    }

    /// What everybody may see of a manifest, by `HEAD`.
    ///
    /// # Errors
    /// Where a hop fails; what the registry refuses is an answer.
    pub(super) async fn look(&self, request: &Request, patience: Patience) -> Result<Followed, Fault> {
        self.send_with_token(&head_of(request), Payer::Anonymous, patience).await
    }

    /// A manifest for everybody; `shown` if a look has just succeeded.
    ///
    /// The operator's account pays for it, where there is one, but it never authorises: it is used
    /// only for what the registry has just shown to be open to everybody.
    ///
    /// # Errors
    /// Where a hop fails; what the registry refuses is an answer.
    pub(super) async fn manifest(
        &self,
        request: &Request,
        shown: bool,
        patience: Patience,
    ) -> Result<Followed, Fault> {
        if self.operator_may_pay() {
            let mut open = shown;
            if !shown {
                let head = self.look(request, patience).await?;
                if head.hop == Hop::Auth {
                    // No token is to be had now, so neither is anything else.
                    return Ok(head);
                }
                let status = head.response.status();
                open = status.is_success() || status == StatusCode::NOT_MODIFIED;
            }
            if open && self.operator_can_pay(request, patience).await {
                return self.send_with_token(request, Payer::Operator, patience).await;
            }
        }
        self.send_with_token(request, Payer::Anonymous, patience).await
    }

    /// Whether there is an account, and none that was refused a moment ago.
    pub(super) fn operator_may_pay(&self) -> bool {
        let refused = self.lock_refused().is_some_and(|since| since.elapsed() < REFUSAL_LIFETIME);
        self.account.is_some() && !refused
    }

    /// A token service that doesn't know the operator, or not now, must not stop those who can do
    /// without.
    async fn operator_can_pay(&self, request: &Request, patience: Patience) -> bool {
        let key = (Payer::Operator, request.operation.repository().cloned());
        let why = match self.token(&key, patience).await {
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
    async fn send_with_token(
        &self,
        request: &Request,
        payer: Payer,
        patience: Patience,
    ) -> Result<Followed, Fault> {
        let key = (payer, request.operation.repository().cloned());
        let token = match self.token(&key, patience).await {
            Ok(Some(token)) => token,
            Ok(None) => return self.send(request, None, patience).await,
            Err(no_token) => return no_token.into_answer(),
        };
        let answer = self.send(request, Some(bearer(&token)), patience).await?;
        if answer.response.status() != StatusCode::UNAUTHORIZED || answer.hop != Hop::Registry {
            return Ok(answer);
        }
        self.tokens.forget(&key, &token).await;
        match self.token(&key, patience).await {
            Ok(Some(fresh)) if fresh != token => self.send(request, Some(bearer(&fresh)), patience).await,
            Ok(_) => Ok(answer),
            Err(no_token) => no_token.into_answer(),
        }
    }

    async fn token(
        &self,
        key: &(Payer, Option<Repository>),
        patience: Patience,
    ) -> Result<Option<Secret>, NoToken> {
        self.tokens.get(key, || self.fetch_token(key, patience)).await
    }

    async fn fetch_token(
        &self,
        key: &(Payer, Option<Repository>),
        patience: Patience,
    ) -> Result<Option<Token>, NoToken> {
        let Some(service) = self.token_service(patience).await? else {
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
        let ask = || service.ask_for_ourselves(&self.origin, &request, account);
        let token = match self.patiently(patience, false, ask).await {
            Ok(answer) => Token::of(answer).await,
            Err(fault) => Err(fault.into()),
        };
        if matches!(token, Err(NoToken::Fault(_))) {
            self.token_service_failed(&service).await;
        }
        token
    }

    /// Where the registry says that tokens come from; asked for once, by whoever comes first.
    async fn token_service(&self, patience: Patience) -> Result<Option<TokenService>, NoToken> {
        let fetch = || async {
            let url = self.url("/v2/")?;
            let ping = || follow(&self.origin, &http::Method::GET, url.clone(), HeaderMap::new());
            let Followed { hop, response } = self.patiently(patience, false, ping).await?;
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

    async fn send(
        &self,
        request: &Request,
        authorization: Option<Secret>,
        patience: Patience,
    ) -> Result<Followed, Fault> {
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
        let url = self.url(&path)?;
        let blob = matches!(request.operation, Operation::Blob { .. });
        let manifest = matches!(request.operation, Operation::Manifest { method: Method::Get, .. });
        let ask = || async {
            let answer = follow(&self.origin, &method, url.clone(), headers.clone()).await?;
            if manifest { self.read(answer).await } else { Ok(answer) }
        };
        self.patiently(patience, blob, ask).await
    }

    /// The same answer with all of its manifest.
    async fn read(&self, answer: Followed) -> Result<Followed, Fault> {
        let length = answer.response.body().size_hint().exact().unwrap_or(MAX_MANIFEST as u64);
        let kib = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX).min(READ_AT_A_TIME as u32);
        // Nobody closes it, so this waits and no more.
        let _place = self.reading.acquire_many(kib).await;
        answer.whole(MAX_MANIFEST).await
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
