//! The proof that a manifest or a blob is public, which content needs before it is shared, or fetched with the
//! operator's account.
//!
//! Must never be made of anything but a registry's success for a request that was sent without an account.

use crate::upstream::http::body::Body;
use crate::upstream::http::redirect::UpstreamResponse;
use crate::upstream::store::Key;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::digester::Digester;
use docxy_protocol::name::{Digest, Reference, Registry, Repository};
use docxy_protocol::request::{Operation, Request};
use http::StatusCode;
use url::Origin;

/// Everybody may read this manifest in this repository of this registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicProof {
    registry: Registry,
    repository: Repository,
    digest: Digest,
    /// Whether the registry itself said so, and no host that it redirects to.
    is_of_registry: bool,
}

impl PublicProof {
    /// The proof in a response to `request`, which was sent without an account to the registry at the origin `api`. `None`
    /// if it is no success, or names no manifest.
    pub(super) fn of_anonymous(
        registry: &Registry,
        api: &Origin,
        request: &Request,
        response: &UpstreamResponse,
    ) -> Option<Self> {
        let Operation::Manifest { repository, reference, .. } = &request.operation else { return None };
        let UpstreamResponse { response, origin, .. } = response;
        let is_of_registry = origin.as_ref() == Some(api);
        if response.status() != StatusCode::OK {
            return None;
        }
        let digest = match (reference, response.body()) {
            (Reference::Digest(digest), _) => digest.clone(),
            (Reference::Tag(_), body) => match (Digest::of_response(response.headers()), body) {
                (Some(digest), _) => digest,
                (None, Body::Whole(bytes)) => Digester::sha256().digest(bytes),
                (None, Body::Streaming(_)) => return None,
            },
        };
        Some(Self { registry: registry.clone(), repository: repository.clone(), digest, is_of_registry })
    }

    /// The key of the manifest in the store.
    pub(crate) fn key(&self) -> Key {
        Key::public(&self.registry, &self.repository, self.digest.clone())
    }

    pub(crate) const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Whether the manifest may be fetched with the operator's account. Another host must not say what the registry
    /// gives to everybody: the account may read more.
    pub(super) const fn allows_account(&self) -> bool {
        self.is_of_registry
    }

    pub(crate) const fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// Everybody may read this blob.
#[derive(Debug)]
pub(crate) struct PublicBlob {
    digest: Digest,
}

impl PublicBlob {
    /// The proof in a response with this status to `request`, if that was sent without an account and succeeded.
    pub(crate) fn of_anonymous(request: &Request, status: StatusCode) -> Option<Self> {
        let Operation::Blob { digest, .. } = &request.operation else { return None };
        let is_shown = matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT);
        (is_shown && request.authorization == Authorization::Public).then(|| Self { digest: digest.clone() })
    }

    pub(crate) const fn digest(&self) -> &Digest {
        &self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use docxy_protocol::fault::Hop;
    use docxy_protocol::headers::DOCKER_CONTENT_DIGEST;
    use docxy_protocol::request::Method;
    use docxy_protocol::secret::Secret;
    use http::HeaderValue;

    fn proof(reference: &str, status: u16, reported: Option<&str>, body: &'static [u8]) -> Option<Digest> {
        let (repository, reference) = ("library/a".parse().unwrap(), reference.parse().unwrap());
        let operation = Operation::Manifest { repository, reference, method: Method::Get };
        let mut response = http::Response::new(Body::Whole(Bytes::from_static(body)));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(digest) = reported {
            response.headers_mut().insert(&DOCKER_CONTENT_DIGEST, HeaderValue::from_str(digest).unwrap());
        }
        let response = UpstreamResponse { hop: Hop::Registry, origin: None, response };
        let api = Origin::Tuple("https".into(), url::Host::Domain("registry-1.docker.io".into()), 443);
        let request = Request::new(Registry::docker_hub(), operation);
        PublicProof::of_anonymous(&Registry::docker_hub(), &api, &request, &response)
            .map(|proof| proof.digest)
    }

    #[test]
    fn a_blob_is_public_only_if_it_was_shown_without_an_account() {
        let digest = Digester::sha256().digest(b"layer");
        let repository = "library/a".parse().unwrap();
        let operation = Operation::Blob { repository, digest: digest.clone(), method: Method::Get };
        let request = |authorization| {
            Request::new(Registry::docker_hub(), operation.clone()).with_authorization(authorization)
        };
        let found = |authorization, status| {
            let status = StatusCode::from_u16(status).unwrap();
            PublicBlob::of_anonymous(&request(authorization), status).map(|proof| proof.digest)
        };
        for status in [200, 206] {
            assert_eq!(found(Authorization::Public, status), Some(digest.clone()));
            assert_eq!(found(Authorization::Bearer(Secret::new("t")), status), None);
            assert_eq!(found(Authorization::None, status), None);
        }
        assert_eq!(found(Authorization::Public, 401), None);
    }

    #[test]
    fn only_a_success_is_a_proof_and_only_for_what_it_names() {
        let (one, other) = (Digester::sha256().digest(b"one"), Digester::sha256().digest(b"other"));
        assert_eq!(proof("latest", 200, Some(one.as_str()), b""), Some(one.clone()));
        assert_eq!(proof(other.as_str(), 200, Some(one.as_str()), b""), Some(other));
        assert_eq!(proof("latest", 200, None, b"one"), Some(one.clone()));
        for status in [204, 206, 304, 401, 404, 429, 500] {
            assert_eq!(proof("latest", status, Some(one.as_str()), b""), None, "{status}");
        }
    }
}
