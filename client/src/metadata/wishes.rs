//! What to wish for behind an answer: for whom, for which platform, and beside what is here already.
//!
//! A guess costs bytes and perhaps a pull of the user's quota, so it is made only where an engine is
//! about to ask.

use super::kept::{Home, Kept, Key};
use super::outlines::{self, Outlines, Role};
use super::store::Store;
use docxy_protocol::headers::{DOCKER_CONTENT_DIGEST, Headers};
use docxy_protocol::limits::PREFETCH_BLOB_MAX;
use docxy_protocol::manifest::Manifest;
use docxy_protocol::name::{Digest, Reference, Tag};
use docxy_protocol::platform::Platform;
use docxy_protocol::prefetch::PrefetchHint;
use docxy_protocol::request::{Method, Operation, Request};
use http::header;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Tags remembered at most. Forgetting one costs the bytes that come in vain behind its next answer.
const MOST: usize = 1024;

/// Engines whose `HEAD` of a manifest precedes its `GET`, by what their `User-Agent` begins with:
/// dockerd in both of its stores, containerd (and k3s, nerdctl, CRI), BuildKit. Everybody else's
/// `HEAD` only asks whether there is something new (Watchtower, Diun, Renovate, `crane digest`,
/// `podman auto-update`), and costs no pull as long as nobody makes a `GET` of it.
const HEADS_BEFORE_PULLING: [&str; 3] = ["docker/", "containerd/", "buildkit/"];

/// Engines that begin with the `GET`: podman, skopeo, buildah, CRI-O, and our own `pull`. Whoever else
/// fetches a manifest may want no more than that, and what came ahead would be paid for in vain.
const GETS_AT_ONCE: [&str; 7] =
    ["containers/", "podman/", "skopeo/", "Buildah/", "buildah/", "cri-o/", "docxy-client/"];

/// What was seen so far. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Wishes(Arc<Mutex<Seen>>);

#[derive(Debug)]
struct Seen {
    platform: Platform,
    tags: HashMap<(Home, Tag), Digest>,
}

impl Default for Wishes {
    fn default() -> Self {
        let seen = Seen { platform: Platform::local(), tags: HashMap::new() };
        Self(Arc::new(Mutex::new(seen)))
    }
}

impl Wishes {
    /// Takes note of what an engine picks out of an index: that is its platform.
    pub(super) fn asked_for(&self, outlines: &Outlines, key: &Key) {
        // Attestations go by "unknown", and are asked for beside the image.
        if let Some(Role::Image(Some(platform))) = outlines.role(&key.digest)
            && platform.to_string() != "unknown/unknown"
        {
            self.expect(platform);
        }
    }

    /// The platform to wish for from now on.
    pub(super) fn expect(&self, platform: Platform) {
        self.seen().platform = platform;
    }

    /// Takes note of what a tag stands for, by the answer.
    pub(super) fn stands_for(&self, request: &Request, headers: &Headers) {
        let digest = headers.get_str(&DOCKER_CONTENT_DIGEST).and_then(|text| text.parse().ok());
        let (Some(place), Some(digest)) = (tag(request), digest) else { return };
        let mut seen = self.seen();
        if seen.tags.len() >= MOST {
            seen.tags.clear();
        }
        seen.tags.insert(place, digest);
    }

    /// What may follow the answer to this request. Nothing where a password is shown.
    pub(super) async fn of(&self, request: &Request, store: &Store) -> Option<PrefetchHint> {
        let Operation::Manifest { method, .. } = &request.operation else { return None };
        let agent = request.headers.get_str(&header::USER_AGENT).unwrap_or_default();
        let is_one_of = |agents: &[&str]| agents.iter().any(|name| agent.starts_with(name));
        let home = Home::of(request)?;
        let pulls = match method {
            Method::Get => is_one_of(&HEADS_BEFORE_PULLING) || is_one_of(&GETS_AT_ONCE),
            // What a token opens is kept by the engine alone: it may turn out to have it all, and the
            // token's holder would have paid.
            Method::Head => is_one_of(&HEADS_BEFORE_PULLING) && home.is_public(),
        };
        if !pulls {
            return None;
        }
        let (platform, stood_for) = {
            let seen = self.seen();
            (seen.platform.clone(), tag(request).and_then(|place| seen.tags.get(&place).cloned()))
        };
        let known = match stood_for {
            Some(digest) if is_complete(store, &home, &digest, &platform).await => Some(digest),
            _ => None,
        };
        Some(PrefetchHint { platform, small_blobs: true, known })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tag(request: &Request) -> Option<(Home, Tag)> {
    match &request.operation {
        Operation::Manifest { reference: Reference::Tag(tag), .. } => Some((Home::of(request)?, tag.clone())),
        _ => None,
    }
}

/// Whether everything small of an image is here, so that sending it again would be in vain.
async fn is_complete(store: &Store, home: &Home, digest: &Digest, platform: &Platform) -> bool {
    let get = async |digest: &Digest| -> Option<Kept> {
        store.get(&Key { home: home.clone(), digest: digest.clone() }).await
    };
    let mut manifest = get(digest).await.as_ref().and_then(outlines::parse);
    if let Some(Manifest::Index(entries)) = &manifest {
        let Ok(entry) = platform.choose(entries) else { return true };
        manifest = get(&entry.digest).await.as_ref().and_then(outlines::parse);
    }
    match manifest {
        Some(Manifest::Image(image)) => {
            let too_large = image.config.size > PREFETCH_BLOB_MAX as u64;
            too_large || get(&image.config.digest).await.is_some()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::kept::tests::{blob, key, manifest};
    use super::*;
    use docxy_protocol::authorization::{Authorization, basic};
    use docxy_protocol::name::Registry;
    use docxy_protocol::secret::Secret;
    use http::HeaderMap;
    use serde_json::{Value, json};

    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const DOCKERD: &str = "docker/20.10.24 go/go1.19.8";

    fn request(agent: &str, method: Method, reference: &str) -> Request {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, agent.parse().unwrap());
        Request {
            registry: Registry::docker_hub(),
            operation: Operation::Manifest {
                repository: "library/a".parse().unwrap(),
                reference: reference.parse().unwrap(),
                method,
            },
            authorization: Authorization::Public,
            headers: Headers::filter_request(&headers),
            prefetch: None,
        }
    }

    fn descriptor(kept: &Kept, media_type: &str, platform: Option<&str>) -> Value {
        let mut entry =
            json!({ "mediaType": media_type, "digest": kept.digest(), "size": kept.bytes().len() });
        if let Some((os, architecture)) = platform.and_then(|platform| platform.split_once('/')) {
            entry["platform"] = json!({ "os": os, "architecture": architecture });
        }
        entry
    }

    /// An image for two platforms: its index, a manifest of each, their common config.
    fn image() -> [Kept; 4] {
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

    fn here(kept: &Kept) -> Key {
        key("docker.io", "library/a", kept)
    }

    #[tokio::test]
    async fn only_for_those_who_are_about_to_pull() {
        let (wishes, store) = (Wishes::default(), Store::open(None));
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
                let wish = wishes.of(&request(agent, method, "latest"), &store).await;
                assert_eq!(wish.is_some(), expected, "{agent} {method:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_token_pays_for_nothing_before_its_holder_pulls_and_a_password_never() {
        let (wishes, store) = (Wishes::default(), Store::open(None));
        let token = || Authorization::Bearer(Secret::new("t"));
        for (authorization, method, expected) in [
            (token(), Method::Get, true),
            (token(), Method::Head, false),
            (basic("me", "pw"), Method::Get, false),
        ] {
            let request = Request { authorization, ..request(DOCKERD, method, "latest") };
            assert_eq!(wishes.of(&request, &store).await.is_some(), expected, "{method:?}");
        }
    }

    #[tokio::test]
    async fn what_an_engine_takes_of_an_index_is_its_platform() {
        let (wishes, store) = (Wishes::default(), Store::open(None));
        let platform = async || {
            let request = request(DOCKERD, Method::Head, "latest");
            wishes.of(&request, &store).await.unwrap().platform.to_string()
        };
        let own = Platform::local().to_string();
        assert_eq!(platform().await, own);
        let [index, one, other, attestation] = image();
        store.put(here(&index), index);
        wishes.asked_for(store.outlines(), &here(&attestation));
        assert_eq!(platform().await, own);
        wishes.asked_for(store.outlines(), &here(&other));
        assert_eq!(platform().await, "linux/s390x");
        wishes.asked_for(store.outlines(), &here(&one));
        assert_eq!(platform().await, own);
    }

    #[tokio::test]
    async fn nothing_is_wished_for_again_that_is_all_here() {
        let (wishes, store) = (Wishes::default(), Store::open(None));
        let [index, one, other, config] = image();
        let digest = index.digest().clone();
        let mut headers = HeaderMap::new();
        headers.insert(&DOCKER_CONTENT_DIGEST, digest.as_str().parse().unwrap());
        let tag = request(DOCKERD, Method::Head, "latest");
        wishes.stands_for(&tag, &Headers::filter_response(&headers));
        let known = async |reference| {
            wishes.of(&request(DOCKERD, Method::Head, reference), &store).await.unwrap().known
        };
        for part in [index, other, one, config] {
            assert_eq!(known("latest").await, None);
            store.put(here(&part), part);
        }
        assert_eq!(known("latest").await, Some(digest));
        assert_eq!(known("edge").await, None);
    }
}
