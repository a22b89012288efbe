//! One registry of the operator's list: what is asked of it, on whose behalf.

use super::answer::Answer;
use super::api::Api;
use super::blob_source::BlobSource;
use super::body;
use super::follow::Followed;
use super::guard::Guard;
use super::origins::Origins;
use super::retry::{Chance, Patience};
use super::shared_request;
use super::tokens::{Payer, Tokens};
use crate::settings::{RegistrySettings, Settings};
use bytes::Bytes;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::challenge::Challenge;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::limits::AUTH_PROBE_TIMEOUT;
use docxy_protocol::name::{Registry as RegistryName, Repository};
use docxy_protocol::request::{Method, Operation, Request};
use docxy_protocol::scope::Scope;
use docxy_protocol::secret::Secret;
use docxy_protocol::token_response::TokenResponse;
use http::{HeaderValue, StatusCode, header};
use rustls::RootCertStore;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long after its last request a registry counts as in use: one pull is followed by another, or
/// by none for hours.
const IN_USE: Duration = Duration::from_secs(600);

/// A registry.
#[derive(Debug)]
pub(super) struct Registry {
    name: RegistryName,
    api: Arc<Api>,
    tokens: Tokens,
    origins: Origins,
    used: Mutex<Option<Instant>>,
}

impl Registry {
    /// # Errors
    /// Where a CA certificate of the settings cannot be used.
    pub(super) fn new(
        entry: &RegistrySettings,
        settings: &Settings,
        roots: &RootCertStore,
        chance: Chance,
        origins: Origins,
    ) -> Result<Self, rustls::Error> {
        let api = Arc::new(Api::new(entry, settings, roots, chance)?);
        let tokens = Tokens::new(&entry.name, Arc::clone(&api), entry.account.clone());
        Ok(Self { name: entry.name.clone(), api, tokens, origins, used: Mutex::new(None) })
    }

    /// Dials by these settings from now on. `entry` must be the one that it was made with.
    pub(super) fn dial_by(&self, entry: &RegistrySettings, settings: &Settings) {
        self.api.origin().set_guard(Guard::new(entry, settings));
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
        let in_time = tokio::time::timeout(AUTH_PROBE_TIMEOUT, self.answer(request)).await;
        in_time.unwrap_or_else(|_| {
            let seconds = AUTH_PROBE_TIMEOUT.as_secs();
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
        self.api.chance()
    }

    /// For an operator who wants to know: where the API is, and which host its tokens come from.
    ///
    /// # Errors
    /// Where the registry cannot be asked, or its limit is reached.
    pub(super) async fn check_challenge(&self) -> Result<(String, Option<String>), Fault> {
        let patience = Patience::none(tokio::time::Instant::now());
        let service = self.tokens.service(patience).await.map_err(|why| why.into_fault(Hop::Registry))?;
        Ok((self.api.name().to_owned(), service.map(|service| service.host())))
    }

    /// The same of the token service: to whom it grants tokens, in words.
    ///
    /// # Errors
    /// Where it cannot be asked, or refuses.
    pub(super) async fn check_tokens(&self, repository: Option<Repository>) -> Result<String, Fault> {
        self.tokens.check(repository).await
    }

    /// Asks each host of which a connection may be about to end for nothing in particular, and renews
    /// the tokens in use that soon will. Does nothing while nobody pulls.
    pub(super) async fn keep_warm(&self) {
        let idle = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.is_none_or(|since| since.elapsed() > IN_USE) {
            return;
        }
        let patience = Patience::none(tokio::time::Instant::now());
        self.tokens.renew(patience).await;
        let auth = self.tokens.service(patience).await.ok().flatten().and_then(|service| service.root());
        let registry = self.api.url("/v2/").ok();
        for (hop, url) in
            [(Hop::Registry, registry), (Hop::Auth, auth), (Hop::Cdn, self.api.origin().last_cdn())]
        {
            let Some(url) = url else { continue };
            let mut request = http::Request::new(http_body_util::Full::default());
            *request.method_mut() = http::Method::HEAD;
            // Whatever it says: the connection is what counts.
            if let Err(fault) = self.api.origin().send(hop, &url, request, AUTH_PROBE_TIMEOUT).await {
                tracing::debug!(%fault, "keeping warm");
            }
        }
    }

    async fn exchange(&self, request: &Request, patience: Patience) -> Result<Followed, Fault> {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        if !self.origins.admit(request) {
            return self.refuse_token(request, patience).await;
        }
        match (&request.operation, &request.authorization) {
            (Operation::Token(token), authorization) => {
                let user_agent = request.headers.map().get(header::USER_AGENT);
                let answer = self.tokens.pass_on(token, authorization, user_agent, patience).await?;
                self.remember_tokens(answer).await
            }
            (_, Authorization::Public) => self.ask_for_the_public(request, patience).await,
            (_, authorization) => self.api.send(request, authorization.header(), patience).await,
        }
    }

    /// The 401 for a request whose token this registry did not issue, without sending the token to the
    /// registry. It says `error="invalid_token"`, so that engines fetch a new token.
    async fn refuse_token(&self, request: &Request, patience: Patience) -> Result<Followed, Fault> {
        tracing::info!("token withheld: not issued by this registry");
        let service = self.tokens.service(patience).await.ok().flatten();
        let mut challenge = match service {
            Some(service) => service.challenge(),
            None => Challenge::bearer(&format!("https://{}/token", self.name), self.name.as_str()),
        };
        if let Some(repository) = request.operation.repository() {
            challenge = challenge.with("scope", &Scope::pull(repository.clone()).to_string());
        }
        let challenge = challenge.with("error", "invalid_token").to_string();
        let mut response =
            http::Response::new(body::of_bytes(Bytes::from_static(b"authentication required")));
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        let value = HeaderValue::try_from(challenge).map_err(|_| {
            Fault::new(Hop::Server, FaultKind::Internal, "cannot write the challenge that refuses a token")
        })?;
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        let api_version = HeaderValue::from_static("registry/2.0");
        response.headers_mut().insert("docker-distribution-api-version", api_version);
        Ok(Followed { hop: Hop::Registry, response })
    }

    /// Remembers that this registry issued the tokens in this answer of its token service, and returns the
    /// answer.
    ///
    /// # Errors
    /// If the answer cannot be parsed. It is not passed on then: an engine could find a token in it whose
    /// origin would be unknown.
    async fn remember_tokens(&self, answer: Followed) -> Result<Followed, Fault> {
        if !answer.response.status().is_success() {
            return Ok(answer);
        }
        let Followed { hop, response } = answer;
        let (head, read) = response.into_parts();
        let bytes = body::collect(hop, read).await?;
        let tokens = TokenResponse::parse(&bytes)
            .map_err(|error| Fault::new(hop, FaultKind::MalformedResponse, error))?;
        self.origins.remember(&self.name, &tokens);
        Ok(Followed { hop, response: http::Response::from_parts(head, body::of_bytes(bytes)) })
    }

    /// On behalf of those who showed no credential: with a token that nobody in particular gets.
    async fn ask_for_the_public(&self, request: &Request, patience: Patience) -> Result<Followed, Fault> {
        if matches!(request.operation, Operation::Manifest { method: Method::Get, .. }) {
            self.manifest(request, false, patience).await
        } else {
            self.send_with_token(request, Payer::Anonymous, patience).await
        }
    }

    /// What everybody may see of a manifest, by `HEAD`, whatever condition this request for it makes.
    ///
    /// # Errors
    /// Where a hop fails; what the registry refuses is an answer.
    pub(super) async fn look(&self, request: &Request, patience: Patience) -> Result<Followed, Fault> {
        self.send_with_token(&look_of(request), Payer::Anonymous, patience).await
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
        if self.tokens.operator_may_pay() {
            let mut open = shown;
            if !shown {
                let head = self.look(request, patience).await?;
                if head.hop == Hop::Auth {
                    // No token is to be had now, so neither is anything else.
                    return Ok(head);
                }
                open = head.response.status().is_success();
            }
            if open && self.tokens.operator_can_pay(request.operation.repository().cloned(), patience).await {
                return self.send_with_token(request, Payer::Operator, patience).await;
            }
        }
        self.send_with_token(request, Payer::Anonymous, patience).await
    }

    /// Whether there is an account, and none that was refused a moment ago.
    pub(super) fn operator_may_pay(&self) -> bool {
        self.tokens.operator_may_pay()
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
        let token = match self.tokens.get(&key, patience).await {
            Ok(Some(token)) => token,
            Ok(None) => return self.api.send(request, None, patience).await,
            Err(no_token) => return no_token.into_answer(),
        };
        let answer = self.api.send(request, Some(bearer(&token)), patience).await?;
        if answer.response.status() != StatusCode::UNAUTHORIZED || answer.hop != Hop::Registry {
            return Ok(answer);
        }
        self.tokens.forget(&key, &token).await;
        match self.tokens.get(&key, patience).await {
            Ok(Some(fresh)) if fresh != token => self.api.send(request, Some(bearer(&fresh)), patience).await,
            Ok(_) => Ok(answer),
            Err(no_token) => no_token.into_answer(),
        }
    }
}

fn bearer(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.expose()))
}

/// The request by which it is seen what everybody may see.
fn look_of(request: &Request) -> Request {
    match &request.operation {
        Operation::Manifest { repository, reference, .. } => {
            shared_request::for_manifest(request, repository, reference, Method::Head)
        }
        _ => request.clone(),
    }
}
