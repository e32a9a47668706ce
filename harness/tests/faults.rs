//! The cache under faults: killed analyses, damaged entries, and several processes at once.
//!
//! Whatever happens, what a catalog then says is right or missing, never wrong. `JOINWRIGHT_KILLS=1000` and
//! `JOINWRIGHT_FLIPS=100000` make more of the same, which takes minutes; all of it follows from one seed, but for where
//! a kill hits.

#![cfg(unix)]

#[path = "common/made.rs"]
mod made;
#[path = "common/tables.rs"]
mod tables;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arrow::array::{ArrayRef, Int64Array};
use arrow::record_batch::RecordBatch;
use joinwright_stats::{
    AnalyzeOptions, AnalyzeSummary, Budget, Catalog, Degrees, Distribution, KeyRows, Pass,
    RowSample, Snapshot, TableDetails, TableFiles, TableStats,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::made::mix;
use crate::tables::{locations, tables_of};

/// Numbers that follow from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 += 1;
        (mix(self.0) % limit.max(1) as u64) as usize
    }
}

fn count(variable: &str, default: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => default,
    }
}

/// All that a catalog says of some files.
struct Answers {
    stats: Option<Arc<TableStats>>,
    sample: Option<Arc<RowSample>>,
    columns: BTreeMap<String, ColumnAnswers>,
}

struct ColumnAnswers {
    distribution: Option<Arc<Distribution>>,
    degrees: Option<Arc<Degrees>>,
    key_rows: Option<Arc<KeyRows>>,
}

impl Answers {
    fn of(snapshot: &Snapshot, locations: &[String]) -> Self {
        let stats = snapshot.table(locations);
        let details = snapshot.details(locations);
        let names = stats.iter().flat_map(|stats| &stats.columns);
        let columns =
            names.map(|column| (column.name.clone(), column_answers(&details, &column.name)));
        Self {
            columns: columns.collect(),
            sample: details.sample(),
            stats,
        }
    }

    /// Everything was read, nothing is scaled.
    fn is_analyzed(&self) -> bool {
        self.stats.as_ref().is_some_and(|stats| stats.analyzed)
    }
}

fn column_answers(details: &TableDetails, column: &str) -> ColumnAnswers {
    ColumnAnswers {
        distribution: details.distribution(column),
        degrees: details.degrees(column),
        key_rows: details.key_rows(column),
    }
}

/// What may be missing from answers that are not wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Nothing,
    /// What lies in damaged parts.
    Parts,
}

/// The first answer that is wrong.
fn wrong(found: &Answers, right: &Answers, missing: Missing) -> Option<String> {
    let may_miss = missing == Missing::Parts;
    let is_wrong = |what: &str, column: &str| Some(format!("{what} of {column}"));
    match (&found.stats, &right.stats) {
        (Some(found), Some(right)) => {
            let mut completed = TableStats::clone(found);
            for (column, right) in completed.columns.iter_mut().zip(&right.columns) {
                // The sketches of several files are parts; those of one file were counted into its head.
                if may_miss && column.ndv.is_none() {
                    (column.ndv, column.ndv_exact) = (right.ndv, right.ndv_exact);
                }
            }
            if completed != **right {
                return Some(format!("statistics: {found:?} for {right:?}"));
            }
        }
        (None, None) => {}
        _ => return Some("statistics".to_owned()),
    }
    if !rows_are_right(found.sample.as_deref(), right.sample.as_deref(), may_miss) {
        return Some("the row sample".to_owned());
    }
    for (column, right) in &right.columns {
        let found = found.columns.get(column)?;
        let lost = |is_none: bool| is_none && may_miss;
        if found.distribution != right.distribution && !lost(found.distribution.is_none()) {
            return is_wrong("distribution", column);
        }
        if !degrees_are_right(found.degrees.as_deref(), right.degrees.as_deref(), may_miss) {
            return is_wrong("degrees", column);
        }
        if !key_rows_are_right(
            found.key_rows.as_deref(),
            right.key_rows.as_deref(),
            may_miss,
        ) {
            return is_wrong("key rows", column);
        }
    }
    None
}

fn rows_are_right(found: Option<&RowSample>, right: Option<&RowSample>, may_miss: bool) -> bool {
    match (found, right) {
        (Some(found), Some(right)) => {
            found.complete == right.complete && found.batch == right.batch
        }
        (None, right) => may_miss || right.is_none(),
        _ => false,
    }
}

/// Without the vector of one file, degrees of several become bounds.
fn degrees_are_right(found: Option<&Degrees>, right: Option<&Degrees>, may_miss: bool) -> bool {
    let (found, right) = match (found, right) {
        (Some(found), Some(right)) if may_miss && found.vector.is_none() => (found, right),
        (None, right) => return may_miss || right.is_none(),
        (found, right) => return found == right,
    };
    let bounds = |found: f64, right: f64| found >= right * (1.0 - 1e-9);
    let mut norms = found.norms.iter().zip(right.norms);
    let mut bins = found.bins.iter().zip(&right.bins);
    found.rows == right.rows
        && found.max >= right.max
        && norms.all(|(found, right)| bounds(*found, right))
        && bins.all(|(found, right)| found.rows == right.rows && found.max >= right.max)
        && (!found.exact || (found.max == right.max && found.norms == right.norms))
}

/// Columns may be missing, but not values in a column.
fn key_rows_are_right(found: Option<&KeyRows>, right: Option<&KeyRows>, may_miss: bool) -> bool {
    let (found, right) = match (found, right) {
        (Some(found), Some(right)) => (found, right),
        (None, right) => return may_miss || right.is_none(),
        _ => return false,
    };
    let same_column = |name: &str| {
        let field = |batch: &RecordBatch| batch.schema_ref().field_with_name(name).ok().cloned();
        let (found_column, right_column) = match (
            found.batch.column_by_name(name),
            right.batch.column_by_name(name),
        ) {
            (Some(found), Some(right)) => (found, right),
            _ => return false,
        };
        field(&found.batch) == field(&right.batch) && found_column == right_column
    };
    let names = found.batch.schema();
    let mut names = names.fields().iter();
    found.hashes == right.hashes
        && found.below == right.below
        && (may_miss || found.batch.num_columns() == right.batch.num_columns())
        && names.all(|field| same_column(field.name()))
}

/// Tables with what a catalog has to say of them.
struct Made {
    folder: TempDir,
    runtime: Runtime,
    tables: Vec<TableFiles>,
    by_table: Vec<Answers>,
    /// By the key of the file: after the footer pass, and after the scan pass.
    by_file: BTreeMap<String, (Answers, Answers)>,
}

impl Made {
    /// A table of small files, which are kept whole, one of files of middling size, and perhaps one that is sampled. All so
    /// small that an analysis takes a moment.
    fn write(sampled: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join("data").join(name);
        for part in 0..3 {
            let rows = made::mixed(part * 300..part * 300 + 300);
            let columns = [0, 1, 2, 4, 5, 6, 7];
            let rows = rows.project(&columns).unwrap();
            made::write(&file(&format!("few/{part}.parquet")), &rows, 100);
        }
        for part in 0..2 {
            let rows = made::mixed(part * 21_000..part * 21_000 + 21_000);
            let columns = [0, 1, 2, 5];
            let rows = rows.project(&columns).unwrap();
            made::write(&file(&format!("some/{part}.parquet")), &rows, 21_000);
        }
        if sampled {
            let rows = made::slim(0..270_000);
            made::write(&file("many.parquet"), &rows, 70_000);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let tables = runtime
            .block_on(tables_of(&folder.path().join("data")))
            .unwrap();
        let mut made = Self {
            folder,
            runtime,
            tables,
            by_table: Vec::new(),
            by_file: BTreeMap::new(),
        };
        let footers = Catalog::in_memory();
        made.analyze(&footers, &made.tables, Pass::Footer);
        let scans = Catalog::in_memory();
        made.analyze(&scans, &made.tables, Pass::Scan);
        made.by_table = made.answers(&scans);
        for key in made.tables.iter().flat_map(locations) {
            let one = std::slice::from_ref(&key);
            let footer = Answers::of(&footers.snapshot(), one);
            let scan = Answers::of(&scans.snapshot(), one);
            assert!(scan.is_analyzed() && !footer.is_analyzed());
            made.by_file.insert(key, (footer, scan));
        }
        made
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A cache folder of that name.
    fn cache(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn analyze(&self, catalog: &Catalog, tables: &[TableFiles], pass: Pass) -> AnalyzeSummary {
        let options = AnalyzeOptions {
            pass,
            ..AnalyzeOptions::default()
        };
        let analysis = catalog.analyze_tables(tables, &options, &());
        self.runtime.block_on(analysis).unwrap()
    }

    fn answers(&self, catalog: &Catalog) -> Vec<Answers> {
        let snapshot = catalog.snapshot();
        let tables = self.tables.iter();
        tables
            .map(|table| Answers::of(&snapshot, &locations(table)))
            .collect()
    }

    /// A fresh catalog over a cache brings it in order, and is then right.
    #[track_caller]
    fn check_repaired(&self, cache: &Path) -> AnalyzeSummary {
        let catalog = Catalog::open(cache).unwrap();
        let summary = self.analyze(&catalog, &self.tables, Pass::Scan);
        for (found, right) in self.answers(&catalog).iter().zip(&self.by_table) {
            assert_eq!(wrong(found, right, Missing::Nothing), None);
        }
        summary
    }

    /// The cache has all, and all of it is right.
    #[track_caller]
    fn check_sound(&self, cache: &Path) {
        let summary = self.check_repaired(cache);
        assert_eq!((summary.scanned, summary.bytes_read), (0, 0));
        assert_eq!(entries(cache).len(), self.by_file.len());
    }

    /// A fresh catalog that reads no data says of some tables, and of those of their files that are `looked_at`, what a scan has
    /// found, or what footers tell.
    #[track_caller]
    fn check_files(&self, cache: &Path, tables: &[TableFiles], looked_at: impl Fn(&str) -> bool) {
        let catalog = Catalog::open(cache).unwrap();
        self.analyze(&catalog, tables, Pass::Footer);
        let snapshot = catalog.snapshot();
        for table in tables {
            for key in locations(table).into_iter().filter(|key| looked_at(key)) {
                let found = Answers::of(&snapshot, std::slice::from_ref(&key));
                let (footer, scan) = &self.by_file[&key];
                let right = if found.is_analyzed() { scan } else { footer };
                assert_eq!(wrong(&found, right, Missing::Parts), None, "{key}");
            }
            let found = Answers::of(&snapshot, &locations(table));
            let at = self
                .tables
                .iter()
                .position(|other| other.name == table.name)
                .unwrap();
            let right = &self.by_table[at];
            assert_eq!(
                found.stats.as_ref().unwrap().rows,
                right.stats.as_ref().unwrap().rows
            );
            // Of a table that is known in part, numbers are scaled.
            if found.is_analyzed() {
                assert_eq!(wrong(&found, right, Missing::Parts), None, "{}", table.name);
            }
        }
    }

    fn spawn(&self, cache: &Path, refresh: bool) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_joinwright"));
        command
            .arg("analyze")
            .arg(self.data())
            .arg("--cache")
            .arg(cache);
        if refresh {
            command.arg("--refresh");
        }
        command
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap()
    }
}

/// The files of a cache by their ending, without those of other endings.
fn files(cache: &Path, ending: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(cache).into_iter().flatten().flatten();
    let mut files: Vec<_> = all
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|other| other == ending))
        .collect();
    files.sort();
    files
}

fn entries(cache: &Path) -> Vec<PathBuf> {
    files(cache, "stats")
}

fn copy_folder(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).into_iter().flatten().flatten() {
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[test]
fn killed_analyses_leave_nothing_wrong() {
    let made = Made::write(false);
    let (cache, seen) = (made.cache("killed"), made.cache("seen"));
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..5 {
        let _ = fs::remove_dir_all(&cache);
        let started = Instant::now();
        assert!(made.spawn(&cache, false).wait().unwrap().success());
        took.push(started.elapsed());
    }
    took.sort();
    let longest = took[2].mul_f64(1.2).as_micros() as usize;
    let kills = count("JOINWRIGHT_KILLS", 20);
    let mut random = Random(7);
    let (mut in_time, mut partly, mut temporary) = (0, 0, 0);
    for kill in 0..kills {
        // By turns: from nothing, with half of the entries, and over a cache that is complete.
        match kill % 3 {
            0 => drop(fs::remove_dir_all(&cache)),
            1 => {
                for entry in entries(&cache).iter().step_by(2) {
                    fs::remove_file(entry).unwrap();
                }
            }
            _ => {}
        }
        let mut child = made.spawn(&cache, kill % 3 == 2);
        std::thread::sleep(Duration::from_micros(random.below(longest) as u64));
        child.kill().unwrap();
        in_time += usize::from(!child.wait().unwrap().success());
        let known = entries(&cache).len();
        partly += usize::from((1..made.by_file.len()).contains(&known));
        temporary += files(&cache, "tmp").len();
        copy_folder(&cache, &seen);
        made.check_files(&seen, &made.tables, |_| true);
        made.check_repaired(&cache);
        made.check_sound(&cache);
        // They would be kept for the while that another process may be writing them.
        files(&cache, "tmp")
            .iter()
            .for_each(|file| fs::remove_file(file).unwrap());
    }
    println!(
        "{kills} kills within {:.0} ms, {in_time} in time, {partly} with some entries on disk, {temporary} with a temporary file left",
        longest as f64 / 1e3
    );
}

#[test]
fn temporary_files_are_no_entries() {
    let made = Made::write(false);
    let cache = made.cache("temporary");
    made.check_repaired(&cache);
    let (older, newer) = (cache.join("older.1-0.tmp"), cache.join("newer.2-0.tmp"));
    let entry = &entries(&cache)[0];
    for file in [&older, &newer] {
        fs::copy(entry, file).unwrap();
    }
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let file = fs::File::options().write(true).open(&older).unwrap();
    file.set_modified(hour_ago).unwrap();
    fs::remove_file(entry).unwrap();
    made.check_repaired(&cache);
    made.check_sound(&cache);
    // Another process may still be writing the newer one.
    assert_eq!(files(&cache, "tmp"), [newer]);
}

/// Panics of all threads, those that the catalog's own threads keep to themselves included.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A cache entry that is to be damaged.
struct Entry {
    path: PathBuf,
    sound: Vec<u8>,
    /// Of the file that it is about, and its table.
    key: String,
    table: TableFiles,
}

fn damaged(sound: &[u8], others: &[Entry], random: &mut Random) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    // Heads are short, and more depends on each of their bytes.
    let reach = if random.below(2) == 0 {
        bytes.len().min(2048)
    } else {
        bytes.len()
    };
    let at = random.below(reach);
    match random.below(8) {
        0..4 => bytes[at] ^= 1 << random.below(8),
        4 => bytes[at] = random.below(256) as u8,
        5 => bytes.truncate(at),
        6 => {
            let end = (at + 1 + random.below(600)).min(bytes.len());
            bytes[at..end].fill(random.below(2) as u8 * 255);
        }
        _ => match random.below(3) {
            0 => bytes.extend((0..1 + random.below(50)).map(|byte| byte as u8)),
            1 => bytes.clone_from(&others[random.below(others.len())].sound),
            // The head of one and the parts of another.
            _ => {
                let other = &others[random.below(others.len())].sound;
                bytes.truncate(at);
                bytes.extend(other.iter().skip(at));
            }
        },
    }
    bytes
}

#[test]
fn damaged_entries_are_right_or_missing() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        before(info);
    }));
    let made = Made::write(true);
    let sound = made.cache("sound");
    made.check_repaired(&sound);
    let flips = count("JOINWRIGHT_FLIPS", 400);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let (done, repaired) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = |worker: usize| {
        let cache = made.cache(&format!("damaged-{worker}"));
        copy_folder(&sound, &cache);
        let entries = entries_of(&made, &cache);
        let mut random = Random(mix(worker as u64));
        while done.fetch_add(1, Ordering::Relaxed) < flips {
            let entry = &entries[random.below(entries.len())];
            let bytes = damaged(&entry.sound, &entries, &mut random);
            fs::write(&entry.path, &bytes).unwrap();
            made.check_files(&cache, std::slice::from_ref(&entry.table), |key| {
                key == entry.key
            });
            if random.below(32) == 0 {
                fs::write(&entry.path, &bytes).unwrap();
                let summary = made.check_repaired(&cache);
                assert_eq!(summary.scanned, usize::from(bytes != entry.sound));
                made.check_sound(&cache);
                repaired.fetch_add(1, Ordering::Relaxed);
            }
            fs::write(&entry.path, &entry.sound).unwrap();
        }
    };
    std::thread::scope(|scope| {
        for worker in 0..workers {
            scope.spawn(move || work(worker));
        }
    });
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
    println!(
        "{flips} damaged entries, {} of them repaired",
        repaired.into_inner()
    );
}

/// The entries of a cache with the table that each is for: an entry holds the key of its file.
fn entries_of(made: &Made, cache: &Path) -> Vec<Entry> {
    let entry = |path: PathBuf| {
        let sound = fs::read(&path).unwrap();
        let is_own = |key: &String| sound.windows(key.len()).any(|part| part == key.as_bytes());
        let own =
            |table: &TableFiles| Some((locations(table).into_iter().find(is_own)?, table.clone()));
        let (key, table) = made.tables.iter().find_map(own).unwrap();
        Entry {
            path,
            sound,
            key,
            table,
        }
    };
    entries(cache).into_iter().map(entry).collect()
}

#[test]
fn four_processes_share_a_cache() {
    let made = Made::write(false);
    let cache = made.cache("shared");
    for round in 0..count("JOINWRIGHT_ROUNDS", 3) {
        for refresh in [false, true] {
            if !refresh {
                let _ = fs::remove_dir_all(&cache);
            }
            let mut processes: Vec<_> = (0..4).map(|_| made.spawn(&cache, refresh)).collect();
            for process in &mut processes {
                assert!(process.wait().unwrap().success(), "round {round}");
            }
            made.check_sound(&cache);
            assert!(files(&cache, "tmp").is_empty());
        }
    }
}

/// A file of one column of multiples of 20, each once in 1,000 rows.
fn write_numbers(path: &Path, rows: i64) {
    let numbers = (0..rows).map(|row| row % 1_000 * 20);
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
    let batch = RecordBatch::try_from_iter([("part", column)]).unwrap();
    made::write(path, &batch, 10_000);
}

/// An analysis that was stopped and made again should find what one from nothing finds.
///
/// Keys follow from footers and names, so that they are the same whatever was known before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_do_not_depend_on_what_was_known() {
    let folder = tempfile::tempdir().unwrap();
    let (data, cache) = (folder.path().join("data"), folder.path().join("cache"));
    let analyze = async || {
        let catalog = Catalog::open(&cache).unwrap();
        let tables = tables_of(&data).await.unwrap();
        let options = AnalyzeOptions::default();
        catalog
            .analyze_tables(&tables, &options, &())
            .await
            .unwrap();
        let snapshot = catalog.snapshot();
        let answers = Answers::of(&snapshot, &locations(&tables[0]));
        let is_key = answers.stats.as_ref().unwrap().columns[0].is_key;
        (is_key, answers.columns["part"].degrees.is_some())
    };
    write_numbers(&data.join("one.parquet"), 1_000);
    write_numbers(&data.join("many/0.parquet"), 25_000);
    let first = analyze().await;
    // As if the analysis had been stopped before it came to the larger file.
    let size = |path: &PathBuf| fs::metadata(path).unwrap().len();
    let largest = entries(&cache).into_iter().max_by_key(size).unwrap();
    fs::remove_file(largest).unwrap();
    assert_eq!(analyze().await, first);
}

/// An analysis that is stopped between storing and thinning its entries leaves them over the budget; the next one thins them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_budget_is_kept_after_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let (data, cache) = (folder.path().join("data"), folder.path().join("cache"));
    made::write(&data.join("mixed.parquet"), &made::mixed(0..30_000), 30_000);
    let tables = tables_of(&data).await.unwrap();
    let analyze = async |budget: Budget, refresh| {
        let catalog = Catalog::open(&cache).unwrap();
        let options = AnalyzeOptions {
            budget,
            refresh,
            ..AnalyzeOptions::default()
        };
        catalog
            .analyze_tables(&tables, &options, &())
            .await
            .unwrap()
            .statistics_bytes
    };
    let budget = Budget {
        share: 0.0,
        least: 60_000,
    };
    assert!(analyze(budget, true).await <= budget.least);
    // What is on disk before thinning.
    analyze(Budget::unlimited(), true).await;
    assert!(analyze(budget, false).await <= budget.least);
}
