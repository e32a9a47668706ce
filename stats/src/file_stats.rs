//! Statistics of one data file, the unit of collecting, caching and merging.

use object_store::ObjectMeta;
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::bounds::Bound;
use crate::parts::{PartInfo, PartKind};
use crate::value::{Family, Value};

/// Which version of which file statistics belong to.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub(crate) struct FileVersion {
    /// The file as [`Store::file_key`] names it.
    pub(crate) key: String,
    /// Bytes as stored.
    pub(crate) size: u64,
    /// Last modification: seconds and nanoseconds since the Unix epoch.
    pub(crate) modified: (i64, u32),
    /// The store's entity tag, where it has one.
    pub(crate) e_tag: Option<String>,
}

impl FileVersion {
    /// The version that a listing shows.
    pub(crate) fn new(store: &Store, meta: &ObjectMeta) -> Self {
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
    pub(crate) fn same_contents(&self, other: &Self) -> bool {
        let unchanged = match (&self.e_tag, &other.e_tag) {
            (Some(a), Some(b)) => a == b,
            _ => self.modified == other.modified && self.size == other.size,
        };
        unchanged && self.key == other.key
    }
}

/// How much of a file was read.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Pass {
    /// Nothing: it was seen in a listing, and its rows are guessed from its size.
    Listing,
    /// Its footer alone: rows, nulls, min, max, widths.
    Footer,
    /// All of its data: number of distinct values too.
    Scan,
}

/// Statistics of one file. Made by [`Catalog::analyze`](crate::Catalog::analyze).
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub(crate) struct FileStats {
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
    /// Some column chunk has a page index.
    pub(crate) page_index: bool,
    /// Top-level columns in schema order.
    pub(crate) columns: Vec<FileColumn>,
    /// What lies beside this in the entry.
    pub(crate) parts: Vec<PartInfo>,
    /// What the size budget had no room for.
    pub(crate) dropped: Vec<Dropped>,
}

/// A part that was made and not kept.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub(crate) struct Dropped {
    pub(crate) kind: PartKind,
    pub(crate) column: u32,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl FileStats {
    /// The file had its scan pass.
    pub(crate) fn is_scanned(&self) -> bool {
        self.pass == Pass::Scan
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
    /// Number of distinct values, from the scan pass; never for nested columns.
    pub(crate) ndv: Option<f64>,
    /// `ndv` was counted, not estimated.
    pub(crate) ndv_exact: bool,
    /// Its degrees were counted.
    pub(crate) is_key: bool,
    /// How its values run through the file; `None` where its row groups do not tell.
    pub(crate) order: Option<Order>,
    /// Ranges of its row groups: empty for strings, for single row groups, and where a range is missing.
    pub(crate) ranges: Vec<RowRange>,
}

impl FileColumn {
    /// A column of which nothing is known.
    pub(crate) fn unknown(name: &str, family: Family) -> Self {
        Self {
            name: name.to_owned(),
            family,
            null_count: None,
            min: Bound::default(),
            max: Bound::default(),
            value_bytes: None,
            ndv: None,
            ndv_exact: false,
            is_key: false,
            order: None,
            ranges: Vec::new(),
        }
    }

    /// The scan pass has to find what the footer does not tell.
    pub(crate) fn lacks_bounds(&self) -> bool {
        self.min.value.is_none() || self.max.value.is_none()
    }
}

/// The range of a column in some rows of a file.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub(crate) struct RowRange {
    pub(crate) min: Value,
    pub(crate) max: Value,
    /// Rows that are not null.
    pub(crate) rows: u64,
}

/// How the values of a column run through its file.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// No row group holds a value less than one of the row group before.
    Ascending,
    /// No row group holds a value greater than one of the row group before.
    Descending,
    /// Ranges of row groups overlap.
    Mixed,
}
