//! The scan pass: one read of a file's data, column by column.
//!
//! The work is cut into units: neighbouring chunks of a column, or of small columns, that together take up to 8 MiB as stored,
//! or one larger chunk. A unit's bytes are fetched asynchronously, then decoded and counted on a blocking thread. Units are
//! added up in their order, so that the result depends on the file alone.
//!
//! Files of many rows are sampled. Which rows a key sample holds follows from the hashes of its key column, so key columns are
//! counted first; in the second round, when all other columns are read, only the rows of the samples are taken from them. Their
//! bytes are kept in between where they are few.
//!
//! Memory: `concurrency` units at once, each with its stored bytes (8 MiB, or one larger column chunk), one batch of decoded values
//! (about 4 MiB), the page and the dictionary that it comes from, and under 3 MiB of sketches and of hashes that wait to be counted
//! together; as many more units that are counted, of which the sketches remain; for key columns 4 MiB of keys that wait, the count of
//! each key (at most 68 MiB for each of `concurrency` columns) and up to 64 MiB of bytes kept; and the rows of the samples, at most
//! 64 MB before they are packed, and twice as much again while they are. Files of more than a few megabytes are scanned one at a time.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::collect::{Collected, KeyColumn, collect};
use crate::decode::{Readers, decode_column, dictionary_value_bytes};
use crate::degrees::{DegreeCounter, Degrees, KeyRuns, lock};
use crate::file_stats::FileColumn;
use crate::footer::Footer;
use crate::parts::Part;
use crate::sampling::{Priorities, key_threshold, share_to_bound};
use crate::sketch::{ColumnSketch, ColumnTotal, EntryCounts, plain};
use crate::value::Family;
use crate::{Progress, StatsError, Store};

/// Stored bytes of a unit; enough to make a request to a remote store worth its latency.
const UNIT_BYTES: u64 = 8 << 20;

/// Stored bytes of key columns that are kept between the two rounds.
const KEPT_BYTES: u64 = 64 << 20;

/// Values of a column that its histogram is made from; of larger files a random part of so many rows.
const ORDERED_ROWS: f64 = 131_072.0;

/// Rows of a file up to which it is looked at as a whole.
pub(crate) const WHOLE_ROWS: u64 = 262_144;

/// Rows of the uniform sample.
pub(crate) const SAMPLE_ROWS: u64 = 20_000;

/// Bytes of the rows that are taken from a file, not yet packed.
const TAKEN_BYTES: f64 = 64e6;

/// Columns of wider values on average are left out of samples.
const WIDEST_TAKEN: f64 = 2048.0;

/// Share of a file's rows in a key sample, and the fewest and most rows.
const KEY_SHARE: f64 = 0.03;

/// Part of the budget that the key samples of a file may use together. A row takes as much space in a sample as in its file.
const KEY_BUDGET: f64 = 0.7;
const KEY_ROWS: (f64, f64) = (20_000.0, 200_000.0);

/// Keys of fewer distinct values have no sample of their own: their degrees tell all, and few keys make a poor sample.
const KEY_DOMAIN: f64 = 4096.0;

/// What a scan needs to know.
pub(crate) struct ScanInput<'a> {
    pub(crate) store: &'a Store,
    pub(crate) path: &'a Path,
    pub(crate) key: &'a str,
    /// Columns that joins may use.
    pub(crate) keys: Vec<usize>,
    /// What the statistics may take, as a share of the data.
    pub(crate) share: f64,
    pub(crate) concurrency: usize,
    pub(crate) permits: &'a Semaphore,
    pub(crate) progress: &'a dyn Progress,
}

/// What a scan found.
pub(crate) struct Scanned {
    pub(crate) columns: Vec<FileColumn>,
    pub(crate) parts: Vec<Part>,
    pub(crate) bytes_read: u64,
}

/// One column chunk.
#[derive(Clone)]
struct Chunk {
    column: usize,
    leaf: usize,
    row_group: usize,
    range: Range<u64>,
    /// The number of its first row in the file.
    first_row: u64,
}

/// What is to be done with a column.
#[derive(Clone, Default)]
struct Task {
    sketch: bool,
    extremes: bool,
    degrees: Option<Arc<DegreeCounter>>,
    candidates: Option<Arc<Mutex<Candidates>>>,
    /// Rows that go into the histogram, ascending; `None` for all.
    ordered: Option<Arc<Vec<u64>>>,
    take: Take,
}

#[derive(Clone, Default)]
enum Take {
    #[default]
    Nothing,
    All,
    /// Numbers of rows in the file, ascending.
    Rows(Arc<Vec<u64>>),
}

/// Rows that may be in a key sample.
struct Candidates {
    /// No row with a larger hash can be.
    below: u64,
    most: usize,
    /// `(hash, row)`, in any order.
    rows: Vec<(u64, u64)>,
}

impl Candidates {
    fn add(&mut self, hashes: &[u64], first_row: u64, array: &ArrayRef) {
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        for (row, &hash) in hashes.iter().enumerate() {
            if hash < self.below && valid(row) {
                self.rows.push((hash, first_row + row as u64));
            }
        }
        // Of these, no threshold that is found in the end keeps more than four times `most`, so what is cut off here would
        // be cut off then: the order of the parts does not matter.
        if self.rows.len() > 16 * self.most {
            let at = 5 * self.most;
            let (_, &mut (bound, _), _) = self.rows.select_nth_unstable(at);
            self.below = bound;
            self.rows.retain(|row| row.0 < bound);
        }
    }
}

/// What a unit found in one of its columns.
struct Found {
    column: usize,
    sketch: Option<ColumnSketch>,
    taken: Vec<ArrayRef>,
}

/// Reads all flat columns of a file.
pub(crate) async fn scan(input: &ScanInput<'_>, footer: Footer) -> Result<Scanned, StatsError> {
    let corrupt = |source| StatsError::parquet(input.key, source);
    let chunks = chunks(footer.metadata(), &footer.columns, &footer.leaves).map_err(corrupt)?;
    let rows = footer.rows;
    // The same name as in the entry, from which the priorities are found again.
    let name = input.key.rsplit('/').next().unwrap_or_default();
    let shape = Shape::of(&footer);
    let mut scan = Scan {
        input,
        readers: Readers::new(&footer.arrow),
        priorities: Priorities::of_file(name, rows, footer.schema_fingerprint),
        kept: Mutex::default(),
        keep: false,
        by_column: false,
        bytes_read: 0,
        totals: Vec::new(),
        taken: vec![Vec::new(); footer.columns.len()],
    };
    scan.totals
        .resize_with(footer.columns.len(), Default::default);
    let whole = rows <= WHOLE_ROWS && shape.taken_width * rows as f64 <= TAKEN_BYTES;
    let sketched = |column: usize| Task {
        sketch: true,
        extremes: footer.columns[column].lacks_bounds(),
        ..Task::default()
    };
    let mut tasks: Vec<Task> = (0..footer.columns.len()).map(sketched).collect();
    let mut keys: Vec<KeyColumn> = Vec::new();
    let (selected, sample_below) = if whole {
        for (task, taken) in tasks.iter_mut().zip(&shape.taken) {
            task.take = if *taken { Take::All } else { Take::Nothing };
        }
        // Of a complete table, everything about its keys can be seen in its rows.
        let counted = if rows > SAMPLE_ROWS {
            &input.keys[..]
        } else {
            &[]
        };
        let counters: Vec<Arc<DegreeCounter>> = counted.iter().map(|_| Arc::default()).collect();
        for (&column, counter) in counted.iter().zip(&counters) {
            tasks[column].degrees = Some(Arc::clone(counter));
        }
        scan.run(&chunks, Arc::new(tasks)).await?;
        for (&column, counter) in counted.iter().zip(&counters) {
            // Fewer rows than keys that can be counted: nothing overflowed.
            let degrees = scan.degrees(column, counter);
            keys.push(KeyColumn {
                column,
                degrees,
                below: u64::MAX,
                ranges: Vec::new(),
            });
        }
        let below = scan.priorities.threshold(rows, SAMPLE_ROWS);
        (None, below)
    } else {
        let fit = (TAKEN_BYTES / 8.0 / shape.taken_width.max(1.0)) as u64;
        let below = scan.priorities.threshold(rows, SAMPLE_ROWS.min(fit.max(1)));
        let most_rows = (TAKEN_BYTES / shape.taken_width.max(1.0)) / (input.keys.len() + 1) as f64;
        let affordable = input.share * KEY_BUDGET / input.keys.len().max(1) as f64;
        let target = (rows as f64 * KEY_SHARE.min(affordable))
            .clamp(KEY_ROWS.0, KEY_ROWS.1)
            .min(most_rows);
        let all = Arc::new(scan.some_rows(rows, rows));
        // They are more than the sample, and chosen by the same priorities.
        let mut selected = all.to_vec();
        selected.retain(|row| scan.priorities.of(*row) < below);
        for (task, column) in tasks.iter_mut().zip(&footer.columns) {
            let nulls = column.null_count.unwrap_or(0).min(rows);
            task.ordered = match rows - nulls {
                few if few as f64 <= ORDERED_ROWS => None,
                // Of a column with many nulls more rows have to be looked at.
                values if nulls > rows / 8 => Some(Arc::new(scan.some_rows(rows, values))),
                _ => Some(Arc::clone(&all)),
            };
        }
        scan.keep = chunks
            .iter()
            .filter(|chunk| input.keys.contains(&chunk.column))
            .map(|chunk| chunk.range.end - chunk.range.start)
            .sum::<u64>()
            <= KEPT_BYTES;
        scan.by_column = true;
        for group in input.keys.chunks(input.concurrency.max(1)) {
            keys.extend(
                scan.count_keys(group, &chunks, &tasks, rows, target as usize)
                    .await?,
            );
        }
        for key in &keys {
            selected.extend(key.ranges.iter().map(|(_, row)| *row));
        }
        selected.sort_unstable();
        selected.dedup();
        let selected = Arc::new(selected);
        for (column, (task, taken)) in tasks.iter_mut().zip(&shape.taken).enumerate() {
            let known = input.keys.contains(&column);
            task.sketch &= !known;
            task.extremes &= !known;
            task.take = if *taken {
                Take::Rows(Arc::clone(&selected))
            } else {
                Take::Nothing
            };
        }
        scan.keep = false;
        scan.by_column = false;
        scan.run(&chunks, Arc::new(tasks)).await?;
        (Some(selected), below)
    };
    let collected = Collected {
        rows,
        arrow: Arc::clone(footer.arrow.schema()),
        columns: footer.columns,
        totals: scan.totals,
        taken: scan.taken,
        selected,
        priorities: scan.priorities,
        sample_below,
        keys,
    };
    let bytes_read = scan.bytes_read;
    let threads = input.concurrency;
    let collected = spawn_blocking(move || collect(collected, threads)).await;
    let collected = collected.map_err(|source| StatsError::worker(input.key, &source))?;
    let (columns, parts) = collected.map_err(|source| StatsError::parquet(input.key, source))?;
    Ok(Scanned {
        columns,
        parts,
        bytes_read,
    })
}

/// What is known of the widths of columns before they are read.
struct Shape {
    /// Columns that samples hold.
    taken: Vec<bool>,
    /// Mean bytes of a row of these.
    taken_width: f64,
}

impl Shape {
    fn of(footer: &Footer) -> Self {
        let rows = footer.rows.max(1) as f64;
        let mut taken_width = 0.0;
        let take = |column: &FileColumn| {
            let width = column.value_bytes.unwrap_or(0) as f64 / rows;
            let taken = !matches!(column.family, Family::Nested) && width <= WIDEST_TAKEN;
            taken_width += if taken { width + 4.0 } else { 0.0 };
            taken
        };
        let taken = footer.columns.iter().map(take).collect();
        Self { taken, taken_width }
    }
}

/// A scan under way.
struct Scan<'a> {
    input: &'a ScanInput<'a>,
    readers: Readers,
    priorities: Priorities,
    /// Bytes of chunks by column and row group.
    kept: Mutex<HashMap<(usize, usize), Bytes>>,
    keep: bool,
    /// Units hold one column each. Which key columns are counted together depends on the number of threads, and what is counted
    /// of a column must not.
    by_column: bool,
    bytes_read: u64,
    totals: Vec<ColumnTotal>,
    taken: Vec<Vec<ArrayRef>>,
}

impl Scan<'_> {
    /// Random rows, so many that enough of the `values` are among them that are not null.
    fn some_rows(&self, rows: u64, values: u64) -> Vec<u64> {
        let below = share_to_bound(ORDERED_ROWS / values.max(1) as f64);
        (0..rows)
            .filter(|row| self.priorities.of(*row) < below)
            .collect()
    }

    /// Counts the keys of some columns and chooses the rows of their samples.
    async fn count_keys(
        &mut self,
        columns: &[usize],
        chunks: &[Chunk],
        tasks: &[Task],
        rows: u64,
        most: usize,
    ) -> Result<Vec<KeyColumn>, StatsError> {
        let below = share_to_bound(most as f64 / rows.max(1) as f64 * 1.3);
        let mut tasks = tasks.to_vec();
        let counters: Vec<Arc<DegreeCounter>> = columns.iter().map(|_| Arc::default()).collect();
        for (&column, counter) in columns.iter().zip(&counters) {
            let candidates = Candidates {
                below,
                most,
                rows: Vec::new(),
            };
            tasks[column].degrees = Some(Arc::clone(counter));
            tasks[column].candidates = Some(Arc::new(Mutex::new(candidates)));
        }
        let own = |chunk: &&Chunk| columns.contains(&chunk.column);
        let chunks: Vec<_> = chunks.iter().filter(own).cloned().collect();
        let tasks = Arc::new(tasks);
        self.run(&chunks, Arc::clone(&tasks)).await?;
        let mut again = tasks.to_vec();
        for (column, task) in again.iter_mut().enumerate() {
            let counter = task.degrees.take();
            task.sketch = counter.is_some_and(|counter| counter.overflowed());
            task.candidates = None;
            if task.sketch {
                // Their keys are too many to count one by one, which is known only now.
                self.totals[column] = ColumnTotal::default();
            }
        }
        self.run(&chunks, Arc::new(again)).await?;
        let mut keys = Vec::new();
        for (&column, counter) in columns.iter().zip(&counters) {
            let task = &tasks[column];
            let mut key = KeyColumn {
                column,
                degrees: self.degrees(column, counter),
                below: 0,
                ranges: Vec::new(),
            };
            let total = &self.totals[column];
            let distinct = total
                .frequent
                .distinct()
                .map_or_else(|| total.distinct.estimate(), |n| n as f64);
            if let Some(candidates) = task.candidates.as_ref().filter(|_| distinct >= KEY_DOMAIN) {
                let mut candidates = lock(candidates);
                let mut hashes: Vec<_> = candidates.rows.iter().map(|row| row.0).collect();
                key.below = key_threshold(&mut hashes, candidates.below, most);
                key.ranges = std::mem::take(&mut candidates.rows);
                key.ranges.retain(|row| row.0 < key.below);
                key.ranges.sort_unstable_by_key(|row| row.1);
            }
            keys.push(key);
        }
        Ok(keys)
    }

    /// What was counted of a key column, which also tells its distinct and most common values.
    fn degrees(&mut self, column: usize, counter: &DegreeCounter) -> Degrees {
        let total = &mut self.totals[column];
        let degrees = counter.finish(&total.frequent, self.input.concurrency);
        if let Some(vector) = &degrees.vector {
            total.know_values(vector);
        }
        degrees
    }

    /// Reads chunks and adds up what is found, in their order.
    async fn run(&mut self, chunks: &[Chunk], tasks: Arc<Vec<Task>>) -> Result<(), StatsError> {
        let input = self.input;
        let readers = &self.readers;
        let (kept, keep) = (&self.kept, self.keep);
        let needed = |chunk: &&Chunk| {
            let task = &tasks[chunk.column];
            task.sketch || !matches!(task.take, Take::Nothing)
        };
        let units = units(chunks.iter().filter(needed).cloned(), self.by_column);
        let tasks = &tasks;
        let scan_unit = async |unit: Vec<Chunk>| {
            // The semaphore is never closed.
            let _permit = input.permits.acquire().await;
            let (fetched, bytes) = fetch(input, &unit, kept, keep).await?;
            let (readers, tasks) = (readers.clone(), Arc::clone(tasks));
            let work = move || count_unit(&unit, fetched, &readers, &tasks);
            let found = spawn_blocking(work).await;
            let found = found.map_err(|source| StatsError::worker(input.key, &source))?;
            let found = found.map_err(|source| StatsError::parquet(input.key, source))?;
            Ok::<_, StatsError>((found, bytes))
        };
        let mut results = stream::iter(units)
            .map(scan_unit)
            .buffered(2 * input.concurrency.max(1));
        let (totals, taken) = (&mut self.totals, &mut self.taken);
        while let Some((found, bytes)) = results.try_next().await? {
            self.bytes_read += bytes;
            for found in found {
                if let Some(sketch) = found.sketch {
                    totals[found.column].merge(sketch);
                }
                taken[found.column].extend(found.taken);
            }
        }
        Ok(())
    }
}

/// The bytes of a unit's chunks, and how many of them were read just now.
async fn fetch(
    input: &ScanInput<'_>,
    unit: &[Chunk],
    kept: &Mutex<HashMap<(usize, usize), Bytes>>,
    keep: bool,
) -> Result<(Vec<Bytes>, u64), StatsError> {
    let known: Vec<Option<Bytes>> = {
        let mut kept = lock(kept);
        unit.iter()
            .map(|chunk| kept.remove(&(chunk.column, chunk.row_group)))
            .collect()
    };
    let missing = unit.iter().zip(&known).filter(|(_, known)| known.is_none());
    let ranges: Vec<_> = missing.map(|(chunk, _)| chunk.range.clone()).collect();
    let mut read = Vec::new();
    if !ranges.is_empty() {
        read = input
            .store
            .read_ranges(input.path, &ranges, input.key)
            .await?;
    }
    let bytes = read.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
    input.progress.bytes(bytes);
    let mut read = read.into_iter();
    let mut fetched = Vec::with_capacity(unit.len());
    for (chunk, known) in unit.iter().zip(known) {
        // One range was read for each chunk that was not known.
        let bytes = known.or_else(|| read.next()).unwrap_or_default();
        if keep {
            lock(kept).insert((chunk.column, chunk.row_group), bytes.clone());
        }
        fetched.push(bytes);
    }
    Ok((fetched, bytes))
}

/// All chunks of flat columns, a column after the other.
fn chunks(
    metadata: &ParquetMetaData,
    columns: &[FileColumn],
    leaves: &[usize],
) -> Result<Vec<Chunk>, ParquetError> {
    let mut chunks = Vec::new();
    for (column, (stats, &leaf)) in columns.iter().zip(leaves).enumerate() {
        if stats.family == Family::Nested {
            continue;
        }
        let mut first_row = 0;
        for (row_group, group) in metadata.row_groups().iter().enumerate() {
            if group.num_rows() > 0 {
                let range = chunk_range(group.column(leaf))?;
                chunks.push(Chunk {
                    column,
                    leaf,
                    row_group,
                    range,
                    first_row,
                });
            }
            first_row += group.num_rows() as u64;
        }
    }
    Ok(chunks)
}

/// Where a column chunk lies; an error for the impossible places that a damaged footer may name.
fn chunk_range(chunk: &ColumnChunkMetaData) -> Result<Range<u64>, ParquetError> {
    let start = chunk.dictionary_page_offset();
    let start = start.unwrap_or(chunk.data_page_offset());
    let range = u64::try_from(start)
        .ok()
        .zip(u64::try_from(chunk.compressed_size()).ok())
        .and_then(|(start, length)| Some(start..start.checked_add(length)?));
    range.ok_or_else(|| {
        let name = chunk.column_path().string();
        ParquetError::General(format!("impossible place of a chunk of column {name}"))
    })
}

/// Neighbours of up to [`UNIT_BYTES`] together, of one column if so asked for.
fn units(chunks: impl Iterator<Item = Chunk>, by_column: bool) -> Vec<Vec<Chunk>> {
    let mut units: Vec<Vec<Chunk>> = Vec::new();
    let mut bytes = 0;
    for chunk in chunks {
        let length = chunk.range.end - chunk.range.start;
        let fits = |last: &Chunk| !by_column || last.column == chunk.column;
        match units.last_mut() {
            Some(unit) if bytes + length <= UNIT_BYTES && unit.last().is_some_and(fits) => {
                bytes += length;
                unit.push(chunk);
            }
            _ => {
                bytes = length;
                units.push(vec![chunk]);
            }
        }
    }
    units
}

fn count_unit(
    unit: &[Chunk],
    fetched: Vec<Bytes>,
    readers: &Readers,
    tasks: &[Task],
) -> Result<Vec<Found>, ParquetError> {
    let mut all = Vec::new();
    let mut fetched = fetched.into_iter();
    for chunks in unit.chunk_by(|a, b| a.column == b.column) {
        let column = chunks[0].column;
        let task = &tasks[column];
        let mut found = Found {
            column,
            sketch: task
                .sketch
                .then(|| ColumnSketch::new(task.extremes, task.degrees.is_none())),
            taken: Vec::new(),
        };
        let mut keys = task.degrees.as_deref().map(KeyRuns::new);
        for (chunk, bytes) in chunks.iter().zip(&mut fetched) {
            let mut counting = Counting {
                task,
                found: &mut found,
                entries: EntryCounts::default(),
                keys: keys.as_mut(),
                dictionary: false,
            };
            let visit = |row: u64, array: &ArrayRef| counting.visit(chunk.first_row + row, array);
            decode_column(
                chunk.row_group,
                chunk.leaf,
                chunk.range.start,
                bytes,
                readers,
                visit,
            )?;
            counting.finish(dictionary_value_bytes(
                readers.chunk(chunk.row_group, chunk.leaf),
            ));
        }
        if let Some(sketch) = &mut found.sketch {
            sketch.finish();
        }
        if let Some(keys) = &mut keys {
            keys.flush();
        }
        all.push(found);
    }
    Ok(all)
}

/// Those of some rows that lie in a batch, by their places in it. `rows` is ascending.
fn within(rows: &[u64], first_row: u64, batch_rows: usize) -> UInt32Array {
    let start = rows.partition_point(|row| *row < first_row);
    let rest = &rows[start..];
    let end = rest.partition_point(|row| *row < first_row + batch_rows as u64);
    UInt32Array::from_iter_values(rest[..end].iter().map(|row| (row - first_row) as u32))
}

/// A column chunk that is being counted.
struct Counting<'a, 'b> {
    task: &'a Task,
    found: &'a mut Found,
    entries: EntryCounts,
    keys: Option<&'a mut KeyRuns<'b>>,
    /// The values come as a dictionary, whose bytes the writer has counted.
    dictionary: bool,
}

fn hand_on(keys: &mut Option<&mut KeyRuns<'_>>, runs: &[(u64, u64)]) {
    if let Some(keys) = keys {
        keys.add(runs);
    }
}

impl Counting<'_, '_> {
    fn visit(&mut self, first_row: u64, array: &ArrayRef) -> Result<(), ParquetError> {
        let task = self.task;
        if let Some(sketch) = &mut self.found.sketch {
            let candidates = |hashes: &[u64]| {
                if let Some(candidates) = &task.candidates {
                    lock(candidates).add(hashes, first_row, array);
                }
            };
            if let DataType::Dictionary(..) = array.data_type() {
                self.dictionary = true;
                self.entries
                    .add(array, sketch, &mut |runs| hand_on(&mut self.keys, runs));
                if task.candidates.is_some() {
                    candidates(&self.entries.hashes_of(array));
                }
            } else {
                sketch.add(array);
                hand_on(&mut self.keys, &sketch.runs);
                candidates(sketch.hashes());
            }
            let ordered = task.ordered.as_ref();
            let ordered = ordered.map(|rows| within(rows, first_row, array.len()));
            sketch.order(array, ordered)?;
        }
        match &task.take {
            Take::Nothing => {}
            Take::All => self.found.taken.push(plain(array)?),
            Take::Rows(selected) => {
                let selected = within(selected, first_row, array.len());
                if !selected.is_empty() {
                    let some = take(array, &selected, None)?;
                    self.found.taken.push(plain(&some)?);
                }
            }
        }
        Ok(())
    }

    fn finish(mut self, dictionary_bytes: Option<u64>) {
        if let Some(sketch) = &mut self.found.sketch {
            let keys = &mut self.keys;
            self.entries.flush(sketch, &mut |runs| hand_on(keys, runs));
            sketch.flush();
            hand_on(keys, &sketch.runs);
            if let Some(bytes) = dictionary_bytes.filter(|_| self.dictionary) {
                *sketch.value_bytes.get_or_insert(0) += bytes;
            }
        }
    }
}
