//! A request for content without a credential: what is public is served without a challenge, so that an
//! engine that cannot reach this client's token endpoint can pull it (the command line of BuildKit requests tokens
//! itself, perhaps on another machine).
//!
//! Must never hide a challenge from an engine that may have a credential: the engine's next request shows it.

use crate::gateway::{Gateway, ResponseDeadline, without_tunnel};
use crate::transfer::{Transfer, TransferGuard};
use bytes::Bytes;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::Fault;
use docxy_protocol::request::{Operation, Request};
use http::{Response, StatusCode};
use std::time::Instant;

/// Whether a request without a credential may be answered as an anonymous one.
pub(in crate::gateway) fn is_for_content(request: &Request) -> bool {
    request.authorization == Authorization::None
        && !matches!(request.operation, Operation::Ping | Operation::Token(_))
}

impl Gateway {
    /// The response to an anonymous request, or, if that is refused, the challenge of the registry. A registry
    /// without a challenge refuses with its own response.
    pub(in crate::gateway) async fn send_anonymously(
        &self,
        request: Request,
        deadline: ResponseDeadline,
        guard: TransferGuard,
    ) -> Result<Response<Transfer>, Fault> {
        let public = request.clone().with_authorization(Authorization::Public);
        let response = self.send_permitted(public, deadline, guard).await?;
        // A credential may help: the content is private, or hidden from strangers, or their quota is used up.
        let may_help = matches!(
            response.status(),
            StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::NOT_FOUND
                | StatusCode::TOO_MANY_REQUESTS
        );
        if !may_help {
            return Ok(response);
        }
        let Some(challenge) = self.challenge(&request, deadline).await else { return Ok(response) };
        self.context.counters.local_responses.increment();
        Ok(without_tunnel(challenge, self.context.registry.begin(&request, None)))
    }

    /// The challenge of a request's registry. If none is known, the registry is asked, unless it is known to have
    /// none.
    pub(in crate::gateway) async fn challenge(
        &self,
        request: &Request,
        deadline: ResponseDeadline,
    ) -> Option<Response<Bytes>> {
        let metadata = &self.context.metadata;
        if metadata.challenges.requires_token(&request.registry, Instant::now()).is_none() {
            let ping = Request::new(request.registry.clone(), Operation::Ping);
            let guard = self.context.registry.begin(&ping, None);
            // `forward` stores what the response says. Without a response, the first one has to do.
            self.forward(ping, deadline, guard).await.ok()?;
        }
        metadata.challenge_after_refusal(request)
    }
}
