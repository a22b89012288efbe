//! One pull: what its manifests name, and what of that was requested and has arrived.

use super::wanted::{Target, Wanted};
use super::{End, Moment};
use crate::status::reason::Reason;
use docxy_protocol::manifest::{Descriptor, Manifest};
use docxy_protocol::name::{Digest, Registry, Repository};
use docxy_protocol::platform::Platform;
use docxy_protocol::request::TraceId;
use http::StatusCode;
use std::collections::{HashMap, HashSet};

/// Digests of one pull, at most: those of some hundred images with all platforms. Others belong to it by their repository.
const DIGESTS_MAX: usize = 4096;

/// Blobs of one pull, at most. Engines stop at 127 layers.
const BLOBS_MAX: usize = 512;

/// A pull.
#[derive(Debug, Clone)]
pub(crate) struct Pull {
    /// Its number. No other has it.
    pub(crate) id: u64,
    /// Its requests carry it, so that the server's log names the same.
    pub(crate) trace: TraceId,
    /// `registry/repository:tag`.
    pub(crate) image: String,
    pub(crate) engine: Option<&'static str>,
    /// The platform, if the image has several.
    pub(crate) platform: Option<Platform>,
    pub(crate) began: Moment,
    /// The config and the layers, as far as they are known.
    pub(crate) blobs: Vec<Blob>,
    /// Bytes of the transfers that have ended, through the tunnel, from the cache and from neighbours.
    pub(crate) from_tunnel: u64,
    pub(crate) from_cache: u64,
    pub(crate) from_neighbour: u64,
    pub(crate) interruptions: u32,
    pub(crate) failure: Option<Reason>,
    pub(crate) ended: Option<(Moment, super::Outcome)>,
    /// When it asked, or got something, last.
    pub(super) active: Moment,
    /// The digests that belong to it.
    pub(super) known: HashSet<Digest>,
    /// Whether content has arrived, and not only header fields.
    pub(super) has_content: bool,
    registry: Registry,
    repository: Repository,
    tag: Option<String>,
    /// Those that run, each with its blob, if it is for one.
    pub(super) transfers: HashMap<u64, Option<usize>>,
    platforms: HashMap<Digest, Platform>,
    /// Whether the last response for a manifest was one.
    has_manifest: bool,
}

/// The config or a layer.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) is_config: bool,
    /// Its size in bytes, if a manifest names it.
    pub(crate) size: Option<u64>,
    /// The bytes that have arrived, by transfers that have ended.
    pub(crate) received: u64,
    pub(crate) is_requested: bool,
    pub(crate) is_whole: bool,
}

impl Pull {
    pub(super) fn new(id: u64, trace: TraceId, wanted: &Wanted, now: Moment) -> Self {
        let tag = if let Target::Tag(tag) = &wanted.target { Some(tag.clone()) } else { None };
        Self {
            id,
            trace,
            image: wanted.image(),
            engine: wanted.engine,
            platform: None,
            began: now,
            blobs: Vec::new(),
            from_tunnel: 0,
            from_cache: 0,
            from_neighbour: 0,
            interruptions: 0,
            failure: None,
            ended: None,
            active: now,
            known: wanted.digest().cloned().into_iter().collect(),
            has_content: false,
            registry: wanted.registry.clone(),
            repository: wanted.repository.clone(),
            tag,
            transfers: HashMap::new(),
            platforms: HashMap::new(),
            has_manifest: false,
        }
    }

    /// Whether a request belongs to it. Without a manifest that can be read, all blobs of its repository do.
    pub(super) fn takes(&self, wanted: &Wanted) -> bool {
        let is_same = self.registry == wanted.registry
            && self.repository == wanted.repository
            && self.engine == wanted.engine;
        is_same
            && match &wanted.target {
                Target::Tag(tag) => self.tag.as_ref() == Some(tag),
                Target::Manifest(_) => self.knows(wanted),
                Target::Blob(_) => self.knows(wanted) || !self.has_manifest,
            }
    }

    /// Whether the digest of a request is one of its own.
    pub(super) fn knows(&self, wanted: &Wanted) -> bool {
        wanted.digest().is_some_and(|digest| self.known.contains(digest))
    }

    pub(super) fn has(&self, transfer: u64) -> bool {
        self.transfers.contains_key(&transfer)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.transfers.is_empty()
    }

    pub(super) fn begin(&mut self, transfer: u64, wanted: &Wanted, now: Moment) {
        (self.active, self.ended) = (now, None);
        let blob = match &wanted.target {
            Target::Blob(digest) => self.blob(digest),
            Target::Tag(_) | Target::Manifest(_) => None,
        };
        if let Some(blob) = blob {
            self.blobs[blob].is_requested = true;
        }
        self.transfers.insert(transfer, blob);
    }

    fn blob(&mut self, digest: &Digest) -> Option<usize> {
        let known = self.blobs.iter().position(|blob| blob.digest == *digest);
        known.or_else(|| self.add_blob(digest, None, false))
    }

    fn add_blob(&mut self, digest: &Digest, size: Option<u64>, is_config: bool) -> Option<usize> {
        if self.blobs.len() >= BLOBS_MAX {
            return None;
        }
        let digest = digest.clone();
        self.blobs.push(Blob { digest, is_config, size, received: 0, is_requested: false, is_whole: false });
        Some(self.blobs.len() - 1)
    }

    /// Adds what a manifest names. Returns whether the layers are known now, and were not before.
    pub(super) fn add_manifest(&mut self, digest: &Digest, manifest: &Manifest) -> bool {
        let (descriptors, config): (Vec<&Descriptor>, _) = match manifest {
            Manifest::Index(images) => {
                let platforms =
                    images.iter().filter_map(|image| Some((&image.digest, image.platform.as_ref()?)));
                let room = DIGESTS_MAX.saturating_sub(self.platforms.len());
                self.platforms.extend(
                    platforms.take(room).map(|(digest, platform)| (digest.clone(), platform.clone())),
                );
                (images.iter().collect(), None)
            }
            Manifest::Image(image) => {
                self.platform = self.platform.take().or_else(|| self.platforms.get(digest).cloned());
                ([&image.config].into_iter().chain(&image.layers).collect(), Some(&image.config.digest))
            }
        };
        self.known.insert(digest.clone());
        let room = DIGESTS_MAX.saturating_sub(self.known.len());
        self.known.extend(descriptors.iter().take(room).map(|descriptor| descriptor.digest.clone()));
        if config.is_none() {
            return false;
        }
        for Descriptor { digest, size, .. } in descriptors {
            match self.blobs.iter_mut().find(|blob| blob.digest == *digest) {
                Some(blob) => blob.size = Some(*size),
                None => drop(self.add_blob(digest, Some(*size), config == Some(digest))),
            }
        }
        !std::mem::replace(&mut self.has_manifest, true)
    }

    pub(super) fn end(&mut self, transfer: u64, end: End, now: Moment) {
        self.active = now;
        let Some(blob) = self.transfers.remove(&transfer) else { return };
        self.from_tunnel += end.bytes.saturating_sub(end.cached);
        self.from_cache += end.cached.saturating_sub(end.brought);
        self.from_neighbour += end.brought;
        self.interruptions += end.interruptions;
        let status = end.status.and_then(|status| StatusCode::from_u16(status).ok());
        let is_content = status.is_none_or(|status| status.is_success());
        self.has_content |= is_content && end.bytes > 0;
        if let Some(status) = status.filter(|status| is_failure(*status)) {
            self.failure = Some(status.into());
        } else if end.is_complete {
            self.failure = None;
        }
        if let Some(blob) = blob.map(|blob| &mut self.blobs[blob])
            && is_content
        {
            blob.received += end.bytes;
            blob.is_whole |= end.is_complete && blob.size.is_none_or(|size| blob.received >= size);
        }
    }

    /// Whether nothing of it is missing.
    pub(super) fn is_whole(&self) -> bool {
        self.has_manifest && self.transfers.is_empty() && self.blobs.iter().all(|blob| blob.is_whole)
    }

    pub(super) fn close(&mut self, now: Moment) {
        let is_broken = self.blobs.iter().any(|blob| blob.is_requested && !blob.is_whole);
        let outcome = match self.failure {
            Some(_) => super::Outcome::Failed,
            None if is_broken => super::Outcome::Stopped,
            None => super::Outcome::Done,
        };
        // A pause that only shows that nothing follows is no part of it.
        self.ended = Some((if self.is_whole() { now } else { self.active }, outcome));
    }
}

/// Engines follow a challenge, and look for content that need not be there: only what ends a pull is a failure.
fn is_failure(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::TOO_MANY_REQUESTS)
}
