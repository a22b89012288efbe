//! Downloads one blob to the disk: verified, and resumed where the transfer was interrupted.

use super::blob_writer::{BlobWriter, WriterStopped};
use super::image_source::{ImageSource, RegistryBody, RegistryClient, SourceError, check};
use super::progress::BlobProgress;
use super::staged_image::EntryWriter;
use docxy_protocol::fault::FaultKind;
use docxy_protocol::manifest::Descriptor;
use http::{Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use std::io;
use std::time::Duration;

/// The most retries in a row that bring no further byte. On a path that fails every minute a large layer
/// needs many retries, and each brings some bytes.
const FRUITLESS_RETRIES_MAX: u32 = 5;

/// Why a blob was not downloaded.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are the name of the blob and the failure")]
pub enum BlobError {
    /// The registry refuses it, or sends something else.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Its size differs from that in the manifest.
    #[error("{what} has {found} bytes, but its manifest has {expected}, so it is not stored")]
    Size { what: String, expected: u64, found: String },
    /// Every attempt failed.
    #[error("{what} was interrupted at {position} of {size} bytes, {} times in a row: {reason}", FRUITLESS_RETRIES_MAX + 1)]
    GaveUp { what: String, position: u64, size: u64, reason: String },
    /// The disk failed.
    #[error("writing {what}: {source}")]
    Write { what: String, source: io::Error },
}

/// Why an attempt ended early.
enum Interruption {
    /// Another attempt may bring the rest.
    Broken(String),
    /// No attempt would succeed.
    Final(BlobError),
    /// The disk failed; the writer has the error.
    WriterStopped,
}

/// Downloads a blob into `writer`, and returns that when the blob is complete and verified. `wait` is the
/// pause before the second attempt. It doubles for each further one.
pub(super) async fn download<A: RegistryClient>(
    source: &ImageSource<'_, A>,
    blob: &Descriptor,
    writer: EntryWriter,
    wait: Duration,
    progress: &mut BlobProgress<'_>,
) -> Result<EntryWriter, BlobError> {
    let mut blob_writer = BlobWriter::start(writer, &blob.digest);
    let what = name_of(blob);
    let (mut failures, mut furthest) = (0, 0);
    while let Err(interruption) = attempt(source, blob, &mut blob_writer, progress).await {
        let reason = match interruption {
            Interruption::Broken(reason) => reason,
            Interruption::Final(error) => return Err(error),
            Interruption::WriterStopped => break,
        };
        let position = blob_writer.position();
        failures = if position > furthest { 1 } else { failures + 1 };
        furthest = furthest.max(position);
        if failures > FRUITLESS_RETRIES_MAX {
            return Err(BlobError::GaveUp { what, position, size: blob.size, reason });
        }
        let pause = wait * 2_u32.pow(failures - 1);
        progress.note(&format!("interrupted, next attempt in {:.1} s: {reason}", pause.as_secs_f64()));
        tokio::time::sleep(pause).await;
    }
    match blob_writer.finish().await {
        Ok((writer, found)) => {
            check(&what, &blob.digest, &found)?;
            progress.done();
            Ok(writer)
        }
        Err(source) => Err(BlobError::Write { what, source }),
    }
}

/// Requests the missing bytes once, and writes them.
async fn attempt<A: RegistryClient>(
    source: &ImageSource<'_, A>,
    blob: &Descriptor,
    blob_writer: &mut BlobWriter,
    progress: &mut BlobProgress<'_>,
) -> Result<(), Interruption> {
    while blob_writer.position() < blob.size {
        let response = match source.blob(&blob.digest, blob_writer.position()).await {
            Ok(response) => response,
            Err(SourceError::Refused { status: StatusCode::RANGE_NOT_SATISFIABLE, .. })
                if blob_writer.position() > 0 =>
            {
                // The status is not clear, but the registry has the start of the blob.
                blob_writer.restart().await?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if !continues(&response, blob_writer.position(), blob.size) {
            blob_writer.restart().await?;
            if response.status() == StatusCode::PARTIAL_CONTENT {
                return Err(Interruption::Broken("the registry sent another range than requested".into()));
            }
        }
        receive(response, blob, blob_writer, progress).await?;
    }
    Ok(())
}

/// Whether the body of a response is exactly the rest after `position` bytes, by its `Content-Range` (RFC
/// 9110, section 14.4).
fn continues(response: &Response<RegistryBody>, position: u64, size: u64) -> bool {
    if response.status() == StatusCode::OK {
        return position == 0;
    }
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range == Some(&*format!("bytes {position}-{}/{size}", size - 1))
}

async fn receive(
    response: Response<RegistryBody>,
    blob: &Descriptor,
    blob_writer: &mut BlobWriter,
    progress: &mut BlobProgress<'_>,
) -> Result<(), Interruption> {
    let wrong_size = |found: String| {
        Interruption::Final(BlobError::Size { what: name_of(blob), expected: blob.size, found })
    };
    let mut body = response.into_body();
    if let Some(length) = body.size_hint().exact() {
        let found = blob_writer.position().saturating_add(length);
        if found != blob.size {
            return Err(wrong_size(found.to_string()));
        }
    }
    while let Some(frame) = body.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(bytes)) => {
                // The next bytes on the disk belong to another blob.
                if blob_writer.position() + bytes.len() as u64 > blob.size {
                    return Err(wrong_size("more".into()));
                }
                blob_writer.write(bytes).await?;
                progress.at(blob_writer.position());
            }
            Ok(Err(_trailers)) => {}
            Err(_) if blob_writer.position() == blob.size => break,
            Err(fault) => return Err(Interruption::Broken(fault.to_string())),
        }
    }
    if blob_writer.position() < blob.size {
        Err(wrong_size(blob_writer.position().to_string()))
    } else {
        Ok(())
    }
}

impl From<SourceError> for Interruption {
    fn from(error: SourceError) -> Self {
        match &error {
            SourceError::Fault { fault, .. } if is_transient(fault.kind) => Self::Broken(fault.to_string()),
            // The registry gave the manifest, so it serves the blobs too. A 403 is an expired URL of the CDN,
            // and another attempt gets a fresh one.
            SourceError::Refused { status, message, .. }
                if status.is_server_error() || *status == StatusCode::FORBIDDEN =>
            {
                Self::Broken(format!("the registry responded {status}{message}"))
            }
            _ => Self::Final(error.into()),
        }
    }
}

impl From<WriterStopped> for Interruption {
    fn from(_: WriterStopped) -> Self {
        Self::WriterStopped
    }
}

fn is_transient(kind: FaultKind) -> bool {
    use FaultKind::{Down, MalformedResponse, Overloaded, TimedOut, Truncated, Unreachable};
    matches!(kind, MalformedResponse | Down | Overloaded | TimedOut | Truncated | Unreachable)
}

fn name_of(blob: &Descriptor) -> String {
    format!("the blob {}", blob.digest)
}

#[cfg(test)]
mod tests {
    use super::super::destination::Destination;
    use super::super::fake_registry::{FakeRegistry, broken_after, response};
    use super::super::progress::Progress;
    use super::super::staged_image::StagedImage;
    use super::super::tar_plan::TarEntry;
    use super::*;
    use docxy_protocol::digester::Digester;
    use docxy_protocol::image_name::ImageName;
    use serde_json::json;

    const CONTENT: &str = "0123456789";

    /// Downloads the ten digits from a registry with these responses. Returns the requested ranges, and the
    /// result.
    async fn run(responses: Vec<Response<RegistryBody>>) -> (Vec<String>, Result<String, String>) {
        let digest = Digester::sha256().digest(CONTENT.as_bytes());
        let blob = json!({ "mediaType": "m", "digest": digest, "size": CONTENT.len() });
        let blob: Descriptor = serde_json::from_value(blob).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let destination = Destination::new(dir.path().join("image"), false).unwrap();
        let entry = TarEntry { path: "blob".into(), size: blob.size };
        let staged = StagedImage::begin(&destination, vec![entry]).unwrap();
        let registry = FakeRegistry::new(responses);
        let image: ImageName = "alpine".parse().unwrap();
        let source = ImageSource::new(&registry, &image);
        let progress = Progress::quiet();
        let mut progress = progress.blob("layer", &digest, blob.size);
        let writer = staged.writer("blob").unwrap();
        let done = download(&source, &blob, writer, Duration::from_millis(1), &mut progress).await;
        let content = done.map(|writer| String::from_utf8(writer.read(CONTENT.len()).unwrap()).unwrap());
        (registry.ranges(), content.map_err(|error| error.to_string()))
    }

    /// The response to `Range: bytes=N-` with the right bytes.
    fn part(from: usize) -> Response<RegistryBody> {
        with_range(response(206, &CONTENT[from..]), &format!("bytes {from}-9/10"))
    }

    fn with_range(mut response: Response<RegistryBody>, range: &str) -> Response<RegistryBody> {
        response.headers_mut().insert(header::CONTENT_RANGE, range.parse().unwrap());
        response
    }

    #[tokio::test]
    async fn an_interrupted_download_is_resumed() {
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
    async fn without_ranges_the_download_starts_again() {
        for second in [
            vec![response(200, CONTENT)],
            vec![response(416, ""), response(200, CONTENT)],
            vec![with_range(response(206, "5678"), "bytes 5-8/10"), response(200, CONTENT)],
            vec![response(206, "456789"), response(200, CONTENT)],
        ] {
            let responses = std::iter::once(broken_after(200, "xxxx")).chain(second).collect();
            let (ranges, content) = run(responses).await;
            assert_eq!(content.as_deref(), Ok(CONTENT), "{ranges:?}");
            assert_eq!(ranges[..2], ["", "bytes=4-"]);
        }
    }

    #[tokio::test]
    async fn six_attempts_without_a_byte_end_the_download() {
        let (ranges, outcome) = run((0..9).map(|_| response(503, "")).collect()).await;
        assert_eq!(ranges.len(), 6);
        let error = outcome.unwrap_err();
        assert!(error.contains("interrupted at 0 of 10 bytes, 6 times in a row"), "{error}");
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
    async fn wrong_content_is_an_error_without_a_retry() {
        for (responses, message) in [
            (vec![response(200, "012345678x")], "is not what it should be"),
            (vec![response(200, "012345678")], "has 9 bytes, but its manifest has 10"),
            (vec![response(200, "0123456789a")], "has 11 bytes"),
            (vec![broken_after(200, "0123456789a")], "has more bytes"),
            (vec![response(404, "")], "the registry responded 404"),
        ] {
            let (ranges, outcome) = run(responses).await;
            let error = outcome.unwrap_err();
            assert!(error.contains(message), "{error}");
            assert_eq!(ranges.len(), 1);
        }
    }
}
