//! What to prefetch: for which engines and which platform, except content that is cached.
//!
//! Prefetching costs bytes and may count against the rate limit of the user, so it is done only for an engine
//! that is about to pull.

use crate::metadata::cache::{
    CacheEntry, CacheKey, CacheScope, ContentCache, DescriptorIndex, Role, parse_manifest,
};
use bytes::Bytes;
use docxy_host::store::Content;
use docxy_protocol::digester::Digester;
use docxy_protocol::headers::Headers;
use docxy_protocol::limits::{INITIAL_SEGMENTS_MAX, PREFETCH_BLOB_BYTES_MAX};
use docxy_protocol::manifest::Manifest;
use docxy_protocol::name::{Digest, Reference, Tag};
use docxy_protocol::platform::Platform;
use docxy_protocol::prefetch::{ContentKind, PrefetchHint};
use docxy_protocol::request::{Method, Operation, Request};
use docxy_protocol::user_agent::UserAgent;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// Maximum number of known tags. A forgotten one costs the bytes of a needless prefetch.
const TAGS_MAX: usize = 1024;

/// The products that name the engines that send `HEAD` for a manifest before `GET`: dockerd with
/// both stores, containerd (and k3s, nerdctl, CRI), BuildKit. Others use `HEAD` to look for updates
/// (Watchtower, Diun, Renovate, `crane digest`, `podman auto-update`), and it must not cost them a pull.
const AGENTS_THAT_HEAD_FIRST: [&str; 3] = ["docker", "containerd", "buildkit"];

/// The same of engines that start with `GET`: podman, skopeo, buildah, CRI-O, and `docxy-client pull`. Other
/// programs may need the manifest only.
const AGENTS_THAT_GET_FIRST: [&str; 6] =
    ["containers", "podman", "skopeo", "buildah", "cri-o", "docxy-client"];

/// Is cached for each repository from which an engine has begun to pull. No registry has such content.
static PULLED: LazyLock<CacheEntry> = LazyLock::new(|| {
    let bytes = Bytes::from_static(b"an engine has pulled from this repository");
    let digest = Digester::sha256().digest(&bytes);
    Arc::new(
        Content::new(digest, ContentKind::Blob, bytes).expect("it matches the digest that was made of it"),
    )
});

/// Decides what to prefetch. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct PrefetchPolicy(Arc<Mutex<PolicyState>>);

#[derive(Debug)]
struct PolicyState {
    platform: Platform,
    tags: HashMap<(CacheScope, Tag), Digest>,
}

impl Default for PrefetchPolicy {
    fn default() -> Self {
        let state = PolicyState { platform: Platform::local(), tags: HashMap::new() };
        Self(Arc::new(Mutex::new(state)))
    }
}

impl PrefetchPolicy {
    /// Learns the platform from the manifest that an engine chooses from an index.
    pub(crate) fn observe_request(&self, descriptor_index: &DescriptorIndex, key: &CacheKey) {
        // Attestations have the platform "unknown", and are requested beside the image.
        if let Some(Role::Image(Some(platform))) = descriptor_index.role(&key.digest)
            && platform.to_string() != "unknown/unknown"
        {
            self.expect(platform);
        }
    }

    /// Sets the platform to prefetch for.
    pub(crate) fn expect(&self, platform: Platform) {
        self.0.lock().platform = platform;
    }

    /// Learns the digest of a tag from the response.
    pub(crate) fn observe_tag(&self, request: &Request, headers: &Headers) {
        let (Some(tagged), Some(digest)) = (tag(request), Digest::of_response(headers)) else { return };
        let mut state = self.0.lock();
        if state.tags.len() >= TAGS_MAX {
            state.tags.clear();
        }
        state.tags.insert(tagged, digest);
    }

    /// The hint for this request, if any: for the platform of the one that it has. None for a request with a password. Allows
    /// layers only if they are public, and new to this client.
    pub(crate) async fn hint_for(&self, request: &Request, cache: &ContentCache) -> Option<PrefetchHint> {
        let Operation::Manifest { method, .. } = &request.operation else { return None };
        let agent = UserAgent::of_request(&request.headers);
        let is_one_of =
            |names: &[&str]| agent.first().is_some_and(|first| names.iter().any(|name| first.is(name)));
        let scope = CacheScope::of(request)?;
        let pulls = match method {
            Method::Get => is_one_of(&AGENTS_THAT_HEAD_FIRST) || is_one_of(&AGENTS_THAT_GET_FIRST),
            // Private content is prefetched only after a GET, since each fetch counts against that account
            // and the engine may have the content already.
            Method::Head => is_one_of(&AGENTS_THAT_HEAD_FIRST) && scope.is_public(),
        };
        if !pulls {
            return None;
        }
        let (platform, known_digest) = {
            let state = self.0.lock();
            let platform = request.prefetch.as_ref().map_or(&state.platform, |asked| &asked.platform);
            (platform.clone(), tag(request).and_then(|tagged| state.tags.get(&tagged).cloned()))
        };
        let known = match known_digest {
            Some(digest) if is_complete(cache, &scope, &digest, &platform).await => Some(digest),
            _ => None,
        };
        let allows_layers = scope.is_public() && known.is_none() && !was_pulled(&scope, cache).await;
        let layer_segments = if allows_layers { INITIAL_SEGMENTS_MAX } else { 0 };
        Some(PrefetchHint { platform, small_blobs: true, known, layer_segments })
    }

    /// Remembers from which public repository an engine has begun to pull. It may have the image already, or a new tag may
    /// share its first layers with another, so layers come ahead once.
    pub(crate) fn observe_pull(&self, request: &Request, cache: &ContentCache) {
        let scope = CacheScope::of(request).filter(CacheScope::is_public);
        if let (Some(scope), Some(_)) = (scope, &request.prefetch) {
            cache.put(&pulled_key(&scope), &PULLED);
        }
    }
}

async fn was_pulled(scope: &CacheScope, cache: &ContentCache) -> bool {
    cache.get(&pulled_key(scope)).await.is_some()
}

fn pulled_key(scope: &CacheScope) -> CacheKey {
    CacheKey { scope: scope.clone(), digest: PULLED.digest().clone() }
}

fn tag(request: &Request) -> Option<(CacheScope, Tag)> {
    match &request.operation {
        Operation::Manifest { reference: Reference::Tag(tag), .. } => {
            Some((CacheScope::of(request)?, tag.clone()))
        }
        _ => None,
    }
}

/// Whether the manifest and the config of an image are cached, so that prefetching them is needless.
async fn is_complete(cache: &ContentCache, scope: &CacheScope, digest: &Digest, platform: &Platform) -> bool {
    let get = async |digest: &Digest| -> Option<CacheEntry> {
        cache.get(&CacheKey { scope: scope.clone(), digest: digest.clone() }).await
    };
    let mut manifest = get(digest).await.as_ref().and_then(parse_manifest);
    if let Some(Manifest::Index(entries)) = &manifest {
        let Ok(entry) = platform.choose(entries) else { return true };
        manifest = get(&entry.digest).await.as_ref().and_then(parse_manifest);
    }
    match manifest {
        Some(Manifest::Image(image)) => {
            let too_large = image.config.size > PREFETCH_BLOB_BYTES_MAX as u64;
            too_large || get(&image.config.digest).await.is_some()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::cache::entry_tests::{blob, key, manifest};
    use docxy_protocol::authorization::{Authorization, basic};
    use docxy_protocol::headers::DOCKER_CONTENT_DIGEST;
    use docxy_protocol::name::Registry;
    use docxy_protocol::secret::Secret;
    use http::HeaderMap;
    use serde_json::{Value, json};

    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const DOCKERD: &str = "docker/20.10.24 go/go1.19.8";

    fn request(agent: &str, method: Method, reference: &str) -> Request {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::USER_AGENT, agent.parse().unwrap());
        let operation = Operation::Manifest {
            repository: "library/a".parse().unwrap(),
            reference: reference.parse().unwrap(),
            method,
        };
        Request::new(Registry::docker_hub(), operation)
            .with_authorization(Authorization::Public)
            .with_headers(Headers::filter_request(&headers))
    }

    fn descriptor(entry: &CacheEntry, media_type: &str, platform: Option<&str>) -> Value {
        let mut entry =
            json!({ "mediaType": media_type, "digest": entry.digest(), "size": entry.bytes().len() });
        if let Some((os, architecture)) = platform.and_then(|platform| platform.split_once('/')) {
            entry["platform"] = json!({ "os": os, "architecture": architecture });
        }
        entry
    }

    /// An image for two platforms: its index, two manifests, and their config.
    fn image() -> [CacheEntry; 4] {
        let config = blob(b"{}");
        let image = |name: &str| {
            let config = descriptor(&config, "application/vnd.oci.image.config.v1+json", None);
            let image =
                json!({ "schemaVersion": 2, "config": config, "layers": [], "annotations": { "a": name } });
            manifest(MANIFEST, image.to_string().as_bytes())
        };
        let (one, other) = (image("one"), image("other"));
        let this = Platform::local().to_string();
        let entries = [
            descriptor(&one, MANIFEST, Some(&this)),
            descriptor(&other, MANIFEST, Some("linux/s390x")),
            descriptor(&config, MANIFEST, Some("unknown/unknown")),
        ];
        let index = json!({ "schemaVersion": 2, "manifests": entries });
        [manifest(INDEX, index.to_string().as_bytes()), one, other, config]
    }

    fn here(entry: &CacheEntry) -> CacheKey {
        key("docker.io", "library/a", entry)
    }

    #[tokio::test]
    async fn only_engines_that_pull_get_a_prefetch() {
        let (policy, cache) = (PrefetchPolicy::default(), ContentCache::open(None));
        for (agent, on_head, on_get) in [
            (DOCKERD, true, true),
            ("containerd/1.6.20~ds1", true, true),
            ("containerd/v2.1.4-k3s1", true, true),
            ("buildkit/v0.25", true, true),
            ("containers/5.24.1 (github.com/containers/image)", false, true),
            ("skopeo/1.9.3", false, true),
            ("docxy-client/0.1.0", false, true),
            ("Watchtower/1.7.1", false, false),
            ("crane/0.21.4 go-containerregistry/0.21.4", false, false),
            ("curl/8.5.0", false, false),
            ("", false, false),
        ] {
            for (method, expected) in [(Method::Head, on_head), (Method::Get, on_get)] {
                let hint = policy.hint_for(&request(agent, method, "latest"), &cache).await;
                assert_eq!(hint.is_some(), expected, "{agent} {method:?}");
            }
        }
    }

    #[tokio::test]
    async fn private_content_is_prefetched_after_get_only() {
        let (policy, cache) = (PrefetchPolicy::default(), ContentCache::open(None));
        let token = || Authorization::Bearer(Secret::new("t"));
        for (authorization, method, expected) in [
            (token(), Method::Get, true),
            (token(), Method::Head, false),
            (basic("me", "pw"), Method::Get, false),
        ] {
            let request = request(DOCKERD, method, "latest").with_authorization(authorization);
            assert_eq!(policy.hint_for(&request, &cache).await.is_some(), expected, "{method:?}");
        }
    }

    #[tokio::test]
    async fn the_platform_is_learned_from_the_choice_of_an_engine() {
        let (policy, cache) = (PrefetchPolicy::default(), ContentCache::open(None));
        let platform = async || {
            let request = request(DOCKERD, Method::Head, "latest");
            policy.hint_for(&request, &cache).await.unwrap().platform.to_string()
        };
        let own = Platform::local().to_string();
        assert_eq!(platform().await, own);
        let [index, one, other, attestation] = image();
        cache.put(&here(&index), &index);
        policy.observe_request(cache.descriptor_index(), &here(&attestation));
        assert_eq!(platform().await, own);
        policy.observe_request(cache.descriptor_index(), &here(&other));
        assert_eq!(platform().await, "linux/s390x");
        policy.observe_request(cache.descriptor_index(), &here(&one));
        assert_eq!(platform().await, own);
    }

    #[tokio::test]
    async fn a_cached_image_is_not_prefetched_again() {
        let (policy, cache) = (PrefetchPolicy::default(), ContentCache::open(None));
        let [index, one, other, config] = image();
        let digest = index.digest().clone();
        let mut headers = HeaderMap::new();
        headers.insert(&DOCKER_CONTENT_DIGEST, digest.as_str().parse().unwrap());
        let tag = request(DOCKERD, Method::Head, "latest");
        policy.observe_tag(&tag, &Headers::filter_response(&headers));
        let known = async |reference| {
            policy.hint_for(&request(DOCKERD, Method::Head, reference), &cache).await.unwrap().known
        };
        for part in [index, other, one, config] {
            assert_eq!(known("latest").await, None);
            cache.put(&here(&part), &part);
        }
        assert_eq!(known("latest").await, Some(digest));
        assert_eq!(known("edge").await, None);
    }

    #[tokio::test]
    async fn layers_come_only_if_they_are_public_and_new() {
        let (policy, cache) = (PrefetchPolicy::default(), ContentCache::open(None));
        let allows_layers = async |method, reference: &str, authorization| {
            let request = request(DOCKERD, method, reference).with_authorization(authorization);
            policy.hint_for(&request, &cache).await.is_some_and(|hint| hint.layer_segments > 0)
        };
        let (public, token) = (|| Authorization::Public, || Authorization::Bearer(Secret::new("t")));
        for method in [Method::Head, Method::Get] {
            assert!(allows_layers(method, "latest", public()).await, "{method:?}");
            assert!(!allows_layers(method, "latest", token()).await, "{method:?}");
        }
        let mut pull = request(DOCKERD, Method::Head, "latest");
        policy.observe_pull(&pull, &cache);
        assert!(allows_layers(Method::Head, "latest", public()).await, "it was no pull");
        pull.prefetch = policy.hint_for(&pull, &cache).await;
        policy.observe_pull(&pull, &cache);
        assert!(!allows_layers(Method::Head, "latest", public()).await, "the engine may have it");
    }
}
