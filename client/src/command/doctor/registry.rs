//! The registry of an image, its token service, its limit and its CDN, as the server sees them.
//!
//! Asks as a pull does. The manifest of an image that the server has not stored costs up to two pulls, once. Must never
//! show a token, or the URL of a blob.

use super::{Check, Verdict};
use crate::exchange::{self, Response};
use crate::tunnel::Session;
use bytes::BytesMut;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::headers::Headers;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::limits::MANIFEST_BYTES_MAX;
use docxy_protocol::manifest::{Descriptor, MEDIA_TYPES, Manifest};
use docxy_protocol::name::Reference;
use docxy_protocol::patience::Patience;
use docxy_protocol::rate_limit::RateLimit;
use docxy_protocol::request::{Method, Operation, Request};
use docxy_protocol::scope::Scope;
use docxy_protocol::token::{Grant, TokenRequest};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::time::Duration;
use tokio::time::timeout;

/// How long the server may try. A registry that answers later is as good as none.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time for each response, with its body: more than the server takes, whose faults name the hop.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);

/// The first bytes of a blob are enough.
const RANGE: HeaderValue = HeaderValue::from_static("bytes=0-65535");

/// What became of each hop.
#[derive(Debug, Default)]
struct Hops {
    registry: Option<Verdict>,
    token_service: Option<Verdict>,
    quota: Option<Verdict>,
    cdn: Option<Verdict>,
}

/// No pull is left.
struct UsedUp(Headers);

/// Why a step failed.
enum StepError {
    Fault(Fault),
    UsedUp(UsedUp),
}

impl From<Fault> for StepError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Walks all hops.
pub(super) async fn walk(session: &Session, image: &ImageName, found: &mut impl FnMut(Check, Verdict)) {
    let registries = session.welcome().map(|(welcome, _)| &welcome.registries);
    if let Some(served) = registries.filter(|served| !served.contains(&image.registry)) {
        let names: Vec<_> = served.iter().map(ToString::to_string).collect();
        let what = format!("{} is not on the server's list: {}", image.registry, names.join(", "));
        let remedy =
            format!("add [registries.\"{}\"] to server.toml, on the server, and reload it", image.registry);
        found(Check::Registry, Verdict::fault(what, remedy));
        for check in [Check::TokenService, Check::Quota, Check::Cdn] {
            found(check, Verdict::not_tried("the registry is not on the server's list"));
        }
        return;
    }
    let mut hops = Hops::default();
    match (Asker { session, image }).ask(&mut hops).await {
        Ok(()) => {}
        Err(StepError::UsedUp(UsedUp(headers))) => {
            hops.quota = Some(used_up(image, RateLimit::from_headers(&headers)))
        }
        Err(StepError::Fault(fault)) => hops.set(&fault),
    }
    let Hops { registry, token_service, quota, cdn } = hops;
    for (check, verdict) in [
        (Check::Registry, registry),
        (Check::TokenService, token_service),
        (Check::Quota, quota),
        (Check::Cdn, cdn),
    ] {
        found(check, verdict.unwrap_or_else(|| Verdict::not_tried("a hop before it failed")));
    }
}

impl Hops {
    /// A step failed at this hop.
    fn set(&mut self, fault: &Fault) {
        let (hop, remedy) = match fault.hop {
            Hop::TokenService => (&mut self.token_service, "docxy-server check, on the server"),
            Hop::Cdn => (&mut self.cdn, "docxy-server check, on the server"),
            Hop::Tunnel => (&mut self.registry, "docxy-client doctor, again"),
            Hop::Engine | Hop::Server | Hop::Registry => {
                (&mut self.registry, "docxy-server check, on the server")
            }
        };
        *hop = Some(Verdict::fault(fault, remedy));
    }
}

/// Asks for one image.
struct Asker<'a> {
    session: &'a Session,
    image: &'a ImageName,
}

impl Asker<'_> {
    async fn ask(&self, hops: &mut Hops) -> Result<(), StepError> {
        let ImageName { registry, repository, reference } = self.image;
        let ping = self.send(Operation::Ping, None).await?;
        if !matches!(ping.status, StatusCode::OK | StatusCode::UNAUTHORIZED) {
            return Err(bad_status(Hop::Registry, &ping).into());
        }
        hops.registry = Some(Verdict::Ok(format!("{registry} answers the server")));
        let challenge = ping.headers.get_str(&header::WWW_AUTHENTICATE).unwrap_or_default();
        hops.token_service = Some(if challenge.to_ascii_lowercase().contains("bearer") {
            self.token().await?;
            Verdict::Ok("it grants a token to everybody".into())
        } else {
            Verdict::Ok("the registry asks for no token".into())
        });
        let (repository, reference) = (repository.clone(), reference.clone());
        let head =
            self.send(Operation::Manifest { repository, reference, method: Method::Head }, None).await?;
        let head = expect_content(Hop::Registry, head)?;
        let limit = RateLimit::from_headers(&head.headers);
        if limit.as_ref().is_some_and(RateLimit::is_exhausted) {
            return Err(StepError::UsedUp(UsedUp(head.headers)));
        }
        let blob = self.config().await?;
        hops.quota = Some(Verdict::Ok(
            limit.map_or_else(|| "the registry reports no limit".into(), |limit| left(&limit)),
        ));
        let (repository, digest) = (self.image.repository.clone(), blob.digest.clone());
        let blob =
            self.send(Operation::Blob { repository, digest, method: Method::Get }, Some(RANGE)).await?;
        let bytes = body(expect_content(Hop::Cdn, blob)?).await?.len();
        hops.cdn = Some(Verdict::Ok(format!("{bytes} bytes of {} arrived", self.image)));
        Ok(())
    }

    /// Asks the token service itself: what the server has stored would not show that it is down.
    async fn token(&self) -> Result<(), StepError> {
        let request = TokenRequest {
            scopes: vec![Scope::pull(self.image.repository.clone())],
            client_id: None,
            offline: false,
            grant: Grant::Get { account: None },
        };
        match self.send(Operation::Token(request), None).await? {
            response if response.status.is_success() => Ok(()),
            response => Err(bad_status(Hop::TokenService, &response).into()),
        }
    }

    /// A small blob of the image: its config.
    async fn config(&self) -> Result<Descriptor, StepError> {
        let mut reference = self.image.reference.clone();
        // An index, then one of its images.
        for _ in 0..2 {
            let repository = self.image.repository.clone();
            let operation = Operation::Manifest { repository, reference, method: Method::Get };
            let response = expect_content(Hop::Registry, self.send(operation, None).await?)?;
            let content_type = response.headers.get_str(&header::CONTENT_TYPE).map(str::to_owned);
            let bytes = body(response).await?;
            match Manifest::parse(&bytes, content_type.as_deref()) {
                Ok(Manifest::Image(image)) => return Ok(image.config),
                Ok(Manifest::Index(images)) => {
                    let image = images.into_iter().next().ok_or_else(|| malformed("an empty index"))?;
                    reference = Reference::Digest(image.digest);
                }
                Err(error) => return Err(malformed(error).into()),
            }
        }
        Err(malformed("an index of indexes").into())
    }

    async fn send(&self, operation: Operation, range: Option<HeaderValue>) -> Result<Response, Fault> {
        let mut fields = HeaderMap::new();
        fields.extend(MEDIA_TYPES.map(|name| (header::ACCEPT, HeaderValue::from_static(name))));
        fields.extend(range.map(|range| (header::RANGE, range)));
        let authorization = match operation {
            Operation::Ping | Operation::Token(_) => Authorization::None,
            _ => Authorization::Public,
        };
        let mut request = Request::new(self.image.registry.clone(), operation)
            .with_authorization(authorization)
            .with_headers(Headers::filter_request(&fields));
        request.patience = Patience::new(PATIENCE);
        let permit = self.session.permit(&request.operation).await;
        let sent = timeout(RESPONSE_TIMEOUT, exchange::send(self.session, permit, &request, None)).await;
        sent.map_err(|_| too_late())?.map_err(|error| error.to_fault())
    }
}

/// All of a body.
async fn body(response: Response) -> Result<BytesMut, Fault> {
    let Response { mut body, .. } = response;
    let read = timeout(RESPONSE_TIMEOUT, async {
        let mut bytes = BytesMut::new();
        while bytes.len() <= MANIFEST_BYTES_MAX
            && let Some(chunk) = body.next().await.map_err(|error| error.to_fault())?
        {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    });
    read.await.map_err(|_| too_late())?
}

/// The response, if it has the content. Else it is this hop's refusal.
fn expect_content(hop: Hop, response: Response) -> Result<Response, StepError> {
    match response.status {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
        StatusCode::TOO_MANY_REQUESTS => Err(StepError::UsedUp(UsedUp(response.headers))),
        _ => Err(bad_status(hop, &response).into()),
    }
}

fn bad_status(hop: Hop, response: &Response) -> Fault {
    Fault::new(
        hop,
        FaultKind::of_status(response.status),
        format!("it answers the server {}", response.status),
    )
}

fn malformed(detail: impl std::fmt::Display) -> Fault {
    Fault::new(Hop::Registry, FaultKind::MalformedResponse, format!("it sends no usable manifest: {detail}"))
}

fn too_late() -> Fault {
    let detail = format!("no response within {} s", RESPONSE_TIMEOUT.as_secs());
    Fault::new(Hop::Server, FaultKind::TimedOut, detail)
}

fn used_up(image: &ImageName, limit: Option<RateLimit>) -> Verdict {
    let limit = limit.map(|limit| format!(" ({})", left(&limit))).unwrap_or_default();
    let what = format!("{} grants the server no more pulls now{limit}", image.registry);
    Verdict::fault(
        what,
        format!("docxy-client login {}, which counts pulls for your account; or wait", image.registry),
    )
}

/// "97 of 100 pulls are left for 192.0.2.1".
fn left(RateLimit { limit, remaining, source, .. }: &RateLimit) -> String {
    let count = |count: &Option<u64>| count.map_or_else(|| "?".to_owned(), |count| count.to_string());
    let source = source.as_ref().map(|source| format!(" for {source}")).unwrap_or_default();
    format!("{} of {} pulls are left{source}", count(remaining), count(limit))
}
