//! The catalog: statistics of tables, collected once and kept.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use object_store::{ObjectMeta, ObjectStoreExt};
use tokio::task::spawn_blocking;

use crate::analyze::{AnalyzeOptions, AnalyzeSummary, Progress, TableFiles};
use crate::budget::{Budget, excess};
use crate::cache::{Cache, FileEntry};
use crate::file_stats::FileVersion;
use crate::parts::PartInfo;
use crate::{Snapshot, StatsError, Store};

/// Statistics of tables by their data files, with a cache folder or in memory alone.
///
/// Readers take a [`Snapshot`]; an analysis publishes a new one when it is complete, and blocks no reader.
#[derive(Debug)]
pub struct Catalog {
    cache: Option<Arc<Cache>>,
    current: RwLock<Arc<Snapshot>>,
    /// Held while a new snapshot is made from the current one, so that two analyses do not lose each other's table.
    publishing: Mutex<()>,
}

impl Catalog {
    /// A catalog over a cache folder, which is created if missing. No statistics are loaded before [`analyze`](Self::analyze)
    /// names the files.
    ///
    /// # Errors
    /// [`StatsError::CacheFolder`] if the folder cannot be created. A folder that cannot be written to is no error: the
    /// statistics then last as long as the catalog.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StatsError> {
        Ok(Self::with_cache(Some(Cache::open(dir.as_ref())?)))
    }

    /// A catalog without cache folder.
    pub fn in_memory() -> Self {
        Self::with_cache(None)
    }

    fn with_cache(cache: Option<Cache>) -> Self {
        Self {
            cache: cache.map(Arc::new),
            current: RwLock::default(),
            publishing: Mutex::default(),
        }
    }

    /// What the catalog knows now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        // The lock guards one assignment, which cannot panic halfway.
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// Bytes of all entries in the cache folder, those of other catalogs included.
    pub fn cache_bytes(&self) -> u64 {
        self.cache.as_ref().map_or(0, |cache| cache.size())
    }

    /// Makes `files` the files of a table, and reads those whose statistics are not known yet, with default options.
    ///
    /// See [`list_parquet`](crate::list_parquet) for the files of a folder.
    ///
    /// # Errors
    /// As [`analyze_tables`](Self::analyze_tables).
    pub async fn analyze(
        &self,
        table: &str,
        store: &Store,
        files: &[ObjectMeta],
    ) -> Result<AnalyzeSummary, StatsError> {
        let options = AnalyzeOptions::default();
        self.analyze_with(table, store, files, &options, &()).await
    }

    /// Like [`analyze`](Self::analyze), with options, and telling `progress`. Needs a tokio runtime.
    ///
    /// # Errors
    /// As [`analyze_tables`](Self::analyze_tables).
    pub async fn analyze_with(
        &self,
        table: &str,
        store: &Store,
        files: &[ObjectMeta],
        options: &AnalyzeOptions,
        progress: &dyn Progress,
    ) -> Result<AnalyzeSummary, StatsError> {
        let table = TableFiles {
            name: table.to_owned(),
            store: store.clone(),
            files: files.to_vec(),
        };
        self.analyze_tables(&[table], options, progress).await
    }

    /// A path for a temporary file, where there is a cache folder.
    pub(crate) fn temporary_path(&self) -> Option<std::path::PathBuf> {
        self.cache.as_ref().map(|cache| cache.temporary_path())
    }

    /// Makes a table consist of one entry.
    pub(crate) async fn publish_one(
        &self,
        table: &str,
        entry: Arc<FileEntry>,
        mut summary: AnalyzeSummary,
        options: &AnalyzeOptions,
    ) -> AnalyzeSummary {
        self.publish(|snapshot| snapshot.with_tables(vec![(table.to_owned(), vec![entry])]));
        if summary.scanned > 0 {
            summary.dropped_bytes = self.keep_to_budget(options.budget).await;
        }
        summary.statistics_bytes = self.snapshot().sizes().1;
        summary
    }

    pub(crate) fn publish(&self, change: impl FnOnce(&Snapshot) -> Snapshot) {
        let _publishing = self
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let next = Arc::new(change(&self.snapshot()));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// What the cache has of a file. If `whole`, an entry with a damaged part is none.
    pub(crate) async fn load(&self, version: &FileVersion, whole: bool) -> Option<Arc<FileEntry>> {
        let cache = Arc::clone(self.cache.as_ref()?);
        let version = version.clone();
        let load = move || {
            let sound = |entry: &FileEntry| !whole || entry.is_sound();
            cache.load(&version).filter(sound)
        };
        spawn_blocking(load).await.ok().flatten().map(Arc::new)
    }

    /// Statistics that cannot be stored are still statistics, so failing is a warning.
    pub(crate) async fn save(&self, entry: FileEntry) -> FileEntry {
        let Some(cache) = self.cache.clone() else {
            return entry;
        };
        let entry = Arc::new(entry);
        let to_save = Arc::clone(&entry);
        let saved = spawn_blocking(move || cache.store(&to_save)).await;
        let error = match saved {
            Ok(Ok(stored)) => return stored,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(
            file = entry.stats.version.key,
            error,
            "cannot store statistics"
        );
        Arc::unwrap_or_clone(entry)
    }

    /// Drops what exceeds the budget of all tables together. Returns how many bytes that was.
    pub(crate) async fn keep_to_budget(&self, budget: Budget) -> u64 {
        let snapshot = self.snapshot();
        let limit = budget.limit(snapshot.sizes().0);
        let drops = excess(&snapshot.entries(), limit);
        let mut dropped = 0;
        let mut thinned = Vec::new();
        for (key, places) in drops {
            let Some(entry) = snapshot.file(&key).cloned() else {
                continue;
            };
            let thin = spawn_blocking(move || {
                let goes = |part: &PartInfo| {
                    places
                        .iter()
                        .any(|place| entry.stats.parts.get(*place) == Some(part))
                };
                let thin = entry.thinned(|part| !goes(part));
                (entry.size().saturating_sub(thin.size()), thin)
            });
            if let Ok((bytes, thin)) = thin.await {
                dropped += bytes;
                thinned.push(self.save(thin).await);
            }
        }
        if dropped > 0 {
            tracing::info!(
                dropped,
                limit,
                "statistics were thinned to keep within their budget"
            );
            self.publish(|snapshot| snapshot.with_entries(thinned));
        }
        dropped
    }

    /// Removes entries of files that are gone, as far as that can be told without asking a remote store for each.
    pub(crate) async fn collect_garbage(&self, tables: &[TableFiles]) {
        let Some(cache) = self.cache.clone() else {
            return;
        };
        let local = tables
            .iter()
            .map(|table| &table.store)
            .find(|store| store.url().starts_with("file://"));
        let Some(store) = local else {
            return;
        };
        let alive: HashSet<String> = self
            .snapshot()
            .entries()
            .iter()
            .map(|entry| entry.stats.version.key.clone())
            .collect();
        let folder = Arc::clone(&cache);
        let Ok(keys) = spawn_blocking(move || folder.keys_beside(&alive)).await else {
            return;
        };
        for key in keys {
            let Some(path) = key
                .strip_prefix(store.url())
                .and_then(|path| object_store::path::Path::parse(path).ok())
            else {
                continue;
            };
            if let Err(object_store::Error::NotFound { .. }) = store.inner().head(&path).await {
                tracing::debug!(file = key, "removing the statistics of a file that is gone");
                cache.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Analyses run on other threads than those who ask for them.
    #[test]
    fn analyses_can_be_spawned() {
        fn check(_: impl Future + Send) {}
        let (catalog, store) = (Catalog::in_memory(), Store::local());
        let options = AnalyzeOptions::default();
        check(catalog.analyze("t", &store, &[]));
        check(catalog.analyze_with("t", &store, &[], &options, &()));
    }
}
