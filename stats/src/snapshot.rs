//! What the catalog knows at one moment.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::cache::FileEntry;
use crate::details::TableDetails;
use crate::table_stats::{TableStats, merge};

/// Lists of locations whose merged statistics are kept.
const MOST_MERGED: usize = 4096;

/// An immutable view of the catalog. Later analyses make new snapshots and leave this one as it is.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// By file key, so that the files below a prefix are neighbours.
    files: BTreeMap<String, Arc<FileEntry>>,
    /// The file keys of each table.
    tables: BTreeMap<String, Vec<String>>,
    /// Merged statistics by the locations asked for. Merging hundreds of sketches takes milliseconds, and planning asks often.
    merged: Mutex<HashMap<Vec<String>, Merged>>,
}

#[derive(Clone, Debug)]
struct Merged {
    stats: Option<Arc<TableStats>>,
    details: Arc<TableDetails>,
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
    /// What is read on demand.
    pub details: Arc<TableDetails>,
    /// When the oldest of its entries was made; `None` for a table without files.
    pub analyzed_at: Option<SystemTime>,
    /// Row groups of its files.
    pub row_groups: u64,
    /// Some of its files have page indexes.
    pub page_index: bool,
    /// Bytes of its statistics on disk.
    pub entry_bytes: u64,
}

impl Snapshot {
    /// Statistics of the known files at these locations, `None` if there are none.
    ///
    /// A location is a file key, or a prefix of file keys that ends with `/`. See [`Store::file_key`](crate::Store::file_key) and
    /// [`Store::prefix_key`](crate::Store::prefix_key).
    pub fn table(&self, locations: &[String]) -> Option<Arc<TableStats>> {
        self.merged(locations).stats
    }

    /// What is read on demand of the known files at these locations.
    pub fn details(&self, locations: &[String]) -> Arc<TableDetails> {
        self.merged(locations).details
    }

    fn merged(&self, locations: &[String]) -> Merged {
        // A panic while the lock was held cannot have left a wrong entry behind.
        let mut merged = self.merged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = merged.get(locations) {
            return known.clone();
        }
        let files = self.entries_at(locations);
        let stats = match files.is_empty() {
            true => None,
            false => merge(&files).map(Arc::new),
        };
        let details = Arc::new(TableDetails::new(files));
        let both = Merged { stats, details };
        // Queries that prune files ask for ever new lists of them.
        if merged.len() >= MOST_MERGED {
            merged.clear();
        }
        merged.insert(locations.to_vec(), both.clone());
        both
    }

    /// The keys of the known files at these locations, sorted.
    pub fn files_at(&self, locations: &[String]) -> Vec<String> {
        let entries = self.entries_at(locations);
        entries
            .iter()
            .map(|entry| entry.stats.version.key.clone())
            .collect()
    }

    /// The known files at these locations, by key, each once.
    fn entries_at(&self, locations: &[String]) -> Vec<Arc<FileEntry>> {
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
        let info = |(name, files): (&String, &Vec<String>)| {
            let entries: Vec<_> = files.iter().filter_map(|key| self.files.get(key)).collect();
            let known = entries.iter().filter(|entry| entry.stats.analyzed_at > 0);
            TableInfo {
                name: name.clone(),
                files: files.clone(),
                stats: self.table(files).unwrap_or_default(),
                details: self.details(files),
                analyzed_at: known
                    .map(|entry| {
                        SystemTime::UNIX_EPOCH + Duration::from_secs(entry.stats.analyzed_at)
                    })
                    .min(),
                row_groups: entries
                    .iter()
                    .map(|entry| u64::from(entry.stats.row_groups))
                    .sum(),
                page_index: entries.iter().any(|entry| entry.stats.page_index),
                entry_bytes: entries.iter().map(|entry| entry.size()).sum(),
            }
        };
        self.tables.iter().map(info).collect()
    }

    /// Bytes of all data files, and of their statistics.
    pub fn sizes(&self) -> (u64, u64) {
        let data = self
            .files
            .values()
            .map(|entry| entry.stats.version.size)
            .sum();
        (data, self.files.values().map(|entry| entry.size()).sum())
    }

    pub(crate) fn file(&self, key: &str) -> Option<&Arc<FileEntry>> {
        self.files.get(key)
    }

    pub(crate) fn entries(&self) -> Vec<Arc<FileEntry>> {
        self.files.values().cloned().collect()
    }

    /// The snapshot after the files of some tables have become exactly these. Files that no table has any more are dropped.
    pub(crate) fn with_tables(&self, changed: Vec<(String, Vec<Arc<FileEntry>>)>) -> Self {
        let mut tables = self.tables.clone();
        let mut all = self.files.clone();
        for (table, files) in changed {
            let keys: BTreeSet<_> = files
                .iter()
                .map(|file| file.stats.version.key.clone())
                .collect();
            tables.insert(table, keys.into_iter().collect());
            for file in files {
                let known = all.get(&file.stats.version.key);
                // A footer pass for one table does not forget what a scan found for another.
                let better = known.is_some_and(|known| {
                    known.stats.pass > file.stats.pass
                        && known.stats.version.same_contents(&file.stats.version)
                });
                if !better {
                    all.insert(file.stats.version.key.clone(), file);
                }
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

    /// The snapshot with other entries of the same files.
    pub(crate) fn with_entries(&self, entries: Vec<FileEntry>) -> Self {
        let mut files = self.files.clone();
        for entry in entries {
            let key = &entry.stats.version.key;
            if files
                .get(key)
                .is_some_and(|known| known.stats.version == entry.stats.version)
            {
                files.insert(key.clone(), Arc::new(entry));
            }
        }
        Self {
            files,
            tables: self.tables.clone(),
            merged: Mutex::default(),
        }
    }
}
