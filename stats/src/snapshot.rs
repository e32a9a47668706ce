//! What the catalog knows at one moment.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::file_stats::FileStats;
use crate::table_stats::{TableStats, merge};

/// An immutable view of the catalog. Later analyses make new snapshots and leave this one as it is.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// By file key, so that the files below a prefix are neighbours.
    files: BTreeMap<String, Arc<FileStats>>,
    /// The file keys of each table.
    tables: BTreeMap<String, Vec<String>>,
    /// Merged statistics by the locations asked for. Merging hundreds of sketches takes milliseconds, and planning asks often.
    merged: Mutex<HashMap<Vec<String>, Option<Arc<TableStats>>>>,
}

/// A table of the catalog, for display.
#[derive(Clone, Debug)]
pub struct TableInfo {
    /// The name given to [`Catalog::analyze`](crate::Catalog::analyze).
    pub name: String,
    /// The keys of its files, sorted.
    pub files: Vec<String>,
    /// The merged statistics.
    pub stats: Arc<TableStats>,
    /// When the oldest of its entries was made; `None` for a table without files.
    pub analyzed_at: Option<SystemTime>,
}

impl Snapshot {
    /// Statistics of the known files at these locations, `None` if there are none.
    ///
    /// A location is a file key, or a prefix of file keys that ends with `/`. See [`Store::file_key`](crate::Store::file_key) and
    /// [`Store::prefix_key`](crate::Store::prefix_key).
    pub fn table(&self, locations: &[String]) -> Option<Arc<TableStats>> {
        // A panic while the lock was held cannot have left a wrong entry behind.
        let mut merged = self.merged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stats) = merged.get(locations) {
            return stats.clone();
        }
        let files = self.files_at(locations);
        let stats = (!files.is_empty()).then(|| Arc::new(merge(files.iter().map(Arc::as_ref))));
        merged.insert(locations.to_vec(), stats.clone());
        stats
    }

    /// The known files at these locations, by key, each once.
    pub fn files_at(&self, locations: &[String]) -> Vec<Arc<FileStats>> {
        let mut keys = BTreeSet::new();
        for location in locations {
            if location.ends_with('/') {
                let below = self.files.range(location.clone()..);
                let below = below.map(|(key, _)| key.as_str());
                keys.extend(below.take_while(|key| key.starts_with(location)));
            } else if let Some((key, _)) = self.files.get_key_value(location) {
                keys.insert(key.as_str());
            }
        }
        let files = keys.into_iter().filter_map(|key| self.files.get(key));
        files.cloned().collect()
    }

    /// All tables, sorted by name.
    pub fn tables(&self) -> Vec<TableInfo> {
        let info = |(name, files): (&String, &Vec<String>)| TableInfo {
            name: name.clone(),
            files: files.clone(),
            stats: self.table(files).unwrap_or_default(),
            analyzed_at: files
                .iter()
                .filter_map(|key| self.files.get(key))
                .map(|file| SystemTime::UNIX_EPOCH + Duration::from_secs(file.analyzed_at))
                .min(),
        };
        self.tables.iter().map(info).collect()
    }

    pub(crate) fn file(&self, key: &str) -> Option<&Arc<FileStats>> {
        self.files.get(key)
    }

    /// The snapshot after one table's files have become exactly these. Files that no table has any more are dropped.
    pub(crate) fn with_table(&self, table: &str, files: Vec<Arc<FileStats>>) -> Self {
        let mut tables = self.tables.clone();
        let keys: BTreeSet<_> = files.iter().map(|file| file.version.key.clone()).collect();
        tables.insert(table.to_owned(), keys.into_iter().collect());
        let mut all = self.files.clone();
        for file in files {
            let known = all.get(&file.version.key);
            // A footer pass for one table does not forget what a scan found for another.
            let better = known.is_some_and(|known| {
                known.pass > file.pass && known.version.same_contents(&file.version)
            });
            if !better {
                all.insert(file.version.key.clone(), file);
            }
        }
        let used: BTreeSet<&String> = tables.values().flatten().collect();
        all.retain(|key, _| used.contains(key));
        Self {
            files: all,
            tables,
            merged: Mutex::default(),
        }
    }
}
