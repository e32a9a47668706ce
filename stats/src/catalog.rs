//! The catalog: statistics of tables, collected once and kept.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectMeta, ObjectStoreExt};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::cache::Cache;
use crate::file_stats::{FileStats, FileVersion, Pass};
use crate::footer::read_footer;
use crate::scan::scan;
use crate::{Snapshot, StatsError, Store};

/// Files whose footers or cache entries are read at once: mostly waiting, for disks and networks.
const FILES_IN_FLIGHT: usize = 32;

/// How to analyze.
#[derive(Clone, Debug)]
pub struct AnalyzeOptions {
    /// How much of each file to read. A file whose cache entry holds more is not read again.
    pub pass: Pass,
    /// Read every file, whatever the cache holds.
    pub refresh: bool,
    /// Column chunks decoded at once, at least 1; memory grows with it. By default the number of cores.
    pub concurrency: usize,
}

impl Default for AnalyzeOptions {
    fn default() -> Self {
        Self {
            pass: Pass::Scan,
            refresh: false,
            concurrency: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// What an analysis did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnalyzeSummary {
    /// Files of the table.
    pub files: usize,
    /// Files whose statistics were known.
    pub cached: usize,
    /// Files that were read, footer or all.
    pub scanned: usize,
    /// Rows of the table.
    pub rows: u64,
    /// Bytes of the files, as stored.
    pub bytes: u64,
    /// Bytes that were read of them.
    pub bytes_read: u64,
}

/// Is told how an analysis comes along, from several threads. `()` ignores it.
pub trait Progress: Send + Sync {
    /// So many more bytes of data have been read.
    fn bytes(&self, count: u64);
    /// A file is done: read, or found in the cache.
    fn file_done(&self, key: &str);
}

impl Progress for () {
    fn bytes(&self, _count: u64) {}
    fn file_done(&self, _key: &str) {}
}

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

    /// Makes `files` the files of a table, and reads those whose statistics are not known yet, with default options.
    ///
    /// See [`list_parquet`](crate::list_parquet) for the files of a folder.
    ///
    /// # Errors
    /// As [`analyze_with`](Self::analyze_with).
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
    /// The first file that cannot be read, is no sound Parquet file, or changes meanwhile. Nothing is published then, but what
    /// was complete stays in the cache, as it does when the future is dropped.
    pub async fn analyze_with(
        &self,
        table: &str,
        store: &Store,
        files: &[ObjectMeta],
        options: &AnalyzeOptions,
        progress: &dyn Progress,
    ) -> Result<AnalyzeSummary, StatsError> {
        let known = self.snapshot();
        let permits = Semaphore::new(options.concurrency.max(1));
        let in_flight = match options.pass {
            Pass::Footer => FILES_IN_FLIGHT,
            // Each file that is being scanned holds its sketches.
            Pass::Scan => FILES_IN_FLIGHT.min(2 * options.concurrency.max(1)),
        };
        let mut summary = AnalyzeSummary::default();
        let mut done = Vec::with_capacity(files.len());
        let mut results = stream::iter(files.to_vec())
            .map(|meta| self.file_stats(&known, store, meta, options, &permits, progress))
            .buffer_unordered(in_flight);
        while let Some((stats, bytes_read)) = results.try_next().await? {
            summary.files += 1;
            match bytes_read {
                Some(bytes) => {
                    summary.scanned += 1;
                    summary.bytes_read += bytes;
                }
                None => summary.cached += 1,
            }
            summary.rows += stats.rows;
            summary.bytes += stats.version.size;
            progress.file_done(&stats.version.key);
            done.push(stats);
        }
        self.publish(table, done);
        Ok(summary)
    }

    fn publish(&self, table: &str, files: Vec<Arc<FileStats>>) {
        let _publishing = self
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let next = Arc::new(self.snapshot().with_table(table, files));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// The statistics of one file, and the bytes read for them, `None` if they were known.
    async fn file_stats(
        &self,
        known: &Snapshot,
        store: &Store,
        meta: ObjectMeta,
        options: &AnalyzeOptions,
        permits: &Semaphore,
        progress: &dyn Progress,
    ) -> Result<(Arc<FileStats>, Option<u64>), StatsError> {
        let version = FileVersion::new(store, &meta);
        let key = version.key.clone();
        if !options.refresh {
            let known = known.file(&key).cloned();
            let known = known.filter(|stats| stats.version.same_contents(&version));
            let known = match known.filter(|stats| stats.pass >= options.pass) {
                Some(stats) => Some(stats),
                None => self
                    .load(&version)
                    .await
                    .filter(|stats| stats.pass >= options.pass),
            };
            if let Some(stats) = known {
                return Ok((stats, None));
            }
        }
        let (stats, bytes_read) =
            read_file(store, &meta, version, options, permits, progress).await?;
        let stats = Arc::new(stats);
        self.save(&stats).await;
        Ok((stats, Some(bytes_read)))
    }

    async fn load(&self, version: &FileVersion) -> Option<Arc<FileStats>> {
        let cache = Arc::clone(self.cache.as_ref()?);
        let version = version.clone();
        let loaded = spawn_blocking(move || cache.load(&version)).await;
        loaded.ok().flatten().map(Arc::new)
    }

    /// Statistics that cannot be stored are still statistics, so failing is a warning.
    async fn save(&self, stats: &Arc<FileStats>) {
        let Some(cache) = self.cache.clone() else {
            return;
        };
        let to_save = Arc::clone(stats);
        let saved = spawn_blocking(move || cache.store(&to_save)).await;
        let error = match saved {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(file = stats.version.key, error, "cannot store statistics");
    }
}

/// Reads one file, and makes sure that it was one file all along.
async fn read_file(
    store: &Store,
    meta: &ObjectMeta,
    version: FileVersion,
    options: &AnalyzeOptions,
    permits: &Semaphore,
    progress: &dyn Progress,
) -> Result<(FileStats, u64), StatsError> {
    let key = version.key.clone();
    let path = &meta.location;
    let footer = read_footer(store, meta, &key).await?;
    progress.bytes(footer.bytes_read);
    let mut bytes_read = footer.bytes_read;
    let rows = footer.rows;
    let row_groups = footer.metadata().num_row_groups();
    let schema_fingerprint = footer.schema_fingerprint;
    let columns = match options.pass {
        Pass::Footer => footer.columns,
        Pass::Scan => {
            let concurrency = options.concurrency;
            let (columns, bytes) =
                scan(store, path, &key, footer, concurrency, permits, progress).await?;
            bytes_read += bytes;
            columns
        }
    };
    let now = store.inner().head(path).await;
    match now.map(|now| FileVersion::new(store, &now)) {
        Ok(now) if now.same_contents(&version) => {}
        Ok(_) | Err(object_store::Error::NotFound { .. }) => {
            return Err(StatsError::Changed { path: key });
        }
        Err(source) => return Err(StatsError::store(&key, source)),
    }
    // The only clock of the crate. It is shown to people and decides nothing.
    let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let stats = FileStats {
        version,
        pass: options.pass,
        analyzed_at: age.map_or(0, |age| age.as_secs()),
        rows,
        row_groups: u32::try_from(row_groups).unwrap_or(u32::MAX),
        schema_fingerprint,
        columns,
    };
    Ok((stats, bytes_read))
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
