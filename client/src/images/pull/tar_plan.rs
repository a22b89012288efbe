//! The layout of a tar whose file sizes are known before.
//!
//! Pure. Layers are downloaded concurrently straight into the archive: nothing is written twice, and the disk
//! needs space for one copy only.

use std::io;

/// A file in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TarEntry {
    pub(super) path: String,
    pub(super) size: u64,
}

/// The positions in a tar.
#[derive(Debug, Default)]
pub(super) struct TarPlan {
    /// For each entry in order: the position of its header, and the header.
    pub(super) headers: Vec<(u64, Vec<u8>)>,
    /// For each entry in order: the position of its content.
    pub(super) contents: Vec<u64>,
    /// The length of the archive. Bytes outside headers and contents are zero.
    pub(super) length: u64,
}

/// Sizes are rounded up to this (POSIX `pax`, "ustar Interchange Format").
const TAR_BLOCK_BYTES: u64 = 512;

impl TarPlan {
    pub(super) fn new(entries: &[TarEntry]) -> io::Result<Self> {
        let mut plan = Self::default();
        for entry in entries {
            let header = header(entry)?;
            let content = plan.length + header.len() as u64;
            plan.headers.push((plan.length, header));
            plan.contents.push(content);
            plan.length = content + entry.size.next_multiple_of(TAR_BLOCK_BYTES);
        }
        // Two empty blocks mark the end.
        plan.length += 2 * TAR_BLOCK_BYTES;
        Ok(plan)
    }
}

/// The header blocks of an entry: more than one for a long path.
fn header(entry: &TarEntry) -> io::Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_size(entry.size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    let mut builder = tar::Builder::new(Vec::new());
    // There is no content yet. The builder takes the size from the header.
    builder.append_data(&mut header, &entry.path, io::empty())?;
    Ok(builder.get_ref().clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn other_programs_can_read_the_tar() {
        let long = format!("blobs/sha512/{}", "ab".repeat(64));
        let files = [("empty", 0), ("one", 1), ("block", 512), (&*long, 513), ("last", 2000)];
        let entries: Vec<_> =
            files.iter().map(|(path, size)| TarEntry { path: (*path).to_owned(), size: *size }).collect();
        let plan = TarPlan::new(&entries).unwrap();
        let mut bytes = vec![0; plan.length as usize];
        for (at, header) in &plan.headers {
            bytes[*at as usize..][..header.len()].copy_from_slice(header);
        }
        for (n, (at, (_, size))) in plan.contents.iter().zip(files).enumerate() {
            bytes[*at as usize..][..size as usize].fill(n as u8 + 1);
        }
        let mut archive = tar::Archive::new(&bytes[..]);
        for (n, entry) in archive.entries().unwrap().enumerate() {
            let mut entry = entry.unwrap();
            assert_eq!(entry.path().unwrap().to_str(), Some(files[n].0));
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            assert_eq!(content, vec![n as u8 + 1; files[n].1 as usize]);
        }
        assert_eq!(plan.length % TAR_BLOCK_BYTES, 0);
    }

    #[test]
    fn layers_may_be_larger_than_8_gib() {
        let entry = TarEntry { path: "huge".into(), size: 9 << 30 };
        let plan = TarPlan::new(&[entry]).unwrap();
        let header = tar::Header::from_byte_slice(&plan.headers[0].1);
        assert_eq!(header.entry_size().unwrap(), 9 << 30);
    }
}
