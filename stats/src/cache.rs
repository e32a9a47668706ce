//! The cache on disk: one entry file a data file.
//!
//! An entry is `magic, format version, payload length, payload, checksum` (little endian; the payload is a
//! [`FileStats`] in postcard; the checksum is XXH64 of all before it). Its name is the hash of the data file's key, and the
//! payload repeats the key in full. Entries are written to a temporary file in the same folder and renamed, so that readers see
//! a whole entry or none. Whatever is wrong with an entry makes it a miss, never an error and never a wrong number.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use twox_hash::XxHash64;

use crate::StatsError;
use crate::file_stats::{FileStats, FileVersion};

const MAGIC: &[u8; 8] = b"jwstats\0";

/// To be raised whenever [`FileStats`], a sketch, or a hash function changes.
const FORMAT_VERSION: u32 = 1;

/// Magic, version, and payload length.
const HEADER: usize = 8 + 4 + 8;

/// Bytes of the checksum at the end.
const CHECKSUM: usize = 8;

/// No entry is larger: some 60,000 columns. What claims to be is damaged, and is not read.
const MAX_ENTRY: u64 = 256 << 20;

/// A folder of cache entries, which several processes may share.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    /// Distinguishes temporary files of one process.
    serial: AtomicU64,
}

impl Cache {
    pub(crate) fn open(folder: &Path) -> Result<Self, StatsError> {
        let unusable = |source| StatsError::CacheFolder {
            path: folder.to_owned(),
            source,
        };
        fs::create_dir_all(folder).map_err(unusable)?;
        Ok(Self {
            folder: folder.to_owned(),
            serial: AtomicU64::new(0),
        })
    }

    fn entry_path(&self, key: &str) -> PathBuf {
        let hash = XxHash64::oneshot(0, key.as_bytes());
        self.folder.join(format!("{hash:016x}.stats"))
    }

    /// The statistics of this version of a file, if the cache has them.
    pub(crate) fn load(&self, version: &FileVersion) -> Option<FileStats> {
        let path = self.entry_path(&version.key);
        let bytes = match read_entry(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read a statistics entry");
                return None;
            }
        };
        match decode(&bytes) {
            // Another file of the same hash, or another version of this one: no cause for a warning.
            Ok(stats) => stats.version.same_contents(version).then_some(stats),
            Err(reason) => {
                tracing::warn!(path = %path.display(), reason, "ignoring a statistics entry");
                None
            }
        }
    }

    /// Stores the statistics of a file in the place of what was known of it.
    pub(crate) fn store(&self, stats: &FileStats) -> io::Result<()> {
        let path = self.entry_path(&stats.version.key);
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let name = format!(".{}-{serial}.tmp", std::process::id());
        let temporary = path.with_extension(name);
        let written = encode(stats).and_then(|bytes| {
            File::create(&temporary)?.write_all(&bytes)?;
            fs::rename(&temporary, &path)
        });
        if written.is_err() {
            // Best effort: the folder may be read-only or gone.
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

fn read_entry(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(MAX_ENTRY + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn encode(stats: &FileStats) -> io::Result<Vec<u8>> {
    let payload = postcard::to_stdvec(stats).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(HEADER + payload.len() + CHECKSUM);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&payload);
    let checksum = XxHash64::oneshot(0, &bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    if bytes.len() as u64 > MAX_ENTRY {
        return Err(io::Error::other("the entry is too large"));
    }
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<FileStats, &'static str> {
    let (header, rest) = bytes.split_at_checked(HEADER).ok_or("it is truncated")?;
    let (magic, header) = header.split_at(8);
    let (version, length) = header.split_at(4);
    if magic != MAGIC {
        return Err("it is no statistics entry");
    }
    if version != FORMAT_VERSION.to_le_bytes() {
        return Err("it has another format version");
    }
    let payload_length = rest.len().checked_sub(CHECKSUM).ok_or("it is truncated")?;
    if length != (payload_length as u64).to_le_bytes() {
        return Err("its length is wrong");
    }
    let (payload, checksum) = rest.split_at(payload_length);
    let sum = XxHash64::oneshot(0, &bytes[..HEADER + payload_length]);
    if checksum != sum.to_le_bytes() {
        return Err("its checksum is wrong");
    }
    match postcard::take_from_bytes(payload) {
        Ok((stats, [])) => Ok(stats),
        _ => Err("its payload is malformed"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::file_stats::Pass;

    fn stats() -> FileStats {
        FileStats {
            version: FileVersion {
                key: "file:///a b/ü.parquet".to_owned(),
                size: 12,
                modified: (1, 2),
                e_tag: None,
            },
            pass: Pass::Footer,
            analyzed_at: 3,
            rows: 4,
            row_groups: 1,
            schema_fingerprint: 5,
            columns: Vec::new(),
        }
    }

    #[test]
    fn entries_survive_a_round_trip() {
        assert_eq!(decode(&encode(&stats()).unwrap()), Ok(stats()));
    }

    #[test]
    fn newer_and_oversized_entries_are_refused() {
        let mut newer = encode(&stats()).unwrap();
        newer[8] += 1;
        assert_eq!(decode(&newer), Err("it has another format version"));
        let mut oversized = encode(&stats()).unwrap();
        oversized[12..20].fill(0xff);
        assert_eq!(decode(&oversized), Err("its length is wrong"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn no_flipped_bit_is_believed(position in any::<prop::sample::Index>(), bit in 0u32..8) {
            let mut entry = encode(&stats()).unwrap();
            let position = position.index(entry.len());
            entry[position] ^= 1u8 << bit;
            prop_assert!(decode(&entry).is_err());
        }

        #[test]
        fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&noise).is_err());
        }
    }

    #[test]
    fn a_version_is_its_tag_or_else_its_time() {
        let version = |size, time, e_tag: Option<&str>| FileVersion {
            key: "k".to_owned(),
            size,
            modified: (time, 0),
            e_tag: e_tag.map(str::to_owned),
        };
        let check = |a: FileVersion, b: FileVersion, same| assert_eq!(a.same_contents(&b), same);
        check(version(1, 1, None), version(1, 1, None), true);
        check(version(1, 1, None), version(1, 2, None), false);
        check(version(1, 1, None), version(2, 1, None), false);
        check(version(1, 1, Some("a")), version(1, 2, Some("a")), true);
        check(version(1, 1, Some("a")), version(1, 1, Some("b")), false);
        check(version(1, 1, Some("a")), version(1, 1, None), true);
    }
}
