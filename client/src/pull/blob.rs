//! One blob, from the registry to the disk: checked, and carried on where the transfer broke.

use super::draft::Slot;
use super::progress::BlobProgress;
use super::source::{Ask, Body, Source, SourceError, check};
use super::writer::{Stopped, Writer};
use docxy_protocol::fault::FaultKind;
use docxy_protocol::manifest::Descriptor;
use http::{Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use std::io;
use std::time::Duration;

/// How often a transfer is taken up again without getting any further than before. On a line that
/// breaks every minute a large layer needs many attempts, and each of them brings something.
const RETRIES: u32 = 5;

/// Why a blob is not there.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are the blob's name and what came of it")]
pub enum BlobError {
    /// The registry doesn't give it, or not what it should.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It has another size than the manifest says.
    #[error("{what} has {found} bytes, and its manifest says {expected}, so it was not kept")]
    Size { what: String, expected: u64, found: String },
    /// Every attempt failed.
    #[error("{what} broke off at {position} of {size} bytes, {} times in a row: {why}", RETRIES + 1)]
    GaveUp { what: String, position: u64, size: u64, why: String },
    /// The disk failed.
    #[error("writing {what}: {source}")]
    Write { what: String, source: io::Error },
}

/// Why an attempt ended before the blob was whole.
enum Interruption {
    /// Another one may bring the rest.
    Broken(String),
    /// No other one would do better.
    Final(BlobError),
    /// The disk failed; the writer knows how.
    Stopped,
}

/// Downloads a blob into `slot`, and gives that back when everything is there and is right.
/// `wait` is the pause before the second attempt, which doubles for each one after it.
pub(super) async fn download<A: Ask>(
    source: &Source<'_, A>,
    blob: &Descriptor,
    slot: Slot,
    wait: Duration,
    progress: &mut BlobProgress<'_>,
) -> Result<Slot, BlobError> {
    let mut writer = Writer::start(slot, &blob.digest);
    let what = name_of(blob);
    let (mut failures, mut furthest) = (0, 0);
    while let Err(interruption) = attempt(source, blob, &mut writer, progress).await {
        let why = match interruption {
            Interruption::Broken(why) => why,
            Interruption::Final(error) => return Err(error),
            Interruption::Stopped => break,
        };
        let position = writer.position();
        failures = if position > furthest { 1 } else { failures + 1 };
        furthest = furthest.max(position);
        if failures > RETRIES {
            return Err(BlobError::GaveUp { what, position, size: blob.size, why });
        }
        let pause = wait * 2_u32.pow(failures - 1);
        progress.note(&format!("broke off, trying again in {:.1} s: {why}", pause.as_secs_f64()));
        tokio::time::sleep(pause).await;
    }
    match writer.finish().await {
        Ok((slot, found)) => {
            check(&what, &blob.digest, &found)?;
            progress.done();
            Ok(slot)
        }
        Err(source) => Err(BlobError::Write { what, source }),
    }
}

/// Asks once for what is missing, and takes what comes.
async fn attempt<A: Ask>(
    source: &Source<'_, A>,
    blob: &Descriptor,
    writer: &mut Writer,
    progress: &mut BlobProgress<'_>,
) -> Result<(), Interruption> {
    while writer.position() < blob.size {
        let answer = match source.blob(&blob.digest, writer.position()).await {
            Ok(answer) => answer,
            Err(SourceError::Refused { status: StatusCode::RANGE_NOT_SATISFIABLE, .. })
                if writer.position() > 0 =>
            {
                // Whatever this registry means by it, it has the beginning.
                writer.restart().await?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if !continues(&answer, writer.position(), blob.size) {
            writer.restart().await?;
            if answer.status() == StatusCode::PARTIAL_CONTENT {
                return Err(Interruption::Broken("the registry sent another part than was asked for".into()));
            }
        }
        receive(answer, blob, writer, progress).await?;
    }
    Ok(())
}

/// Whether an answer's body is what follows the first `position` bytes: all of the rest, by an
/// exact `Content-Range` (RFC 9110, section 14.4).
fn continues(answer: &Response<Body>, position: u64, size: u64) -> bool {
    if answer.status() == StatusCode::OK {
        return position == 0;
    }
    let range = answer.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range == Some(&*format!("bytes {position}-{}/{size}", size - 1))
}

async fn receive(
    answer: Response<Body>,
    blob: &Descriptor,
    writer: &mut Writer,
    progress: &mut BlobProgress<'_>,
) -> Result<(), Interruption> {
    let wrong_size = |found: String| {
        Interruption::Final(BlobError::Size { what: name_of(blob), expected: blob.size, found })
    };
    let mut body = answer.into_body();
    if let Some(length) = body.size_hint().exact() {
        let found = writer.position().saturating_add(length);
        if found != blob.size {
            return Err(wrong_size(found.to_string()));
        }
    }
    while let Some(frame) = body.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(bytes)) => {
                // What comes next on the disk belongs to another blob.
                if writer.position() + bytes.len() as u64 > blob.size {
                    return Err(wrong_size("more".into()));
                }
                writer.write(bytes).await?;
                progress.at(writer.position());
            }
            Ok(Err(_trailers)) => {}
            Err(_) if writer.position() == blob.size => break,
            Err(fault) => return Err(Interruption::Broken(fault.to_string())),
        }
    }
    if writer.position() < blob.size { Err(wrong_size(writer.position().to_string())) } else { Ok(()) }
}

impl From<SourceError> for Interruption {
    fn from(error: SourceError) -> Self {
        match &error {
            SourceError::Fault { fault, .. } if may_pass(fault.kind) => Self::Broken(fault.to_string()),
            // Whoever gives the manifest means its blobs to be had: a 403 is a CDN's URL that has
            // expired on the way, and another attempt gets a fresh one.
            SourceError::Refused { status, words, .. }
                if status.is_server_error() || *status == StatusCode::FORBIDDEN =>
            {
                Self::Broken(format!("the registry says {status}{words}"))
            }
            _ => Self::Final(error.into()),
        }
    }
}

impl From<Stopped> for Interruption {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

fn may_pass(kind: FaultKind) -> bool {
    use FaultKind::{Down, MalformedResponse, Overloaded, TimedOut, Truncated, Unreachable};
    matches!(kind, MalformedResponse | Down | Overloaded | TimedOut | Truncated | Unreachable)
}

fn name_of(blob: &Descriptor) -> String {
    format!("the blob {}", blob.digest)
}

#[cfg(test)]
mod tests {
    use super::super::destination::Destination;
    use super::super::draft::Draft;
    use super::super::progress::Progress;
    use super::super::script::{Script, answer, broken_after};
    use super::super::tar_plan::Entry;
    use super::*;
    use docxy_protocol::digester::Digester;
    use docxy_protocol::image_name::ImageName;
    use serde_json::json;

    const CONTENT: &str = "0123456789";

    /// Downloads the ten digits from a registry that answers like this; what was asked for in
    /// `Range`, and what came of it.
    async fn run(answers: Vec<Response<Body>>) -> (Vec<String>, Result<String, String>) {
        let digest = Digester::sha256().digest(CONTENT.as_bytes());
        let blob = json!({ "mediaType": "m", "digest": digest, "size": CONTENT.len() });
        let blob: Descriptor = serde_json::from_value(blob).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let destination = Destination::new(dir.path().join("image"), false).unwrap();
        let entry = Entry { path: "blob".into(), size: blob.size };
        let draft = Draft::begin(&destination, vec![entry]).unwrap();
        let script = Script::new(answers);
        let image: ImageName = "alpine".parse().unwrap();
        let source = Source::new(&script, &image);
        let progress = Progress::quiet();
        let mut progress = progress.blob("layer", &digest, blob.size);
        let slot = draft.slot("blob").unwrap();
        let done = download(&source, &blob, slot, Duration::from_millis(1), &mut progress).await;
        let content = done.map(|slot| String::from_utf8(slot.read(CONTENT.len()).unwrap()).unwrap());
        (script.ranges(), content.map_err(|error| error.to_string()))
    }

    /// The answer to `Range: bytes=N-`, which holds the right bytes.
    fn part(from: usize) -> Response<Body> {
        with_range(answer(206, &CONTENT[from..]), &format!("bytes {from}-9/10"))
    }

    fn with_range(mut answer: Response<Body>, range: &str) -> Response<Body> {
        answer.headers_mut().insert(header::CONTENT_RANGE, range.parse().unwrap());
        answer
    }

    #[tokio::test]
    async fn a_broken_transfer_goes_on_where_it_broke() {
        let (ranges, content) = run(vec![
            broken_after(200, "0123"),
            with_range(broken_after(206, "45"), "bytes 4-9/10"),
            part(6),
        ])
        .await;
        assert_eq!(content.unwrap(), CONTENT);
        assert_eq!(ranges, ["", "bytes=4-", "bytes=6-"]);
    }

    #[tokio::test]
    async fn a_registry_that_cannot_resume_sends_everything_again() {
        for second in [
            vec![answer(200, CONTENT)],
            vec![answer(416, ""), answer(200, CONTENT)],
            vec![with_range(answer(206, "5678"), "bytes 5-8/10"), answer(200, CONTENT)],
            vec![answer(206, "456789"), answer(200, CONTENT)],
        ] {
            let answers = std::iter::once(broken_after(200, "xxxx")).chain(second).collect();
            let (ranges, content) = run(answers).await;
            assert_eq!(content.as_deref(), Ok(CONTENT), "{ranges:?}");
            assert_eq!(ranges[..2], ["", "bytes=4-"]);
        }
    }

    #[tokio::test]
    async fn what_brings_nothing_six_times_is_given_up_and_what_brings_a_little_is_not() {
        let (ranges, outcome) = run((0..9).map(|_| answer(503, "")).collect()).await;
        assert_eq!(ranges.len(), 6);
        let error = outcome.unwrap_err();
        assert!(error.contains("broke off at 0 of 10 bytes, 6 times in a row"), "{error}");
        assert!(error.contains("503"), "{error}");

        let one = |n: usize| {
            let status = if n == 0 { 200 } else { 206 };
            with_range(broken_after(status, &CONTENT[n..=n]), &format!("bytes {n}-9/10"))
        };
        let (ranges, content) = run((0..10).map(one).collect()).await;
        assert_eq!(content.as_deref(), Ok(CONTENT));
        assert_eq!(ranges.len(), 10);
    }

    #[tokio::test]
    async fn wrong_content_is_an_error_and_asked_for_once() {
        for (answers, words) in [
            (vec![answer(200, "012345678x")], "is not what it should be"),
            (vec![answer(200, "012345678")], "has 9 bytes, and its manifest says 10"),
            (vec![answer(200, "0123456789a")], "has 11 bytes"),
            (vec![broken_after(200, "0123456789a")], "has more bytes"),
            (vec![answer(404, "")], "the registry says 404"),
        ] {
            let (ranges, outcome) = run(answers).await;
            let error = outcome.unwrap_err();
            assert!(error.contains(words), "{error}");
            assert_eq!(ranges.len(), 1);
        }
    }
}
