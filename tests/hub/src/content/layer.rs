//! Layers of an image: tar archives, gzip'd or plain, with their diff IDs.
//! Must never depend on anything but the input: no clock, no owner names, no paths of this machine.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

use crate::content::blob::{Blob, BlobPart, Digest, Noise};

/// A layer as a registry stores it, and the digest of its tar archive.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The stored and transferred blob.
    pub blob: Blob,
    /// The digest of the uncompressed archive, as in the image's config.
    pub diff_id: Digest,
    /// Whether `blob` is gzip'd.
    pub gzip: bool,
    /// The `created_by` of the config's history.
    pub made_by: String,
}

impl Layer {
    /// A gzip'd archive of these files. A path that ends in `/` is a directory.
    pub fn of_files(files: &[(&str, &[u8])]) -> io::Result<Self> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, content) in files {
            archive.append(&header(path, content.len() as u64)?, *content)?;
        }
        let archive = archive.into_inner()?;
        let names: Vec<_> = files.iter().map(|(path, _)| *path).collect();
        Self::compress(&archive, format!("ADD {} / # docxy", names.join(" ")))
    }

    /// A gzip'd archive of one file of `len` incompressible bytes. Held in memory: for megabytes.
    pub fn of_noise(path: &str, seed: u64, len: u64) -> io::Result<Self> {
        let archive: Vec<u8> = archive_of_noise(path, seed, len)?.chunks().flatten().collect();
        Self::compress(&archive, format!("ADD {path} / # docxy noise {seed} {len}"))
    }

    /// The same, but uncompressed and generated as it is read: for gigabytes.
    pub fn of_plain_noise(path: &str, seed: u64, len: u64) -> io::Result<Self> {
        let blob = archive_of_noise(path, seed, len)?;
        let diff_id = blob.digest().clone();
        Ok(Self { blob, diff_id, gzip: false, made_by: format!("ADD {path} / # docxy noise {seed} {len}") })
    }

    fn compress(archive: &[u8], made_by: String) -> io::Result<Self> {
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::fast());
        gzip.write_all(archive)?;
        let blob = Blob::from_bytes(gzip.finish()?);
        Ok(Self { blob, diff_id: Digest::of(archive), gzip: true, made_by })
    }
}

fn archive_of_noise(path: &str, seed: u64, len: u64) -> io::Result<Blob> {
    const BLOCK: u64 = 512;
    let padding = len.next_multiple_of(BLOCK) - len;
    // Two zero blocks end an archive.
    let trailer = vec![0; (padding + 2 * BLOCK) as usize];
    Ok(Blob::from_parts(vec![
        BlobPart::Bytes(Bytes::copy_from_slice(header(path, len)?.as_bytes())),
        BlobPart::Noise(Noise::new(seed, len)),
        BlobPart::Bytes(trailer.into()),
    ]))
}

fn header(path: &str, len: u64) -> io::Result<Header> {
    let mut header = Header::new_gnu();
    let directory = path.ends_with('/');
    header.set_path(path)?;
    header.set_entry_type(if directory { EntryType::Directory } else { EntryType::Regular });
    header.set_mode(if directory { 0o755 } else { 0o644 });
    header.set_size(len);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn contents(archive: impl Read) -> Vec<(String, u64)> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().expect("an archive");
        entries
            .map(|entry| {
                let entry = entry.expect("a valid entry");
                (entry.path().expect("a path").display().to_string(), entry.size())
            })
            .collect()
    }

    #[test]
    fn a_layer_is_a_valid_tar() {
        let layer = Layer::of_files(&[("etc/", b""), ("etc/os-release", b"ID=docxy\n")]).expect("in memory");
        let bytes: Vec<u8> = layer.blob.chunks().flatten().collect();
        let names = contents(flate2::read::GzDecoder::new(&bytes[..]));
        assert_eq!(names, [("etc/".to_owned(), 0), ("etc/os-release".to_owned(), 9)]);
    }

    #[test]
    fn plain_and_gzip_noise_hold_the_same_archive() {
        let plain = Layer::of_plain_noise("data", 3, 100_001).expect("in memory");
        let packed = Layer::of_noise("data", 3, 100_001).expect("in memory");
        assert_eq!(plain.diff_id, packed.diff_id);
        let bytes: Vec<u8> = plain.blob.chunks().flatten().collect();
        assert_eq!(contents(&bytes[..]), [("data".to_owned(), 100_001)]);
        assert!(packed.blob.len() > 100_000, "noise must not compress");
    }
}
