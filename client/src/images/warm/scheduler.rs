//! Fetches images on a schedule while the client runs.
//!
//! The time of the last run is in a file of the cache directory, since a client may start often. Must never end the client, or
//! fetch outside the hours that the user has set.

use super::image::{WarmImage, WarmMessage, warm};
use super::images::WarmImages;
use super::schedule::Schedule;
use crate::gateway::Gateway;
use docxy_host::files::private_file;
use docxy_protocol::platform::Platform;
use jiff::{SignedDuration, Timestamp, Zoned};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;

/// How often the clock is read. It may be set, and a machine that sleeps stops timers.
const CLOCK_INTERVAL: Duration = Duration::from_secs(30);

/// When it tries again if no image could be fetched.
const RETRY_DELAY: SignedDuration = SignedDuration::from_mins(15);

/// The file with the time of the last run.
const LAST_RUN: &str = "warm-last-run";

/// What to fetch, and when.
#[derive(Debug, Clone)]
pub struct WarmSettings {
    /// The images.
    pub images: WarmImages,
    /// When.
    pub schedule: Schedule,
    /// The platform; that of this machine if `None`.
    pub platform: Option<Platform>,
}

/// Fetches them, with the settings that are the last ones. Ends with their sender. The time of the last run is in this
/// directory.
pub(crate) async fn run(
    gateway: Gateway,
    mut settings: watch::Receiver<Option<WarmSettings>>,
    directory: Option<PathBuf>,
) {
    let file = directory.map(|directory| directory.join(LAST_RUN));
    let mut last = file.as_deref().and_then(read);
    let mut not_before = Zoned::now();
    loop {
        let current = settings.borrow_and_update().clone();
        let changed = settings.changed();
        let Some(current) = current else {
            match changed.await {
                Ok(()) => continue,
                Err(_) => return,
            }
        };
        if let Err(reason) = gateway.blob_store() {
            tracing::warn!(%reason, "images are not fetched ahead of time, since nothing can be kept");
            return;
        }
        let next = current.schedule.next(last.as_ref(), &Zoned::now().max(not_before.clone()));
        tracing::info!(at = %next.strftime("%F %R"), "the next images are fetched ahead of time then");
        tokio::select! {
            changed = changed => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            () = wait_until(&next) => {}
        }
        let began = Zoned::now();
        let end = current.schedule.between.and_then(|window| Some(window.at_or_after(&began)?.1));
        let is_done = tokio::select! {
            is_done = fetch_all(&gateway, &current) => is_done,
            () = async { match &end {
                Some(end) => wait_until(end).await,
                None => std::future::pending().await,
            } } => {
                tracing::info!("the time for images ahead of time is over; they go on in the next one");
                continue;
            }
        };
        if is_done {
            if let Some(file) = &file
                && let Err(error) = private_file::write(file, began.timestamp().to_string().as_bytes())
            {
                tracing::warn!(%error, "the time of this run is not kept: a new start fetches again");
            }
            last = Some(began);
        } else {
            not_before = began.saturating_add(RETRY_DELAY);
        }
    }
}

/// Waits until a time by the clock.
pub(crate) async fn wait_until(time: &Zoned) {
    while let Ok(left) = Duration::try_from(Zoned::now().duration_until(time))
        && !left.is_zero()
    {
        tokio::time::sleep(left.min(CLOCK_INTERVAL)).await;
    }
}

/// Returns `false` if not one could be fetched: then the tunnel may be down.
async fn fetch_all(gateway: &Gateway, settings: &WarmSettings) -> bool {
    let images = settings.images.clone();
    let images = match tokio::task::spawn_blocking(move || images.load()).await {
        Ok(Ok(images)) => images,
        Ok(Err(error)) => {
            tracing::warn!(%error, "no images are fetched ahead of time");
            return false;
        }
        Err(_) => return false,
    };
    let (mut kept, mut fetched) = (0, 0);
    let platform = settings.platform.clone().unwrap_or_else(Platform::local).to_string();
    for image in &images {
        let wanted = WarmImage { name: image.to_string(), platform: platform.clone() };
        let outcome = Mutex::new(Err("it was not fetched".to_owned()));
        warm(gateway, &wanted, |message| match message {
            WarmMessage::Done { fetched } => *outcome.lock() = Ok(fetched),
            WarmMessage::Failed(reason) | WarmMessage::Off(reason) => *outcome.lock() = Err(reason),
            _ => {}
        })
        .await;
        match outcome.into_inner() {
            Ok(bytes) => (kept, fetched) = (kept + 1, fetched + bytes),
            Err(reason) => tracing::warn!(%image, %reason, "an image was not fetched ahead of time"),
        }
    }
    tracing::info!(images = images.len(), kept, bytes = fetched, "images were fetched ahead of time");
    kept > 0
}

fn read(file: &Path) -> Option<Zoned> {
    let text = private_file::read(file).ok()??;
    let time: Timestamp = std::str::from_utf8(&text).ok()?.trim().parse().ok()?;
    Some(time.to_zoned(Zoned::now().time_zone().clone()))
}
