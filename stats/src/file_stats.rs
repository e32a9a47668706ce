//! Statistics of one data file, the unit of collecting, caching and merging.

use object_store::ObjectMeta;
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::bounds::Bound;
use crate::ndv::DistinctSketch;
use crate::value::Family;

/// Which version of which file statistics belong to.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct FileVersion {
    /// The file as [`Store::file_key`] names it.
    pub key: String,
    /// Bytes as stored.
    pub size: u64,
    /// Last modification: seconds and nanoseconds since the Unix epoch.
    pub modified: (i64, u32),
    /// The store's entity tag, where it has one.
    pub e_tag: Option<String>,
}

impl FileVersion {
    /// The version that a listing shows.
    pub fn new(store: &Store, meta: &ObjectMeta) -> Self {
        Self {
            key: store.file_key(&meta.location),
            size: meta.size,
            modified: (
                meta.last_modified.timestamp(),
                meta.last_modified.timestamp_subsec_nanos(),
            ),
            e_tag: meta.e_tag.clone(),
        }
    }

    /// Both are the same contents of the same file.
    ///
    /// Entity tags decide where both have one, since stores round modification times differently in listings and in
    /// answers; else the modification time does.
    pub fn same_contents(&self, other: &Self) -> bool {
        let unchanged = match (&self.e_tag, &other.e_tag) {
            (Some(a), Some(b)) => a == b,
            _ => self.modified == other.modified,
        };
        unchanged && self.key == other.key && self.size == other.size
    }
}

/// How much of a file was read.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Pass {
    /// Its footer alone: rows, nulls, min, max, widths.
    Footer,
    /// All of its data: number of distinct values too.
    Scan,
}

/// Statistics of one file. Made by [`Catalog::analyze`](crate::Catalog::analyze).
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct FileStats {
    /// The file these are about.
    pub(crate) version: FileVersion,
    /// What was read.
    pub(crate) pass: Pass,
    /// Seconds since the Unix epoch when it was read.
    pub(crate) analyzed_at: u64,
    pub(crate) rows: u64,
    pub(crate) row_groups: u32,
    /// Hash of the column names and Arrow types.
    pub(crate) schema_fingerprint: u64,
    /// Top-level columns in schema order.
    pub(crate) columns: Vec<FileColumn>,
}

impl FileStats {
    /// The version of the file that was read.
    pub fn version(&self) -> &FileVersion {
        &self.version
    }

    /// The file had its scan pass.
    pub fn is_scanned(&self) -> bool {
        self.pass == Pass::Scan
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Number of row groups.
    pub fn row_groups(&self) -> u32 {
        self.row_groups
    }

    /// A hash of the column names and Arrow types: files of one fingerprint have one schema.
    pub fn schema_fingerprint(&self) -> u64 {
        self.schema_fingerprint
    }
}

/// A top-level column of one file.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub(crate) struct FileColumn {
    pub(crate) name: String,
    pub(crate) family: Family,
    pub(crate) null_count: Option<u64>,
    pub(crate) min: Bound,
    pub(crate) max: Bound,
    /// Bytes of all values that are not null, uncompressed and without encoding; an estimate where a footer
    /// tells no better.
    pub(crate) value_bytes: Option<u64>,
    /// From the scan pass; never for nested columns.
    pub(crate) distinct: Option<DistinctSketch>,
}
