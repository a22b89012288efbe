//! What to wish for behind an answer: for whom, for which platform, and beside what is here already.
//!
//! A guess costs bytes and perhaps a pull of the user's quota, so it is made only where an engine is
//! about to ask.

use super::is_public;
use super::keep::DOCKER_CONTENT_DIGEST;
use super::kept::{Home, Kept, Key};
use super::outlines::{self, Outlines, Role};
use super::store::Store;
use docxy_protocol::ahead::Wish;
use docxy_protocol::headers::Headers;
use docxy_protocol::limits::MAX_SMALL_BLOB;
use docxy_protocol::manifest::Manifest;
use docxy_protocol::name::{Digest, Reference, Tag};
use docxy_protocol::platform::Platform;
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

/// Engines that go on to fetch the layers, too: podman, skopeo, buildah, CRI-O, and our own `pull`.
/// Whoever else fetches a manifest may only want to look at it.
const PULLS: [&str; 7] =
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
        let seen = Seen { platform: Platform::of_this_machine(), tags: HashMap::new() };
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
        let digest = headers.text(&DOCKER_CONTENT_DIGEST).and_then(|text| text.parse().ok());
        let (Some(place), Some(digest)) = (tag(request), digest) else { return };
        let mut seen = self.seen();
        if seen.tags.len() >= MOST {
            seen.tags.clear();
        }
        seen.tags.insert(place, digest);
    }

    /// What may follow the answer to this request. Nothing where a credential is shown: what it opens
    /// must not be kept.
    pub(super) async fn of(&self, request: &Request, store: &Store) -> Option<Wish> {
        let Operation::Manifest { method, .. } = &request.operation else { return None };
        let agent = request.headers.text(&header::USER_AGENT).unwrap_or_default();
        let pulls = |agents: &[&str]| agents.iter().any(|name| agent.starts_with(name));
        if !is_public(request) || (*method == Method::Head && !pulls(&HEADS_BEFORE_PULLING)) {
            return None;
        }
        let (platform, stood_for) = {
            let seen = self.seen();
            (seen.platform.clone(), tag(request).and_then(|place| seen.tags.get(&place).cloned()))
        };
        let known = match (Home::of(request), stood_for) {
            (Some(home), Some(digest)) if is_complete(store, &home, &digest, &platform).await => Some(digest),
            _ => None,
        };
        let small_blobs = pulls(&HEADS_BEFORE_PULLING) || pulls(&PULLS);
        Some(Wish { platform, small_blobs, known })
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
            let too_large = image.config.size > MAX_SMALL_BLOB as u64;
            too_large || get(&image.config.digest).await.is_some()
        }
        _ => false,
    }
}
