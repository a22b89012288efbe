//! Brings one image to the disk.
//!
//! Must never call an image kept of which a layer is missing.

use crate::gateway::{Gateway, KeepError};
use crate::images::pull::{BlobEvents, ImageSource, PullError, RegistryClient, blobs, manifest_bytes};
use bytes::Bytes;
use docxy_host::byte_size::ByteSize;
use docxy_protocol::authorization::Login;
use docxy_protocol::fault::Fault;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::manifest::Descriptor;
use docxy_protocol::name::Digest;
use docxy_protocol::platform::Platform;
use docxy_protocol::request::Request;
use futures_util::stream::{StreamExt as _, TryStreamExt as _, empty, iter};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Maximum number of blobs at a time: one uses the line, and the other its idle times.
const CONCURRENT_BLOBS: usize = 2;

/// How many bytes arrive between two messages.
const TOLD_BYTES: u64 = 256 * 1024;

/// An image that is wanted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WarmImage {
    /// Its name, as a user writes it.
    pub(crate) name: String,
    /// The platform of a multi-platform image.
    pub(crate) platform: String,
}

/// What happens to it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WarmMessage {
    /// It is this one, with so many layers and bytes.
    Found { digest: Digest, platform: Option<String>, layers: usize, bytes: u64 },
    /// So many of its bytes are on the disk.
    Kept(u64),
    /// Why nothing comes, or that it goes on.
    Waits(Option<String>),
    /// All of it is on the disk. So many bytes were not before.
    Done { fetched: u64 },
    /// It is not. The text is for the user.
    Failed(String),
    /// Why nothing can be kept.
    Off(String),
}

/// Why an image is not on the disk. The text is for the user.
#[derive(Debug, thiserror::Error)]
enum WarmError {
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error("cannot keep the blob {digest}: {source}")]
    Blob { digest: Digest, source: KeepError },
    #[error("it has {}, and the cache may use {}: see cache_size", ByteSize(*.bytes), ByteSize(*.room))]
    NoRoom { bytes: u64, room: u64 },
    #[error("nothing can be written to the cache: {0}")]
    Paused(String),
}

/// Requests manifests.
struct Registries<'a>(&'a Gateway);

impl RegistryClient for &Registries<'_> {
    async fn send(&self, request: Request) -> Result<Response<Bytes>, Fault> {
        let (head, body) = self.0.send_own(request.in_background()).await?.into_parts();
        Ok(Response::from_parts(head, manifest_bytes(body.into_data_stream()).await?))
    }

    /// Blobs are not read, but kept.
    fn blob(&self, _: Request, _: u64) -> BlobEvents<'_> {
        empty().boxed()
    }
}

/// Brings an image to the disk. Calls `tell` with what happens; the last message is `Done`, `Failed` or `Off`.
pub(crate) async fn warm(gateway: &Gateway, wanted: &WarmImage, tell: impl Fn(WarmMessage) + Sync) {
    let named = wanted.name.parse::<ImageName>().map_err(|error| error.to_string());
    let platform = wanted.platform.parse::<Platform>().map_err(|error| error.to_string());
    let (image, platform) = match (named, platform) {
        (Ok(image), Ok(platform)) => (image, platform),
        (Err(error), _) | (_, Err(error)) => return tell(WarmMessage::Failed(error)),
    };
    let store = match gateway.blob_store() {
        Ok(store) => store,
        Err(reason) => return tell(WarmMessage::Off(reason)),
    };
    if let Some(reason) = store.state().paused {
        return tell(WarmMessage::Failed(WarmError::Paused(reason).to_string()));
    }
    let room = store.state().bytes_max;
    // What is public is kept, so it is requested without an account, if that succeeds.
    let mut outcome = keep(gateway, &image, &platform, None, room, &tell).await;
    if outcome.as_ref().is_err_and(may_need_login)
        && let Some(login) = gateway.login(&image.registry).await
    {
        outcome = keep(gateway, &image, &platform, Some(login), room, &tell).await;
    }
    tell(match outcome {
        Ok(fetched) => WarmMessage::Done { fetched },
        Err(error) => WarmMessage::Failed(error.to_string()),
    });
}

const fn may_need_login(error: &WarmError) -> bool {
    let WarmError::Pull(PullError::Refused { status, .. }) = error else { return false };
    matches!(
        *status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::TOO_MANY_REQUESTS
    )
}

/// The same with this account. Returns the bytes that were missing.
async fn keep(
    gateway: &Gateway,
    image: &ImageName,
    platform: &Platform,
    login: Option<Login>,
    room: u64,
    tell: &(impl Fn(WarmMessage) + Sync),
) -> Result<u64, WarmError> {
    let registries = Registries(gateway);
    let source = |login| ImageSource::new(&registries, image, Some(platform.clone()), login);
    let public = source(None);
    let own = login.map(|login| source(Some(login)));
    let (digest, selected) = own.as_ref().unwrap_or(&public).select().await?;
    let blobs = blobs(&selected.manifest);
    let bytes = blobs.iter().map(|(_, blob)| blob.size).fold(0, u64::saturating_add);
    if bytes > room {
        return Err(WarmError::NoRoom { bytes, room });
    }
    let layers = selected.manifest.layers.len();
    let platform = selected.platform.as_ref().map(ToString::to_string);
    tell(WarmMessage::Found { digest, platform, layers, bytes });
    let progress = Mutex::new((0, 0));
    let arrived = &|more: u64| {
        let mut progress = progress.lock();
        let (kept, told) = &mut *progress;
        *kept += more;
        if *kept >= *told + TOLD_BYTES || *kept == bytes {
            *told = *kept;
            tell(WarmMessage::Kept(*kept));
        }
    };
    let waits = &|reason| tell(WarmMessage::Waits(reason));
    let keep = |blob: Descriptor| {
        let request = public.blob_request(&blob);
        let of_account = own.as_ref().map(|own| own.blob_request(&blob));
        async move {
            let mut outcome = gateway.keep_blob(request, blob.size, arrived, waits).await;
            if let (Err(_), Some(request)) = (&outcome, of_account) {
                outcome = gateway.keep_blob(request, blob.size, arrived, waits).await;
            }
            outcome.map_err(|source| WarmError::Blob { digest: blob.digest, source })
        }
    };
    iter(blobs.into_iter().map(|(_, blob)| blob.clone()).collect::<Vec<_>>())
        .map(keep)
        .buffer_unordered(CONCURRENT_BLOBS)
        .try_fold(0, async |sum, fetched| Ok(sum + fetched))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::frame;

    #[test]
    fn the_call_and_its_messages_cross_the_socket() {
        let wanted = WarmImage { name: "alpine".into(), platform: "linux/arm64".into() };
        let (found, _): (WarmImage, _) = frame::decode_prefix(&frame::encode(&wanted).unwrap()).unwrap();
        assert_eq!((found.name, found.platform), (wanted.name, wanted.platform));
        let digest = format!("sha256:{}", "0a".repeat(32)).parse().unwrap();
        let platform = Some("linux/amd64".to_owned());
        let message = WarmMessage::Found { digest, platform, layers: 1, bytes: 2 };
        let (found, _) = frame::decode_prefix(&frame::encode(&message).unwrap()).unwrap();
        assert!(matches!(found, WarmMessage::Found { layers: 1, bytes: 2, .. }));
    }
}
