//! `docxy-client cache`: lists, removes and checks the layers that are kept on this machine.
//!
//! The directory belongs to one process: while a client runs, it does the work.

use super::error::CommandError;
use crate::local_api::{self, CacheCall, CacheMessage, RunningClient};
use crate::settings::{BLOBS, ConnectionFlags, ConnectionSettings, Flags, GivenSettings};
use clap::{Args, Subcommand};
use docxy_host::blob_store::{BlobLimits, BlobOwner, BlobStore, ListedBlob, Prune, Pruned, VerifyReport};
use docxy_host::byte_size::ByteSize;
use docxy_host::process::terminal::{print, print_note};
use docxy_protocol::name::Registry;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

const PROGRESS_TEMPLATE: &str =
    "checking {bar:30} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}";

/// Nothing is evicted by a command that lists.
const NO_LIMITS: BlobLimits = BlobLimits { bytes_max: Some(u64::MAX), free_bytes_min: Some(0) };

/// List the layers that are kept on this machine, remove some, or check them.
///
/// While a client of this user runs, it is asked, since the directory is its own. Without a command, all are listed, the
/// last used first: the digest, the bytes of the whole and of what is there, whether the digest was checked, the last use,
/// and for a private layer its repository.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  docxy-client cache\n  docxy-client cache prune --keep '5 GB'\n  \
    docxy-client cache prune --unused-for 30\n  docxy-client cache verify --json\n\n\
    For the client of the system: sudo docxy-client cache")]
pub(super) struct CacheArguments {
    #[command(subcommand)]
    command: Option<CacheCommand>,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    json: bool,
    /// The cache directory [default: that of the running client, else /var/cache/docxy as root, else ~/.cache/docxy]
    #[arg(long, global = true, value_name = "DIR", env = "DOCXY_CACHE")]
    cache: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// List all
    List,
    /// Remove the layers that are not in use
    #[command(after_help = "Example:\n  docxy-client cache prune --keep '5 GB' --unused-for 30")]
    Prune {
        /// Keep so much: those that were used last, as in "5 GB"
        #[arg(long, value_name = "SIZE", default_value = "0", hide_default_value = true)]
        keep: ByteSize,
        /// Keep those that were used in so many days
        #[arg(long, value_name = "DAYS")]
        unused_for: Option<u32>,
    },
    /// Read all, remove what is damaged, which will be fetched again, and exit with 1 if there was any
    #[command(after_help = "Example:\n  docxy-client cache verify")]
    Verify,
}

pub(super) fn cache(arguments: CacheArguments, flags: Flags) -> Result<(), CommandError> {
    let CacheArguments { command, json, cache } = arguments;
    let connection = ConnectionFlags { cache, ..ConnectionFlags::default() };
    let target = Target::of(&Flags { connection, ..flags }, true)?;
    match command.unwrap_or(CacheCommand::List) {
        CacheCommand::List => list(&target, json),
        CacheCommand::Prune { keep, unused_for } => {
            let used_within = unused_for.map(|days| Duration::from_secs(u64::from(days) * 24 * 3600));
            prune(&target, Prune { keep_bytes: keep.0, used_within }, json)
        }
        CacheCommand::Verify => verify(&target, json),
    }
}

/// Whose blobs are meant.
struct Target {
    directory: Option<PathBuf>,
    given: GivenSettings,
    /// Whether it says whose cache it is, and whether there is one.
    has_notes: bool,
}

/// Removes what is kept of a registry's private layers, whose user has logged out.
pub(super) fn remove_private(registry: &Registry, flags: &Flags) -> Result<(), CommandError> {
    let done = Target::of(flags, false)?.perform(CacheCall::RemovePrivate(registry.clone()), drop);
    // A client that keeps no layers keeps no private ones.
    if matches!(done, Err(CommandError::NoCache(_))) { Ok(()) } else { done }
}

impl Target {
    fn of(flags: &Flags, has_notes: bool) -> Result<Self, CommandError> {
        let settings = ConnectionSettings::without_links(flags)?;
        let given = GivenSettings::cache(flags, &settings.tunnel);
        Ok(Self { directory: settings.cache.map(|cache| cache.join(BLOBS)), given, has_notes })
    }

    /// Lets the running client do it, else does it in the directory.
    fn perform(&self, call: CacheCall, mut tell: impl FnMut(CacheMessage)) -> Result<(), CommandError> {
        let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Start)?;
        let mut off = None;
        let mut receive = |message| match message {
            CacheMessage::Off(reason) => off = Some(reason),
            message => tell(message),
        };
        let sockets = local_api::socket_candidates();
        let running = runtime.block_on(RunningClient::find(sockets, self.given.clone(), false));
        if let Some(running) = running {
            let answered = runtime.block_on(running.cache(call, receive));
            answered.map_err(|_| CommandError::RunningClientLost)?;
            return off.map_or(Ok(()), |reason| Err(CommandError::NoCache(reason)));
        }
        if self.has_notes && local_api::system_client_runs() {
            print_note(
                "this is the cache of this user; for that of the system's client: sudo docxy-client cache",
            );
        }
        let Some(directory) = self.directory.as_deref().filter(|directory| directory.exists()) else {
            if self.has_notes {
                print_note("nothing is kept here");
            }
            return Ok(());
        };
        let store = BlobStore::open(directory, NO_LIMITS)?;
        call.perform(&store, |message| {
            receive(message);
            ControlFlow::Continue(())
        });
        Ok(())
    }
}

fn list(target: &Target, json: bool) -> Result<(), CommandError> {
    let mut blobs = Vec::new();
    target.perform(CacheCall::List, |message| {
        if let CacheMessage::Listed(some) = message {
            blobs.extend(some);
        }
    })?;
    if json {
        return print_json(&blobs.iter().map(to_json).collect());
    }
    let stored = blobs.iter().map(|blob| blob.stored).sum();
    print_note(&format!("{}, {}", count(blobs.len() as u64, "layer"), ByteSize(stored)));
    print(&table(&blobs)).map_err(CommandError::Output)
}

fn prune(target: &Target, prune: Prune, json: bool) -> Result<(), CommandError> {
    let mut pruned = Pruned::default();
    target.perform(CacheCall::Prune(prune), |message| {
        if let CacheMessage::Pruned(report) = message {
            pruned = report;
        }
    })?;
    if json {
        return print_json(&json!(pruned));
    }
    let text = format!("removed {}, {}\n", count(pruned.blobs, "layer"), ByteSize(pruned.bytes));
    print(&text).map_err(CommandError::Output)
}

fn verify(target: &Target, json: bool) -> Result<(), CommandError> {
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template(PROGRESS_TEMPLATE) {
        bar.set_style(style.progress_chars("=> "));
    }
    let mut report = VerifyReport::default();
    let performed = target.perform(CacheCall::Verify, |message| match message {
        CacheMessage::Checked(done, all) => {
            bar.set_length(all);
            bar.set_position(done);
        }
        CacheMessage::Verified(found) => report = found,
        _ => {}
    });
    bar.finish_and_clear();
    performed?;
    let VerifyReport { blobs, bytes, chunks_damaged, blobs_wrong } = report;
    if json {
        print_json(&json!(report))?;
    } else {
        let checked = format!("checked {}, {}", count(blobs, "layer"), ByteSize(bytes));
        let found = match chunks_damaged + blobs_wrong {
            0 => "all are right".to_owned(),
            _ => format!(
                "removed {} and {}, which will be fetched again",
                count(chunks_damaged, "damaged chunk"),
                count(blobs_wrong, "wrong layer")
            ),
        };
        print(&format!("{checked}: {found}\n")).map_err(CommandError::Output)?;
    }
    match usize::try_from(chunks_damaged + blobs_wrong).unwrap_or(usize::MAX) {
        0 => Ok(()),
        faults => Err(CommandError::Faults(faults)),
    }
}

fn print_json(value: &Value) -> Result<(), CommandError> {
    print(&format!("{value:#}\n")).map_err(CommandError::Output)
}

/// `1 layer`, `2 layers`.
fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn used(blob: &ListedBlob) -> String {
    let seconds = blob.used.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Timestamp::from_second(seconds.cast_signed()).map_or_else(|_| String::new(), |time| time.to_string())
}

fn owner(blob: &ListedBlob) -> String {
    match &blob.key.owner {
        BlobOwner::Public => "public".to_owned(),
        BlobOwner::Private(registry, repository) => format!("{registry}/{repository}"),
    }
}

fn to_json(blob: &ListedBlob) -> Value {
    json!({
        "digest": blob.key.digest,
        "owner": owner(blob),
        "size": blob.size,
        "stored": blob.stored,
        "verified": blob.verified,
        "used": used(blob),
    })
}

/// The digests are as short as docker's.
fn table(blobs: &[ListedBlob]) -> String {
    if blobs.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "{:19}  {:>10}  {:>10}  {:8}  {:20}  {}\n",
        "DIGEST", "SIZE", "KEPT", "CHECKED", "USED", "OWNER"
    );
    for blob in blobs {
        let digest = &blob.key.digest;
        text += &format!(
            "{:19}  {:>10}  {:>10}  {:8}  {:20}  {}\n",
            format!("{}:{}", digest.algorithm(), &digest.hex()[..12]),
            ByteSize(blob.size).to_string(),
            ByteSize(blob.stored).to_string(),
            if blob.verified { "yes" } else { "no" },
            used(blob),
            owner(blob),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_host::blob_store::BlobKey;

    #[test]
    fn the_table_lines_up() {
        let digest = format!("sha256:{}", "0a".repeat(32)).parse().unwrap();
        let private = BlobOwner::Private("ghcr.io".parse().unwrap(), "me/app".parse().unwrap());
        let blob = |owner, stored| ListedBlob {
            key: BlobKey { digest: Clone::clone(&digest), owner },
            size: 29_536_000,
            stored,
            verified: stored > 1_000_000,
            used: std::time::UNIX_EPOCH + Duration::from_secs(1_764_000_000),
        };
        let blobs = [blob(BlobOwner::Public, 29_536_000), blob(private, 262_144)];
        assert_eq!(
            table(&blobs),
            "\
DIGEST                     SIZE        KEPT  CHECKED   USED                  OWNER
sha256:0a0a0a0a0a0a    29.54 MB    29.54 MB  yes       2025-11-24T16:00:00Z  public
sha256:0a0a0a0a0a0a    29.54 MB   262.14 kB  no        2025-11-24T16:00:00Z  ghcr.io/me/app
"
        );
        assert_eq!(to_json(&blobs[1])["stored"], 262_144);
        assert_eq!((count(1, "layer"), count(0, "layer")), ("1 layer".to_owned(), "0 layers".to_owned()));
    }
}
