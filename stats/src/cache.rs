//! The cache on disk: one entry a data file.
//!
//! An entry is `magic, format version, length of the head, length of the parts, head, checksum, parts` (little endian; the head is a
//! [`FileStats`] in postcard; the checksum is XXH64 of all before it; each part has a checksum of its own in the head). Its name
//! is the hash of the data file's key, and the head repeats the key in full. Only heads are read when a catalog opens; parts are
//! read when an estimate asks for them, and only from the entry that the head came from.
//!
//! Entries are written to a temporary file in the same folder and renamed, so that readers see a whole entry or none, and
//! several processes may share the folder. Whatever is wrong with an entry makes it a miss, never an error and never a wrong
//! number.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use twox_hash::XxHash64;

use crate::StatsError;
use crate::file_stats::{FileStats, FileVersion};
use crate::parts::{Part, PartInfo, PartKind};

const MAGIC: &[u8; 8] = b"jwstats\0";

/// To be raised whenever [`FileStats`], a sketch, a part, or a hash function changes.
const FORMAT_VERSION: u32 = 6;

/// Magic, version, and two lengths.
const HEADER: usize = 8 + 4 + 8 + 8;

/// Bytes of the checksum after the head.
const CHECKSUM: usize = 8;

/// No head is larger: some 100,000 columns. What claims to be is damaged, and is not read.
const MAX_HEAD: u64 = 256 << 20;

/// Read at once from an entry; most heads fit.
const FIRST_READ: usize = 16 << 10;

/// The ending of an entry's name.
const ENDING: &str = "stats";

/// Temporary files older than this were left behind by a process that died.
const ABANDONED: Duration = Duration::from_secs(600);

/// A folder of cache entries, which several processes may share.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    /// Distinguishes the temporary files of this cache from those of others over the same folder, in this process or another.
    nonce: u64,
    /// Distinguishes temporary files of this cache.
    serial: AtomicU64,
}

/// The statistics of a file, with its parts wherever they are.
#[derive(Clone, Debug)]
pub(crate) struct FileEntry {
    pub(crate) stats: FileStats,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Memory(Vec<Bytes>),
    Disk {
        path: PathBuf,
        /// Where the parts begin.
        start: u64,
        /// The checksum of the head, which names the entry: another one may be in its place by now.
        head: [u8; CHECKSUM],
    },
}

impl FileEntry {
    /// Statistics that were just made, with their parts in memory.
    pub(crate) fn new(mut stats: FileStats, parts: Vec<Part>) -> Self {
        let mut offset = 0;
        let info = |part: &Part| {
            let length = part.bytes.len() as u64;
            offset += length;
            PartInfo {
                kind: part.kind,
                column: part.column,
                tier: part.tier,
                below: part.below,
                rows: part.rows,
                offset: offset - length,
                length,
                checksum: XxHash64::oneshot(0, &part.bytes),
            }
        };
        stats.parts = parts.iter().map(info).collect();
        Self {
            stats,
            body: Body::Memory(parts.into_iter().map(|part| part.bytes).collect()),
        }
    }

    /// The parts of a kind that a column has, by tier.
    pub(crate) fn parts_of(
        &self,
        kind: PartKind,
        column: usize,
    ) -> impl Iterator<Item = &PartInfo> {
        let parts = self.stats.parts.iter();
        parts.filter(move |part| part.kind == kind && part.column as usize == column)
    }

    /// The bytes of a part; `None` if they are damaged, or the entry has been replaced.
    pub(crate) fn read(&self, part: &PartInfo) -> Option<Bytes> {
        match &self.body {
            Body::Memory(bytes) => {
                let at = self.stats.parts.iter().position(|other| other == part)?;
                bytes.get(at).cloned()
            }
            Body::Disk { path, start, head } => match read_part(path, *start, head, part) {
                Ok(bytes) if XxHash64::oneshot(0, &bytes) == part.checksum => Some(bytes.into()),
                Ok(_) => {
                    tracing::warn!(path = %path.display(), "ignoring a damaged part of a statistics entry");
                    None
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "cannot read a part of a statistics entry");
                    None
                }
            },
        }
    }

    /// All parts can be read.
    pub(crate) fn is_sound(&self) -> bool {
        self.stats
            .parts
            .iter()
            .all(|part| self.read(part).is_some())
    }

    /// Bytes of the entry on disk.
    pub(crate) fn size(&self) -> u64 {
        let parts: u64 = self.stats.parts.iter().map(|part| part.length).sum();
        let head = match &self.body {
            Body::Disk { start, .. } => *start,
            Body::Memory(_) => 0,
        };
        head + parts
    }

    /// The entry with some of its parts alone; what cannot be read is left out as well.
    pub(crate) fn thinned(&self, keep: impl Fn(&PartInfo) -> bool) -> Self {
        let mut stats = self.stats.clone();
        let mut parts = Vec::new();
        for info in &self.stats.parts {
            match self.read(info).filter(|_| keep(info)) {
                Some(bytes) => parts.push(Part {
                    kind: info.kind,
                    column: info.column,
                    tier: info.tier,
                    below: info.below,
                    rows: info.rows,
                    bytes,
                }),
                None => stats.dropped.push(crate::file_stats::Dropped {
                    kind: info.kind,
                    column: info.column,
                    rows: info.rows,
                    bytes: info.length,
                }),
            }
        }
        Self::new(stats, parts)
    }
}

fn read_part(
    path: &Path,
    start: u64,
    head: &[u8; CHECKSUM],
    part: &PartInfo,
) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut found = [0; CHECKSUM];
    file.seek(SeekFrom::Start(start - CHECKSUM as u64))?;
    file.read_exact(&mut found)?;
    if found != *head {
        return Err(io::Error::other("another entry has taken its place"));
    }
    file.seek_relative(i64::try_from(part.offset).map_err(io::Error::other)?)?;
    let length = usize::try_from(part.length).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(length);
    file.take(part.length).read_to_end(&mut bytes)?;
    Ok(bytes)
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
            // Random keys are all that this hasher is for: no decision depends on them.
            nonce: RandomState::new().hash_one(std::process::id()),
            serial: AtomicU64::new(0),
        })
    }

    fn entry_path(&self, key: &str) -> PathBuf {
        let hash = XxHash64::oneshot(0, key.as_bytes());
        self.folder.join(format!("{hash:016x}.{ENDING}"))
    }

    /// A path in the folder for a temporary file.
    pub(crate) fn temporary_path(&self) -> PathBuf {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        self.folder
            .join(format!("{:016x}-{serial}.tmp", self.nonce))
    }

    /// The statistics of this version of a file, if the cache has them.
    pub(crate) fn load(&self, version: &FileVersion) -> Option<FileEntry> {
        // Another file of the same hash, or another version of this one: no cause for a warning.
        let entry = load_entry(&self.entry_path(&version.key))?;
        entry.stats.version.same_contents(version).then_some(entry)
    }

    /// Stores the statistics of a file in the place of what was known of it. Returns the entry as it is on disk now.
    pub(crate) fn store(&self, entry: &FileEntry) -> io::Result<FileEntry> {
        let path = self.entry_path(&entry.stats.version.key);
        let temporary = self.temporary_path();
        let head = encode_head(&entry.stats)?;
        let written =
            write_entry(&temporary, &head, entry).and_then(|()| fs::rename(&temporary, &path));
        if let Err(error) = written {
            // Best effort: the folder may be read-only or gone.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        Ok(FileEntry {
            stats: entry.stats.clone(),
            body: body_on_disk(path, &head),
        })
    }

    /// All entries of the folder, and what is no entry any more: abandoned temporary files.
    fn walk(&self, mut entry: impl FnMut(&Path), mut abandoned: impl FnMut(&Path)) {
        let Ok(folder) = fs::read_dir(&self.folder) else {
            return;
        };
        for file in folder.flatten() {
            let path = file.path();
            match path.extension().and_then(|ending| ending.to_str()) {
                Some(ENDING) => entry(&path),
                Some("tmp") => {
                    let modified = file.metadata().and_then(|data| data.modified());
                    let age = modified.map(|time| SystemTime::now().duration_since(time));
                    if age.is_ok_and(|age| age.is_ok_and(|age| age > ABANDONED)) {
                        abandoned(&path);
                    }
                }
                _ => {}
            }
        }
    }

    /// Bytes of all entries.
    pub(crate) fn size(&self) -> u64 {
        let mut size = 0;
        let add = |path: &Path| size += fs::metadata(path).map_or(0, |data| data.len());
        self.walk(add, |_| {});
        size
    }

    /// The data files of all entries that can be read, but for those `known`. Removes abandoned temporary files.
    pub(crate) fn keys_beside(&self, known: &HashSet<String>) -> Vec<String> {
        let known: HashSet<PathBuf> = known.iter().map(|key| self.entry_path(key)).collect();
        let mut keys = Vec::new();
        let read = |path: &Path| {
            if !known.contains(path) {
                keys.extend(load_entry(path).map(|entry| entry.stats.version.key));
            }
        };
        self.walk(read, |path| {
            let _ = fs::remove_file(path);
        });
        keys
    }

    /// Removes the entry of a file. Best effort: it may be gone, or the folder read-only.
    pub(crate) fn remove(&self, key: &str) {
        let _ = fs::remove_file(self.entry_path(key));
    }
}

fn load_entry(path: &Path) -> Option<FileEntry> {
    match read_head(path) {
        Ok((head, size)) => match decode_head(&head, size) {
            Ok(stats) => Some(FileEntry {
                stats,
                body: body_on_disk(path.to_owned(), &head),
            }),
            Err(reason) => {
                tracing::warn!(path = %path.display(), reason, "ignoring a statistics entry");
                None
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read a statistics entry");
            None
        }
    }
}

fn body_on_disk(path: PathBuf, head: &[u8]) -> Body {
    let mut checksum = [0; CHECKSUM];
    if let Some(last) = head.last_chunk() {
        checksum = *last;
    }
    Body::Disk {
        path,
        start: head.len() as u64,
        head: checksum,
    }
}

fn write_entry(path: &Path, head: &[u8], entry: &FileEntry) -> io::Result<()> {
    let mut file = io::BufWriter::new(File::create(path)?);
    file.write_all(head)?;
    for part in &entry.stats.parts {
        let bytes = entry
            .read(part)
            .ok_or_else(|| io::Error::other("a part is gone"))?;
        file.write_all(&bytes)?;
    }
    file.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .flush()
}

/// Reads the head of an entry with all that is before and its checksum; returns also the size of the entry.
fn read_head(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut bytes = Vec::with_capacity(FIRST_READ);
    (&mut file)
        .take(FIRST_READ as u64)
        .read_to_end(&mut bytes)?;
    let length = head_length(&bytes).unwrap_or(0).min(MAX_HEAD);
    let needed = HEADER + length as usize + CHECKSUM;
    if needed > bytes.len() {
        file.take((needed - bytes.len()) as u64)
            .read_to_end(&mut bytes)?;
    }
    bytes.truncate(needed);
    Ok((bytes, size))
}

fn head_length(bytes: &[u8]) -> Option<u64> {
    let length = bytes.get(12..20)?;
    Some(u64::from_le_bytes(length.try_into().ok()?))
}

fn encode_head(stats: &FileStats) -> io::Result<Vec<u8>> {
    let head = postcard::to_stdvec(stats).map_err(io::Error::other)?;
    if head.len() as u64 > MAX_HEAD {
        return Err(io::Error::other("the entry is too large"));
    }
    let parts: u64 = stats.parts.iter().map(|part| part.length).sum();
    let mut bytes = Vec::with_capacity(HEADER + head.len() + CHECKSUM);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&(head.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&parts.to_le_bytes());
    bytes.extend_from_slice(&head);
    let checksum = XxHash64::oneshot(0, &bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// Reads a head from its bytes, those before it and its checksum, out of an entry of `size` bytes.
fn decode_head(bytes: &[u8], size: u64) -> Result<FileStats, &'static str> {
    let (header, rest) = bytes.split_at_checked(HEADER).ok_or("it is truncated")?;
    let (magic, header) = header.split_at(8);
    let (version, lengths) = header.split_at(4);
    let (length, parts) = lengths.split_at(8);
    if magic != MAGIC {
        return Err("it is no statistics entry");
    }
    if version != FORMAT_VERSION.to_le_bytes() {
        return Err("it has another format version");
    }
    let head_length = rest.len().checked_sub(CHECKSUM).ok_or("it is truncated")?;
    if length != (head_length as u64).to_le_bytes() {
        return Err("its length is wrong");
    }
    let (head, checksum) = rest.split_at(head_length);
    let sum = XxHash64::oneshot(0, &bytes[..HEADER + head_length]);
    if checksum != sum.to_le_bytes() {
        return Err("its checksum is wrong");
    }
    // The sum has been checked, so this is what was written.
    let parts = u64::from_le_bytes(parts.try_into().map_err(|_| "it is truncated")?);
    if Some(size) != parts.checked_add(bytes.len() as u64) {
        return Err("it is truncated, or longer than it says");
    }
    match postcard::take_from_bytes(head) {
        Ok((stats, [])) => Ok(stats),
        _ => Err("its head is malformed"),
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
            page_index: false,
            columns: Vec::new(),
            parts: Vec::new(),
            dropped: Vec::new(),
        }
    }

    fn part(kind: PartKind, bytes: &'static [u8]) -> Part {
        Part {
            kind,
            column: 0,
            tier: 0,
            below: 7,
            rows: 2,
            bytes: Bytes::from_static(bytes),
        }
    }

    fn entry() -> FileEntry {
        let parts = vec![
            part(PartKind::Sample, b"sample"),
            part(PartKind::Keys, b"keys"),
        ];
        FileEntry::new(stats(), parts)
    }

    /// An entry in a folder of its own, with the bytes on disk.
    fn stored() -> (tempfile::TempDir, Cache, PathBuf, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        cache.store(&entry()).unwrap();
        let path = cache.entry_path(&stats().version.key);
        let bytes = fs::read(&path).unwrap();
        (folder, cache, path, bytes)
    }

    fn bytes_of(entry: &FileEntry) -> Vec<Option<Bytes>> {
        entry
            .stats
            .parts
            .iter()
            .map(|part| entry.read(part))
            .collect()
    }

    #[test]
    fn entries_survive_a_round_trip() {
        let (_folder, cache, _, bytes) = stored();
        let loaded = cache.load(&stats().version).unwrap();
        assert_eq!(loaded.stats, entry().stats);
        assert_eq!(bytes_of(&loaded), bytes_of(&entry()));
        assert_eq!(loaded.size(), bytes.len() as u64);
        assert_eq!(cache.size(), bytes.len() as u64);
        let thin = loaded.thinned(|part| part.kind == PartKind::Keys);
        let stored = cache.store(&thin).unwrap();
        assert_eq!(bytes_of(&stored), [Some(Bytes::from_static(b"keys"))]);
        assert_eq!(stored.stats.dropped[0].bytes, 6);
        // The head that was loaded before does not read the parts of the new entry.
        assert_eq!(bytes_of(&loaded), [None, None]);
    }

    #[test]
    fn newer_oversized_and_truncated_entries_are_refused() {
        let head = encode_head(&stats()).unwrap();
        let size = head.len() as u64;
        assert_eq!(decode_head(&head, size), Ok(stats()));
        let mut newer = head.clone();
        newer[8] += 1;
        assert_eq!(
            decode_head(&newer, size),
            Err("it has another format version")
        );
        let mut oversized = head.clone();
        oversized[12..20].fill(0xff);
        assert_eq!(decode_head(&oversized, size), Err("its length is wrong"));
        assert!(decode_head(&head, size + 1).is_err());
        assert!(decode_head(&head, size - 1).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode_head(&noise, noise.len() as u64).is_err());
        }
    }

    /// Damaged bytes in the place of an entry: it is either not loaded, or what is loaded is right.
    fn check_damaged(damaged: &[u8]) {
        let (_folder, cache, path, _) = stored();
        fs::write(&path, damaged).unwrap();
        if let Some(loaded) = cache.load(&stats().version) {
            assert_eq!(loaded.stats, entry().stats);
            for (found, right) in bytes_of(&loaded).into_iter().zip(bytes_of(&entry())) {
                assert!(found.is_none() || found == right);
            }
        }
    }

    #[test]
    fn no_flipped_bit_is_believed() {
        let (_folder, _, _, sound) = stored();
        for position in 0..sound.len() {
            let mut flipped = sound.clone();
            flipped[position] ^= 1 << (position % 8);
            check_damaged(&flipped);
            check_damaged(&sound[..position]);
        }
        check_damaged(&[&sound[..], b"x"].concat());
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
