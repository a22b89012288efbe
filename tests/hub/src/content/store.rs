//! The content of the stand-in: accounts, repositories, tags, manifests, blobs, referrers. It can change while the
//! stand-in runs, as a push changes Docker Hub.
//! Access must never be decided anywhere else.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use crate::content::{
    artifact::Artifact,
    blob::{Blob, Digest},
    image::{Image, Manifest},
};

/// The content of a stand-in. Repository names are complete: `library/alpine`, not `alpine`.
#[derive(Default)]
pub struct Store {
    content: RwLock<Content>,
}

#[derive(Default)]
struct Content {
    passwords: BTreeMap<String, String>,
    repositories: BTreeMap<String, Repository>,
}

#[derive(Clone, Default)]
pub(crate) struct Repository {
    /// `None` if the repository is public.
    readers: Option<BTreeSet<String>>,
    pub(crate) tags: BTreeMap<String, Digest>,
    pub(crate) manifests: HashMap<Digest, Manifest>,
    pub(crate) blobs: HashMap<Digest, Blob>,
    /// By subject.
    referrers: HashMap<Digest, Vec<Artifact>>,
}

impl Store {
    /// Adds an account, or changes its password.
    pub fn add_account(&self, user: &str, password: &str) {
        self.write().passwords.insert(user.to_owned(), password.to_owned());
    }

    /// Publishes an image in a repository under a tag. An older image stays available by digest and loses the tag.
    pub fn publish(&self, repository: &str, tag: &str, image: &Image) {
        self.change(repository, |repository| {
            for manifest in image.manifests() {
                repository.manifests.insert(manifest.digest.clone(), manifest.clone());
            }
            for blob in image.blobs() {
                repository.blobs.insert(blob.digest().clone(), blob.clone());
            }
            repository.tags.insert(tag.to_owned(), image.digest().clone());
        });
    }

    /// Publishes a single manifest under a tag, without its blobs.
    pub fn publish_manifest(&self, repository: &str, tag: &str, manifest: &Manifest) {
        self.change(repository, |repository| {
            repository.manifests.insert(manifest.digest.clone(), manifest.clone());
            repository.tags.insert(tag.to_owned(), manifest.digest.clone());
        });
    }

    /// Adds a blob to a repository, without a manifest.
    pub fn add_blob(&self, repository: &str, blob: Blob) {
        self.change(repository, |repository| {
            repository.blobs.insert(blob.digest().clone(), blob);
        });
    }

    /// Attaches an artifact to the manifest that is its subject.
    pub fn attach(&self, repository: &str, artifact: &Artifact) {
        self.change(repository, |repository| {
            let manifest = &artifact.manifest;
            repository.manifests.insert(manifest.digest.clone(), manifest.clone());
            for blob in &artifact.blobs {
                repository.blobs.insert(blob.digest().clone(), blob.clone());
            }
            repository.referrers.entry(artifact.subject.clone()).or_default().push(artifact.clone());
        });
    }

    /// Makes a repository private: only these accounts may pull from it, and for others it does not exist.
    pub fn make_private(&self, repository: &str, readers: &[&str]) {
        let readers = readers.iter().map(|&reader| reader.to_owned()).collect();
        self.change(repository, |repository| repository.readers = Some(readers));
    }

    /// Whether this is the account's password.
    pub fn verify(&self, user: &str, password: &str) -> bool {
        self.read().passwords.get(user).is_some_and(|known| known == password)
    }

    /// Whether `account` (`None` is anonymous) may pull from the repository. One that does not exist is private.
    pub fn may_pull(&self, account: Option<&str>, repository: &str) -> bool {
        let content = self.read();
        match content.repositories.get(repository).map(|repository| &repository.readers) {
            None => account.is_some_and(|account| owns(account, repository)),
            Some(None) => true,
            Some(Some(readers)) => account.is_some_and(|account| readers.contains(account)),
        }
    }

    /// Whether `account` may push to the repository: it must be in the account's namespace, as on Docker Hub.
    pub fn may_push(&self, account: Option<&str>, repository: &str) -> bool {
        account.is_some_and(|account| owns(account, repository))
    }

    /// The manifest that a tag or a digest names.
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<Manifest> {
        let content = self.read();
        let repository = content.repositories.get(repository)?;
        let digest = Digest::parse(reference).or_else(|| repository.tags.get(reference).cloned())?;
        repository.manifests.get(&digest).cloned()
    }

    /// A blob of this repository.
    pub fn blob(&self, repository: &str, digest: &Digest) -> Option<Blob> {
        self.read().repositories.get(repository)?.blobs.get(digest).cloned()
    }

    /// A blob of any repository, as a CDN does not know repositories.
    pub fn any_blob(&self, digest: &Digest) -> Option<Blob> {
        self.read().repositories.values().find_map(|repository| repository.blobs.get(digest).cloned())
    }

    /// All tags in order; `None` if the repository does not exist.
    pub fn tags(&self, repository: &str) -> Option<Vec<String>> {
        Some(self.read().repositories.get(repository)?.tags.keys().cloned().collect())
    }

    /// The artifacts that refer to this manifest.
    pub fn referrers(&self, repository: &str, subject: &Digest) -> Vec<Artifact> {
        let content = self.read();
        let referrers =
            content.repositories.get(repository).and_then(|repository| repository.referrers.get(subject));
        referrers.cloned().unwrap_or_default()
    }

    pub(crate) fn repositories(&self) -> BTreeMap<String, Repository> {
        self.read().repositories.clone()
    }

    fn change(&self, repository: &str, change: impl FnOnce(&mut Repository)) {
        change(self.write().repositories.entry(repository.to_owned()).or_default());
    }

    // A panic in a test's closure cannot leave the maps inconsistent, so the data of a poisoned lock is valid.
    fn read(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Content> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn owns(account: &str, repository: &str) -> bool {
    repository.strip_prefix(account).is_some_and(|rest| rest.starts_with('/'))
}
