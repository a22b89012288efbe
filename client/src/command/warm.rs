//! `docxy-client warm`: fetches images into the store of this machine before an engine requests them.
//!
//! A running client does the work, if there is one, since it alone may write to its store.

use super::error::CommandError;
use super::run::LOCK_TIMEOUT;
use crate::accounts::logins::Logins;
use crate::images::pull::{Connection, Progress};
use crate::images::warm::{DailyWindow, WarmImage, WarmImages, WarmMessage, wait_until};
use crate::local_api;
use crate::settings::{ConnectionFlags, ConnectionSettings, Flags, GivenSettings};
use clap::Args;
use docxy_host::byte_size::ByteSize;
use docxy_host::logging::{self, Filter};
use docxy_host::process::signals::shutdown::Shutdown;
use docxy_host::process::terminal::print;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::platform::Platform;
use indicatif::BinaryBytes;
use jiff::Zoned;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tracing::Level;

/// Time for writes to the cache directory that have begun. One takes milliseconds.
const WRITE_TIMEOUT: Duration = Duration::from_millis(500);

/// Fetch images ahead of time, so that engines find their layers on this machine's disk.
///
/// Layers that are there cost nothing; the others come after all that an engine waits for, and stay as far as they came if
/// this is interrupted. A running client of this user does it; without one, this command connects itself. For the client of
/// the system: sudo docxy-client warm.
///
/// A running client does it by itself with `[warm]` in its config file: see client/README.md.
///
/// On success stdout gets a line for each image: its name with the digest, its size, and how much was fetched.
/// Exit codes: 0 all images are kept, 1 some are not, 130 interrupted.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-client warm alpine:3.19 ghcr.io/owner/app\n  \
    docxy-client warm --file images.txt --between 01:00-06:00")]
pub(super) struct WarmArguments {
    /// The images, as for docker: alpine, ghcr.io/owner/app:1.2, alpine@sha256:…
    #[arg(value_name = "IMAGE", required_unless_present = "file")]
    images: Vec<ImageName>,
    /// A file with more images, one on each line; what follows a # is a comment
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Fetch only at this time of the day, in local time: waits for it, and goes on in the next one
    #[arg(long, value_name = "HH:MM-HH:MM")]
    between: Option<DailyWindow>,
    /// The platform of multi-platform images: OS/ARCH or OS/ARCH/VARIANT [default: Linux on the processor of this machine]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    connection: ConnectionFlags,
    /// What to log to stderr in addition to the progress: off, error, warn, info or debug [default: error]
    #[arg(long, value_name = "LEVEL", env = "DOCXY_LOG")]
    log: Option<Filter>,
}

pub(super) fn warm(arguments: WarmArguments, flags: Flags) -> Result<(), CommandError> {
    let WarmArguments { mut images, file, between, platform, quiet, connection, log } = arguments;
    if let Some(file) = file {
        images.extend(WarmImages::File(file).load()?);
    }
    let flags = Flags { connection, log, ..flags };
    let ConnectionSettings { tunnel: config, blobs, logins, log, .. } =
        ConnectionSettings::load(&flags, Level::ERROR)?;
    let logging = logging::start(&log);
    let progress = if quiet { Progress::quiet() } else { Progress::on_stderr(logging.handle()) };
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Start)?;
    let outcome = runtime.block_on(async {
        let shutdown = Shutdown::of_command().map_err(CommandError::Start)?;
        let given = GivenSettings::of(&flags, &config);
        let connect = async {
            let found = Connection::find(local_api::socket_candidates(), given, config).await?;
            // It may wait for the directory.
            let keeping = spawn_blocking(move || found.keeping(blobs, LOCK_TIMEOUT)).await;
            let keeping = keeping.map_err(|error| CommandError::Start(error.into()))?;
            Ok::<_, CommandError>(keeping.with_logins(Logins::open(logins)))
        };
        let connection = tokio::select! {
            connection = connect => connection?,
            () = shutdown.drain.cancelled() => return Err(CommandError::Interrupted),
        };
        let platform = platform.unwrap_or_else(Platform::local).to_string();
        let all = warm_all(&images, &platform, between, &connection, &progress);
        let outcome = tokio::select! {
            outcome = all => outcome,
            () = shutdown.drain.cancelled() => Err(CommandError::WarmInterrupted),
            never = connection.tell_failures(|text| progress.print(text)) => match never {},
        };
        connection.close().await;
        outcome
    });
    // Writes to the directory that have begun end first. A task that waits for its lock is left behind.
    runtime.shutdown_timeout(WRITE_TIMEOUT);
    drop(progress);
    outcome
}

/// One after the other, since one uses the whole path.
async fn warm_all(
    images: &[ImageName],
    platform: &str,
    between: Option<DailyWindow>,
    connection: &Connection,
    progress: &Progress,
) -> Result<(), CommandError> {
    progress.print(&format!("fetching through {}", connection.description()));
    let mut failed = Vec::new();
    for image in images {
        let wanted = WarmImage { name: image.to_string(), platform: platform.to_owned() };
        loop {
            let warming = warm_one(image, &wanted, connection, progress);
            let Some(between) = between else {
                if !warming.await? {
                    failed.push(image.to_string());
                }
                break;
            };
            let Some((begin, end)) = between.at_or_after(&Zoned::now()) else { break };
            if begin > Zoned::now() {
                progress.print(&format!("waiting until {}", begin.strftime("%F %R")));
                wait_until(&begin).await;
            }
            tokio::select! {
                is_kept = warming => {
                    if !is_kept? {
                        failed.push(image.to_string());
                    }
                    break;
                }
                () = wait_until(&end) => progress.remove_total(),
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(CommandError::NotWarmed(failed)) }
}

/// Returns whether the image is kept.
async fn warm_one(
    image: &ImageName,
    wanted: &WarmImage,
    connection: &Connection,
    progress: &Progress,
) -> Result<bool, CommandError> {
    let (mut found, mut outcome, waiting) = (None, None, Mutex::new(None));
    let tell = |message| match message {
        WarmMessage::Found { digest, platform, layers, bytes } => {
            let platform = platform.map(|platform| format!("{platform}, ")).unwrap_or_default();
            let s = if layers == 1 { "" } else { "s" };
            progress.print(&format!("{image}: {platform}{layers} layer{s}, {} in all", BinaryBytes(bytes)));
            progress.begin(bytes);
            found = Some((digest, bytes));
        }
        WarmMessage::Kept(bytes) => progress.reach(bytes),
        WarmMessage::Waits(reason) => {
            let mut last = waiting.lock();
            if let Some(reason) = reason.as_ref().filter(|_| reason != *last) {
                progress.print(&format!("interrupted, waiting: {reason}"));
            }
            *last = reason;
        }
        end => outcome = Some(end),
    };
    let told = connection.warm(wanted, tell).await;
    progress.remove_total();
    told.map_err(|_| CommandError::RunningClientLost)?;
    match (outcome, found) {
        (Some(WarmMessage::Done { fetched }), Some((digest, bytes))) => {
            let (registry, repository) = (&image.registry, &image.repository);
            let sizes = format!("{}, {} fetched", ByteSize(bytes), ByteSize(fetched));
            let line = format!("{registry}/{repository}@{digest} {sizes}\n");
            progress.suspend(|| print(&line)).map_err(CommandError::Output)?;
            Ok(true)
        }
        (Some(WarmMessage::Off(reason)), _) => Err(CommandError::NothingKept(reason)),
        (Some(WarmMessage::Failed(reason)), _) => {
            progress.print(&format!("{image}: {reason}"));
            Ok(false)
        }
        _ => Err(CommandError::RunningClientLost),
    }
}
