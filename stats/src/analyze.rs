//! The analysis of tables: what is known already, footers, keys, scans.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectMeta, ObjectStoreExt};
use tokio::sync::Semaphore;

use crate::budget::Budget;
use crate::cache::FileEntry;
use crate::file_stats::{FileColumn, FileStats, FileVersion, Pass};
use crate::footer::{Footer, read_footer};
use crate::keys::{Key, infer};
use crate::scan::{SAMPLE_ROWS, ScanInput, Scanned, scan};
use crate::table_stats::outline;
use crate::value::Family;
use crate::{Catalog, Snapshot, StatsError, Store};

/// Files whose footers or cache entries are read at once: mostly waiting, for disks and networks.
const FILES_IN_FLIGHT: usize = 32;

/// Footers that are kept between the footer pass, which finds the keys, and the scan pass. Others are read again.
const FOOTERS_KEPT: usize = 256;

/// Files of this size in bytes are scanned one at a time: each is work enough for all cores, and holds much memory.
const LARGE_FILE: u64 = 4 << 20;

/// How to analyze.
#[derive(Clone, Debug)]
pub struct AnalyzeOptions {
    /// How much of each file to read. A file whose cache entry holds more is not read again.
    pub pass: Pass,
    /// Read every file, whatever the cache holds.
    pub refresh: bool,
    /// Column chunks decoded at once, at least 1; memory grows with it. By default the number of cores.
    pub concurrency: usize,
    /// Columns that joins use, as `(table, column)`, beside those that are inferred. A file that was scanned when one of its
    /// columns was not known to be a key is scanned again.
    pub keys: BTreeSet<(String, String)>,
    /// The size that the statistics of all tables together may have. What exceeds it is dropped, see
    /// [`TableDetails::dropped`](crate::TableDetails::dropped).
    pub budget: Budget,
}

impl Default for AnalyzeOptions {
    fn default() -> Self {
        Self {
            pass: Pass::Scan,
            refresh: false,
            concurrency: std::thread::available_parallelism().map_or(1, usize::from),
            keys: BTreeSet::new(),
            budget: Budget::default(),
        }
    }
}

/// A table by its name and files.
#[derive(Clone, Debug)]
pub struct TableFiles {
    /// The name under which the catalog shows it.
    pub name: String,
    /// Where its files lie.
    pub store: Store,
    /// Its files.
    pub files: Vec<ObjectMeta>,
}

/// What an analysis did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnalyzeSummary {
    /// Files of the tables.
    pub files: usize,
    /// Files whose statistics were known.
    pub cached: usize,
    /// Files that were read, footer or all.
    pub scanned: usize,
    /// Rows of the tables.
    pub rows: u64,
    /// Bytes of the files, as stored.
    pub bytes: u64,
    /// Bytes that were read of them.
    pub bytes_read: u64,
    /// Bytes of the statistics of all tables of the catalog.
    pub statistics_bytes: u64,
    /// Bytes of statistics that were dropped to keep within the budget, just now.
    pub dropped_bytes: u64,
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

/// A file on its way through an analysis.
struct Work {
    table: usize,
    store: Store,
    meta: ObjectMeta,
    version: FileVersion,
    /// What is known of it, or its footer's.
    entry: Option<Arc<FileEntry>>,
    /// Keys that a scan before this one knew: queries of another suite may need them.
    keys_before: Vec<String>,
    footer: Option<Footer>,
    bytes_read: Option<u64>,
}

/// What may be done at once, and kept.
struct Permits {
    /// What the statistics may take, as a share of the data.
    share: f64,
    /// Units of column chunks that are fetched and decoded.
    units: Semaphore,
    large_files: Semaphore,
}

impl Permits {
    /// For a catalog over so many bytes of data.
    fn new(options: &AnalyzeOptions, data: u64) -> Self {
        Self {
            share: options.budget.limit(data) as f64 / data.max(1) as f64,
            units: Semaphore::new(options.concurrency.max(1)),
            large_files: Semaphore::new(1),
        }
    }
}

impl Catalog {
    /// Analyzes several tables at once. Better than one after the other: keys are inferred from all of them, and the budget is
    /// shared out among all. Needs a tokio runtime.
    ///
    /// # Errors
    /// The first file that cannot be read, is no sound Parquet file, or changes meanwhile. Nothing is published then, but what
    /// was complete stays in the cache, as it does when the future is dropped.
    pub async fn analyze_tables(
        &self,
        tables: &[TableFiles],
        options: &AnalyzeOptions,
        progress: &dyn Progress,
    ) -> Result<AnalyzeSummary, StatsError> {
        let known = self.snapshot();
        let mut work = Vec::new();
        for (table, files) in tables.iter().enumerate() {
            work.extend(files.files.iter().map(|meta| Work {
                table,
                store: files.store.clone(),
                meta: meta.clone(),
                version: FileVersion::new(&files.store, meta),
                entry: None,
                keys_before: Vec::new(),
                footer: None,
                bytes_read: None,
            }));
        }
        let prepared = stream::iter(work)
            .map(|work| self.prepare(work, &known, &tables, options, progress))
            .buffered(FILES_IN_FLIGHT);
        let mut work: Vec<Work> = Vec::new();
        let mut kept = 0;
        let mut prepared = std::pin::pin!(prepared);
        while let Some(mut next) = prepared.try_next().await? {
            kept += usize::from(next.footer.is_some());
            if kept > FOOTERS_KEPT {
                next.footer = None;
            }
            work.push(next);
        }
        let entries_of = |table: usize| {
            let entries = work.iter().filter(|work| work.table == table);
            entries.filter_map(|work| work.entry.clone()).collect()
        };
        let listed: Vec<_> = tables
            .iter()
            .enumerate()
            .map(|(at, table)| (table, entries_of(at)))
            .collect();
        let keys = table_keys(&listed, options);
        let data = known.sizes().0 + work.iter().map(|work| work.version.size).sum::<u64>();
        let permits = Permits::new(options, data);
        let in_flight = FILES_IN_FLIGHT.min(2 * options.concurrency.max(1));
        let mut summary = AnalyzeSummary::default();
        let mut done: Vec<(String, Vec<Arc<FileEntry>>)> = tables
            .iter()
            .map(|table| (table.name.clone(), Vec::new()))
            .collect();
        let mut results = stream::iter(work)
            .map(|work| self.complete(work, &keys[..], options, &permits, progress))
            .buffer_unordered(in_flight);
        while let Some((table, entry, bytes_read)) = results.try_next().await? {
            summary.files += 1;
            match bytes_read {
                Some(bytes) => {
                    summary.scanned += 1;
                    summary.bytes_read += bytes;
                }
                None => summary.cached += 1,
            }
            summary.rows += entry.stats.rows;
            summary.bytes += entry.stats.version.size;
            progress.file_done(&entry.stats.version.key);
            done[table].1.push(entry);
        }
        drop(results);
        self.publish(|snapshot| snapshot.with_tables(done));
        if options.pass == Pass::Scan {
            // Also of what was known: an analysis may have been stopped before it came to this.
            summary.dropped_bytes = self.keep_to_budget(options.budget).await;
        }
        if summary.scanned > 0 {
            self.collect_garbage(tables).await;
        }
        summary.statistics_bytes = self.snapshot().sizes().1;
        Ok(summary)
    }

    /// What is known of a version of a table that was analyzed from its batches.
    pub(crate) async fn known(
        &self,
        version: &FileVersion,
        options: &AnalyzeOptions,
    ) -> Option<Arc<FileEntry>> {
        if options.refresh {
            return None;
        }
        let name = version.key.split_once(':').map_or("", |(_, name)| name);
        let enough = |entry: &Arc<FileEntry>| {
            entry.stats.version.same_contents(version)
                && entry.stats.is_scanned()
                && has_keys(&entry.stats, name, options)
        };
        let known = self.snapshot().file(&version.key).cloned().filter(enough);
        match known {
            Some(known) => Some(known),
            None => self.load(version, true).await.filter(enough),
        }
    }

    /// Analyzes one file under the version of another thing, with columns that the file lacks.
    #[expect(clippy::too_many_arguments, reason = "one caller, and each is needed")]
    pub(crate) async fn analyze_file(
        &self,
        table: &str,
        store: &Store,
        meta: &ObjectMeta,
        version: FileVersion,
        aside: Vec<FileColumn>,
        options: &AnalyzeOptions,
        progress: &dyn Progress,
    ) -> Result<(Arc<FileEntry>, u64), StatsError> {
        let footer = read_footer(store, meta, &version.key).await?;
        let footer_bytes = footer.bytes_read;
        let mut stats = footer_stats(version.clone(), &footer);
        let listed = TableFiles {
            name: table.to_owned(),
            store: store.clone(),
            files: Vec::new(),
        };
        let entry = Arc::new(FileEntry::new(stats.clone(), Vec::new()));
        let keys = table_keys(&[(&listed, vec![entry])], options);
        let data = self.snapshot().sizes().0 + version.size;
        let permits = Permits::new(options, data);
        let is_key = |column: &&FileColumn| keys[0].contains(&column.name);
        let names: HashSet<&str> = footer
            .columns
            .iter()
            .filter(is_key)
            .map(|column| column.name.as_str())
            .collect();
        let places = (0..footer.columns.len())
            .filter(|at| names.contains(footer.columns[*at].name.as_str()))
            .collect();
        let input = ScanInput {
            store,
            path: &meta.location,
            key: &version.key,
            keys: places,
            share: permits.share,
            concurrency: options.concurrency,
            permits: &permits.units,
            progress,
        };
        let scanned = scan(&input, footer).await?;
        stats.pass = Pass::Scan;
        stats.columns = scanned.columns;
        stats.columns.extend(aside);
        let entry = self.save(FileEntry::new(stats, scanned.parts)).await;
        Ok((Arc::new(entry), footer_bytes + scanned.bytes_read))
    }

    /// Finds what is known of a file, or reads its footer.
    async fn prepare(
        &self,
        mut work: Work,
        known: &Snapshot,
        tables: &&[TableFiles],
        options: &AnalyzeOptions,
        progress: &dyn Progress,
    ) -> Result<Work, StatsError> {
        let enough = |entry: &Arc<FileEntry>| {
            entry.stats.version.same_contents(&work.version)
                && entry.stats.pass >= options.pass
                && has_keys(&entry.stats, &tables[work.table].name, options)
        };
        let mut before = known
            .file(&work.version.key)
            .filter(|entry| enough(entry))
            .cloned();
        if before.is_none() {
            let whole = options.pass == Pass::Scan;
            before = self.load(&work.version, whole).await;
        }
        let before = before.filter(|entry| entry.stats.version.same_contents(&work.version));
        if let Some(before) = before {
            if enough(&before) && !options.refresh {
                work.entry = Some(before);
                return Ok(work);
            }
            let keys = before.stats.columns.iter().filter(|column| column.is_key);
            work.keys_before = keys.map(|column| column.name.clone()).collect();
        }
        let stats = if options.pass > Pass::Listing {
            let footer = read_footer(&work.store, &work.meta, &work.version.key).await?;
            progress.bytes(footer.bytes_read);
            work.bytes_read = Some(footer.bytes_read);
            let stats = footer_stats(work.version.clone(), &footer);
            work.footer = Some(footer);
            stats
        } else {
            listed_stats(work.version.clone())
        };
        work.entry = Some(Arc::new(FileEntry::new(stats, Vec::new())));
        Ok(work)
    }

    /// Reads the data of a file, if that is what is missing, and stores what was found.
    async fn complete(
        &self,
        work: Work,
        keys: &[HashSet<String>],
        options: &AnalyzeOptions,
        permits: &Permits,
        progress: &dyn Progress,
    ) -> Result<(usize, Arc<FileEntry>, Option<u64>), StatsError> {
        let Some(entry) = work.entry else {
            let message = "a file was lost on the way".to_owned();
            return Err(StatsError::Worker {
                path: work.version.key,
                message,
            });
        };
        let Some(mut bytes_read) = work.bytes_read else {
            return Ok((work.table, entry, None));
        };
        let mut stats = entry.stats.clone();
        let mut parts = Vec::new();
        if options.pass == Pass::Scan {
            let key = &work.version.key;
            let footer = match work.footer {
                Some(footer) => footer,
                None => {
                    let footer = read_footer(&work.store, &work.meta, key).await?;
                    bytes_read += footer.bytes_read;
                    footer
                }
            };
            let is_key = |(place, column): (usize, &FileColumn)| {
                let wanted = column.family != Family::Nested
                    && (keys[work.table].contains(&column.name)
                        || work.keys_before.contains(&column.name));
                wanted.then_some(place)
            };
            let input = ScanInput {
                store: &work.store,
                path: &work.meta.location,
                key,
                keys: footer
                    .columns
                    .iter()
                    .enumerate()
                    .filter_map(is_key)
                    .collect(),
                share: permits.share,
                concurrency: options.concurrency,
                permits: &permits.units,
                progress,
            };
            let large = work.meta.size >= LARGE_FILE;
            let _permit = match large {
                // The semaphore is never closed.
                true => permits.large_files.acquire().await.ok(),
                false => None,
            };
            let scanned: Scanned = scan(&input, footer).await?;
            bytes_read += scanned.bytes_read;
            stats.pass = Pass::Scan;
            stats.columns = scanned.columns;
            parts = scanned.parts;
        }
        check_unchanged(&work.store, &work.meta, &work.version).await?;
        let entry = self.save(FileEntry::new(stats, parts)).await;
        Ok((work.table, Arc::new(entry), Some(bytes_read)))
    }
}

/// What a listing tells of a file.
fn listed_stats(version: FileVersion) -> FileStats {
    FileStats {
        version,
        pass: Pass::Listing,
        analyzed_at: 0,
        rows: 0,
        row_groups: 0,
        schema_fingerprint: 0,
        page_index: false,
        columns: Vec::new(),
        parts: Vec::new(),
        dropped: Vec::new(),
    }
}

/// What its footer tells of a file.
fn footer_stats(version: FileVersion, footer: &Footer) -> FileStats {
    FileStats {
        pass: Pass::Footer,
        analyzed_at: now(),
        rows: footer.rows,
        row_groups: u32::try_from(footer.metadata().num_row_groups()).unwrap_or(u32::MAX),
        schema_fingerprint: footer.schema_fingerprint,
        page_index: footer.page_index,
        columns: footer.columns.clone(),
        ..listed_stats(version)
    }
}

/// The key columns of each table, by name.
fn table_keys(
    tables: &[(&TableFiles, Vec<Arc<FileEntry>>)],
    options: &AnalyzeOptions,
) -> Vec<HashSet<String>> {
    if options.pass < Pass::Scan {
        return vec![HashSet::new(); tables.len()];
    }
    let stats: Vec<_> = tables
        .iter()
        .map(|(_, entries)| outline(entries).unwrap_or_default())
        .collect();
    let named: Vec<_> = tables
        .iter()
        .zip(&stats)
        .map(|((table, _), stats)| (table.name.as_str(), stats))
        .collect();
    let mut keys: BTreeSet<Key> = infer(&named);
    keys.extend(options.keys.iter().cloned());
    let own = |(table, _): &(&TableFiles, Vec<Arc<FileEntry>>)| {
        let own = keys.iter().filter(|key| key.0 == table.name);
        own.map(|key| key.1.clone()).collect()
    };
    tables.iter().map(own).collect()
}

/// A scan that did not know a key of a file has to be made again; of small files everything is known.
fn has_keys(stats: &FileStats, table: &str, options: &AnalyzeOptions) -> bool {
    let needs = |key: &(String, String)| {
        let column = stats.columns.iter().find(|column| column.name == key.1);
        key.0 == table
            && column.is_some_and(|column| !column.is_key && column.family != Family::Nested)
    };
    options.pass < Pass::Scan || stats.rows <= SAMPLE_ROWS || !options.keys.iter().any(needs)
}

/// Makes sure that what was read was one file all along.
async fn check_unchanged(
    store: &Store,
    meta: &ObjectMeta,
    version: &FileVersion,
) -> Result<(), StatsError> {
    let key = &version.key;
    match store.inner().head(&meta.location).await {
        Ok(now) if FileVersion::new(store, &now).same_contents(version) => Ok(()),
        Ok(_) | Err(object_store::Error::NotFound { .. }) => {
            Err(StatsError::Changed { path: key.clone() })
        }
        Err(source) => Err(StatsError::store(key, source)),
    }
}

/// Seconds since the Unix epoch: the only clock of the crate. It is shown to people and decides nothing.
fn now() -> u64 {
    let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    age.map_or(0, |age| age.as_secs())
}
