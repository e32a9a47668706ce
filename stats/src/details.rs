//! What is known of a table beyond counts: read from its entries when an estimate asks for it, and then kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array,
};
use arrow::compute::{cast, concat, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema};

use crate::cache::FileEntry;
use crate::degrees::{DegreeCounter, Degrees};
use crate::file_stats::FileColumn;
use crate::frequent::Frequent;
use crate::hash::hash_rows;
use crate::histogram::{Bucket, Histogram};
use crate::mcv::Mcv;
use crate::parts::{
    ColumnPart, DegreesPart, PartInfo, PartKind, SamplePart, unpack, unpack_rows, unpack_vector,
};
use crate::rows::{RowSet, Selection};
use crate::sampling::{Priorities, bound_to_share, key_threshold};
use crate::scan::{SAMPLE_ROWS, WHOLE_ROWS};
use crate::value::Family;

/// Name of the schema metadata that says how a column of a [`KeyRows`] batch differs from the table's: `quantized` values are
/// each replaced by one of 256 that is close; a `fingerprint` is the highest 16 bits of [`Value::hash`](crate::Value::hash).
pub const CODING: &str = "joinwright.coding";

/// A uniform random sample of a table's rows.
#[derive(Clone, Debug)]
pub struct RowSample {
    /// The rows, with the columns of all files; strings as `Utf8`, binary as `Binary`, dictionaries as their values. Columns of
    /// very wide values are left out, as are nested ones.
    pub batch: RecordBatch,
    /// These are all rows of the table.
    pub complete: bool,
    /// A unique column by whose hashes the rows were chosen, and the bound below which these lie, see [`KeyRows`].
    pub by_key: Option<(String, u64)>,
}

/// The rows of a table whose key in one column hashes below a bound. Samples of two tables by columns of the same values join with each
/// other: every match of a row within the smaller bound is there.
#[derive(Clone, Debug)]
pub struct KeyRows {
    /// The rows, see [`CODING`] for what stands in their columns.
    pub batch: RecordBatch,
    /// The hash of each row's key.
    pub hashes: Vec<u64>,
    /// Rows of all keys with a smaller hash are here; `u64::MAX` for all rows whose key is not null.
    pub below: u64,
}

impl KeyRows {
    /// The share of all possible keys that are here, within [0, 1].
    pub fn share(&self) -> f64 {
        bound_to_share(self.below)
    }
}

/// Common values and distribution of a column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Most common values, with rows of the files that were scanned.
    pub common: Mcv,
    /// All values in order, NaN left out.
    pub histogram: Histogram,
}

/// The parts of a table's statistics that are read on demand. A part that is damaged or was dropped for space is `None`.
#[derive(Debug, Default)]
pub struct TableDetails {
    /// By key.
    files: Vec<Arc<FileEntry>>,
    distributions: Mutex<HashMap<String, Option<Arc<Distribution>>>>,
    degrees: Mutex<HashMap<String, Option<Arc<Degrees>>>>,
    key_rows: Mutex<HashMap<String, Option<Arc<KeyRows>>>>,
    sample: OnceLock<Option<Arc<RowSample>>>,
    all_rows: OnceLock<Option<Arc<RowSet>>>,
    uniform_rows: OnceLock<Option<Arc<RowSet>>>,
    rows_by_key: Mutex<HashMap<String, Option<Arc<RowSet>>>>,
}

/// Two threads that ask for the same at once may both make it; what they make is the same.
pub(crate) fn cached<K: Hash + Eq + Clone, V: Clone>(
    cache: &Mutex<HashMap<K, V>>,
    key: &K,
    make: impl FnOnce() -> V,
) -> V {
    let lock = || cache.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = lock().get(key) {
        return known.clone();
    }
    let made = make();
    lock().entry(key.clone()).or_insert(made).clone()
}

impl TableDetails {
    pub(crate) fn new(mut files: Vec<Arc<FileEntry>>) -> Self {
        files.retain(|file| file.stats.is_scanned() || !file.stats.columns.is_empty());
        files.sort_by(|a, b| a.stats.version.key.cmp(&b.stats.version.key));
        Self {
            files,
            ..Self::default()
        }
    }

    /// Common values and histogram of a column. Without a scan pass the histogram comes from the ranges of row groups,
    /// as uniform as these allow, and there are no common values.
    pub fn distribution(&self, column: &str) -> Option<Arc<Distribution>> {
        cached(&self.distributions, &column.to_owned(), || {
            self.make_distribution(column).map(Arc::new)
        })
    }

    /// Degrees of a key column.
    pub fn degrees(&self, column: &str) -> Option<Arc<Degrees>> {
        cached(&self.degrees, &column.to_owned(), || {
            self.make_degrees(column).map(Arc::new)
        })
    }

    /// The uniform sample.
    pub fn sample(&self) -> Option<Arc<RowSample>> {
        self.sample
            .get_or_init(|| self.make_sample().map(Arc::new))
            .clone()
    }

    /// The sample that is coordinated by a key column; all rows where a table is small enough.
    pub fn key_rows(&self, column: &str) -> Option<Arc<KeyRows>> {
        cached(&self.key_rows, &column.to_owned(), || {
            self.make_key_rows(column).map(Arc::new)
        })
    }

    /// Every row of the table, where all of its files are known that well: some columns whole, others coded, see [`CODING`].
    pub fn all_rows(&self) -> Option<Arc<RowSet>> {
        self.all_rows
            .get_or_init(|| {
                let batch = self.make_all_rows()?;
                Some(Arc::new(RowSet::new(batch, Selection::All)))
            })
            .clone()
    }

    /// The uniform sample with indexes by key.
    pub fn uniform_rows(&self) -> Option<Arc<RowSet>> {
        self.uniform_rows
            .get_or_init(|| {
                let sample = self.sample()?;
                let selection = match &sample.by_key {
                    _ if sample.complete => Selection::All,
                    Some((column, below)) => Selection::ByKey {
                        column: column.clone(),
                        below: *below,
                    },
                    None => Selection::Uniform,
                };
                Some(Arc::new(RowSet::new(sample.batch.clone(), selection)))
            })
            .clone()
    }

    /// The sample that is coordinated by a key column, with indexes by its other keys; `None` where all rows are known.
    pub fn rows_by_key(&self, column: &str) -> Option<Arc<RowSet>> {
        cached(&self.rows_by_key, &column.to_owned(), || {
            let rows = self.key_rows(column)?;
            let selection = Selection::ByKey {
                column: column.to_owned(),
                below: rows.below,
            };
            (rows.below < u64::MAX).then(|| Arc::new(RowSet::new(rows.batch.clone(), selection)))
        })
    }

    /// Parts that were dropped for space: what they held, of which column, with how many rows and bytes.
    pub fn dropped(&self) -> Vec<(String, u64, u64)> {
        let mut dropped: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for file in &self.files {
            for part in &file.stats.dropped {
                let column = file.stats.columns.get(part.column as usize);
                let total = dropped.entry(describe(part.kind, column)).or_default();
                total.0 += part.rows;
                total.1 += part.bytes;
            }
        }
        dropped
            .into_iter()
            .map(|(what, (rows, bytes))| (what, rows, bytes))
            .collect()
    }

    /// Files that were scanned, with the place of a column.
    fn with_column<'a>(
        &'a self,
        column: &'a str,
    ) -> impl Iterator<Item = (&'a FileEntry, Option<usize>)> {
        let files = self.files.iter().filter(|file| file.stats.is_scanned());
        files.map(move |file| (file.as_ref(), place(file, column)))
    }

    fn make_distribution(&self, column: &str) -> Option<Distribution> {
        let mut parts = Vec::new();
        for (file, place) in self.with_column(column) {
            let Some(place) = place else { continue };
            let info = file.parts_of(PartKind::Column, place).next()?;
            let part: ColumnPart = unpack(&file.read(info)?)?;
            parts.push((part.mcv.into_mcv(), part.histogram.into_histogram()));
        }
        if parts.is_empty() {
            let histogram = self.histogram_of_ranges(column)?;
            return Some(Distribution {
                common: Mcv::default(),
                histogram,
            });
        }
        let histograms: Vec<_> = parts.iter().map(|part| &part.1).collect();
        Some(Distribution {
            common: Mcv::merge(parts.iter().map(|part| &part.0)),
            histogram: Histogram::merge(&histograms),
        })
    }

    /// The rows of each row group, spread evenly over its range.
    fn histogram_of_ranges(&self, column: &str) -> Option<Histogram> {
        let mut histograms = Vec::new();
        for file in &self.files {
            let column = &file.stats.columns[place(file, column)?];
            let whole = column.min.value.clone().zip(column.max.value.clone());
            let rows = file.stats.rows - column.null_count?.min(file.stats.rows);
            let ranges = match &column.ranges[..] {
                [] => vec![(whole?, rows)],
                ranges => ranges
                    .iter()
                    .map(|range| ((range.min.clone(), range.max.clone()), range.rows))
                    .collect(),
            };
            for ((min, max), rows) in ranges {
                min.to_f64()?;
                let first = Bucket {
                    upper: min,
                    below: 0.0,
                    equal: 1.0f64.min(rows as f64),
                };
                let rest = (rows as f64 - 1.0).max(0.0);
                let last = Bucket {
                    upper: max,
                    below: rest,
                    equal: 0.0,
                };
                histograms.push(Histogram {
                    buckets: vec![first, last],
                    rank_error: 0.0,
                });
            }
        }
        (!histograms.is_empty()).then(|| Histogram::merge(&histograms.iter().collect::<Vec<_>>()))
    }

    fn make_degrees(&self, column: &str) -> Option<Degrees> {
        let mut degrees = Vec::new();
        for (file, place) in self.with_column(column) {
            let Some(place) = place else { continue };
            if file.stats.rows == 0 {
                continue;
            }
            let Some(info) = file.parts_of(PartKind::Degrees, place).next() else {
                degrees.push(degrees_of_rows(file, column)?);
                continue;
            };
            let part: DegreesPart = unpack(&file.read(info)?)?;
            let vector = file.parts_of(PartKind::DegreeVector, place).next();
            let vector =
                vector.and_then(|info| unpack_vector(&file.read(info)?, info.rows, part.integers));
            let mut stored = Degrees::from_stored(part.degrees, vector)?;
            if stored.vector.is_none() {
                // The budget drops first what other parts tell as well.
                let counted = degrees_of_rows(file, column);
                stored.vector = counted.and_then(|counted| counted.vector);
            }
            degrees.push(stored);
        }
        Degrees::merge(degrees)
    }

    fn make_sample(&self) -> Option<RowSample> {
        let mut samples = Vec::new();
        let mut lost = BTreeSet::new();
        for file in self
            .files
            .iter()
            .filter(|file| file.stats.is_scanned() && file.stats.rows > 0)
        {
            let sample = FileSample::read(file)?;
            add_lost(file, &sample.batch, &mut lost);
            samples.push(sample);
        }
        let mut below = samples.iter().map(|sample| sample.below).min()?;
        let all = samples.iter().flat_map(|sample| &sample.priorities);
        let mut lowest: Vec<u64> = all
            .copied()
            .filter(|priority| *priority < below || below == u64::MAX)
            .collect();
        if lowest.len() > SAMPLE_ROWS as usize && samples.len() > 1 {
            below = *lowest.select_nth_unstable(SAMPLE_ROWS as usize).1;
        }
        let complete = below == u64::MAX;
        let keys: Vec<_> = samples.iter().map(|sample| sample.by_key.clone()).collect();
        let batches = samples.into_iter().map(|sample| {
            let kept = sample
                .priorities
                .iter()
                .map(|priority| complete || *priority < below);
            let kept = BooleanArray::from_iter(kept.map(Some));
            filter_record_batch(&without(&sample.batch, &lost)?, &kept).ok()
        });
        let batch = union_batches(&batches.collect::<Option<Vec<_>>>()?)?;
        let by_key = keys.first().cloned().flatten();
        let one_key = keys.iter().all(|key| *key == by_key);
        let by_key = by_key.filter(|_| one_key && !complete);
        Some(RowSample {
            batch,
            complete,
            by_key: by_key.map(|key| (key, below)),
        })
    }

    fn make_all_rows(&self) -> Option<RecordBatch> {
        let mut batches = Vec::new();
        let mut lost = BTreeSet::new();
        for file in self.files.iter().filter(|file| file.stats.rows > 0) {
            let batch = file_all_rows(file)?;
            add_lost(file, &batch, &mut lost);
            batches.push(batch);
        }
        for batch in &mut batches {
            *batch = without(batch, &lost)?;
        }
        let batch = union_batches(&batches)?;
        (!batches.is_empty()).then_some(batch)
    }

    fn make_key_rows(&self, column: &str) -> Option<KeyRows> {
        let mut batches = Vec::new();
        let mut lost = BTreeSet::new();
        let mut below = u64::MAX;
        for (file, place) in self.with_column(column) {
            if file.stats.rows == 0 {
                continue;
            }
            let (batch, bound) = file_key_rows(file, column, place?)?;
            below = below.min(bound);
            add_lost(file, &batch, &mut lost);
            batches.push(batch);
        }
        for batch in &mut batches {
            *batch = without(batch, &lost)?;
        }
        let mut hashes: Vec<_> = batches
            .iter()
            .map(|batch| key_hashes(batch, column))
            .collect::<Option<_>>()?;
        if batches.len() > 1 {
            let mut all: Vec<u64> = hashes
                .iter()
                .flatten()
                .flatten()
                .copied()
                .filter(|hash| *hash < below)
                .collect();
            below = key_threshold(&mut all, below, WHOLE_ROWS as usize);
        }
        let within =
            |hash: &Option<u64>| hash.is_some_and(|hash| hash < below || below == u64::MAX);
        for (batch, hashes) in batches.iter_mut().zip(&mut hashes) {
            let kept: Vec<bool> = hashes.iter().map(within).collect();
            *batch = filter_record_batch(batch, &BooleanArray::from(kept)).ok()?;
            hashes.retain(within);
        }
        Some(KeyRows {
            batch: union_batches(&batches)?,
            hashes: hashes.into_iter().flatten().flatten().collect(),
            below,
        })
    }
}

/// Notes the columns of a file that are not among its rows: they were too wide, dropped, or damaged. Beside the rows of other
/// files they would look as if they were null.
fn add_lost(file: &FileEntry, batch: &RecordBatch, lost: &mut BTreeSet<String>) {
    let names = file.stats.columns.iter().map(|column| &column.name);
    lost.extend(
        names
            .filter(|name| batch.column_by_name(name).is_none())
            .cloned(),
    );
}

fn without(batch: &RecordBatch, lost: &BTreeSet<String>) -> Option<RecordBatch> {
    let fields = batch.schema_ref().fields().iter().enumerate();
    let kept: Vec<usize> = fields
        .filter(|(_, field)| !lost.contains(field.name()))
        .map(|(place, _)| place)
        .collect();
    batch.project(&kept).ok()
}

fn describe(kind: PartKind, column: Option<&FileColumn>) -> String {
    let of = |what: &str| match column {
        Some(column) => format!("{what} of {}", column.name),
        None => what.to_owned(),
    };
    match kind {
        PartKind::Column => of("distribution"),
        PartKind::Sample => "row sample".to_owned(),
        PartKind::Degrees => of("degrees"),
        PartKind::DegreeVector => of("degree vector"),
        PartKind::Keys => "key columns".to_owned(),
        PartKind::TextKeys => of("keys"),
        PartKind::Codes => "coded columns".to_owned(),
        PartKind::Fingerprints => of("fingerprints"),
        PartKind::KeySample => of("key sample"),
    }
}

fn place(file: &FileEntry, column: &str) -> Option<usize> {
    file.stats
        .columns
        .iter()
        .position(|other| other.name == column)
}

/// The hash of each row's key, `None` for nulls.
fn key_hashes(batch: &RecordBatch, column: &str) -> Option<Vec<Option<u64>>> {
    let array = batch.column_by_name(column)?;
    let mut hashes = Vec::new();
    if !hash_rows(array, &mut hashes) {
        return None;
    }
    let nulls = array.logical_nulls();
    let valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    Some(
        hashes
            .into_iter()
            .enumerate()
            .map(|(row, hash)| valid(row).then_some(hash))
            .collect(),
    )
}

/// Degrees of a file whose rows are all known.
fn degrees_of_rows(file: &FileEntry, column: &str) -> Option<Degrees> {
    let rows = file_all_rows(file)?;
    let field = rows.schema_ref().field_with_name(column).ok()?;
    // Coded values are not those of the table.
    if field.metadata().contains_key(CODING) {
        return None;
    }
    let runs: Vec<_> = key_hashes(&rows, column)?
        .into_iter()
        .flatten()
        .map(|hash| (hash, 1))
        .collect();
    let counter = DegreeCounter::default();
    counter.add(&runs);
    Some(counter.finish(&Frequent::default(), 1))
}

/// The sample of one file.
struct FileSample {
    batch: RecordBatch,
    /// Of each row.
    priorities: Vec<u64>,
    /// All rows of lower priority are here.
    below: u64,
    /// The column whose hashes are the priorities.
    by_key: Option<String>,
}

impl FileSample {
    fn read(file: &FileEntry) -> Option<Self> {
        let stats = &file.stats;
        let name = stats.version.key.rsplit('/').next().unwrap_or_default();
        let priorities = Priorities::of_file(name, stats.rows, stats.schema_fingerprint);
        let mut batches = Vec::new();
        let mut numbers = Vec::new();
        let mut below = None;
        let mut by_key = None;
        for (tier, info) in file.parts_of(PartKind::Sample, 0).enumerate() {
            // A tier without those before it is no sample.
            if usize::from(info.tier) != tier {
                break;
            }
            let part: SamplePart = unpack(&file.read(info)?)?;
            batches.push(unpack_rows(part.table.into(), info.rows)?);
            by_key = part.by_key;
            match info.below {
                u64::MAX => numbers.extend(0..info.rows),
                _ => {
                    let mut last = 0;
                    numbers.extend(part.rows.into_iter().map(|difference| {
                        last += u64::from(difference);
                        last
                    }));
                }
            }
            below = Some(info.below);
        }
        let below = below?;
        let batch = union_batches(&batches)?;
        let priorities: Vec<u64> = match &by_key {
            Some(key) => key_hashes(&batch, key)?
                .into_iter()
                .collect::<Option<_>>()?,
            None => numbers.into_iter().map(|row| priorities.of(row)).collect(),
        };
        (batch.num_rows() == priorities.len()).then_some(Self {
            batch,
            priorities,
            below,
            by_key,
        })
    }
}

/// All rows of a file that is complete, or of middling size.
fn file_all_rows(file: &FileEntry) -> Option<RecordBatch> {
    if let Some(sample) = file
        .parts_of(PartKind::Sample, 0)
        .find(|info| info.below == u64::MAX)
    {
        let part: SamplePart = unpack(&file.read(sample)?)?;
        return unpack_rows(part.table.into(), sample.rows);
    }
    let keys = file.parts_of(PartKind::Keys, 0).next()?;
    let keys = unpack_rows(file.read(keys)?, keys.rows)?;
    let mut fields: Vec<Field> = keys
        .schema()
        .fields()
        .iter()
        .map(|field| field.as_ref().clone())
        .collect();
    let mut arrays = keys.columns().to_vec();
    let codes = file.parts_of(PartKind::Codes, 0);
    let of_kind = |kind| {
        file.stats
            .parts
            .iter()
            .filter(move |part| part.kind == kind)
    };
    let texts = of_kind(PartKind::TextKeys);
    let has_text = |part: &PartInfo| {
        let mut texts = of_kind(PartKind::TextKeys);
        texts.any(|text| text.column == part.column)
    };
    let prints = of_kind(PartKind::Fingerprints).filter(|part| !has_text(part));
    for part in codes.chain(texts).chain(prints) {
        let batch = file
            .read(part)
            .and_then(|bytes| unpack_rows(bytes, part.rows));
        let Some(batch) = batch.filter(|batch| batch.num_rows() == keys.num_rows()) else {
            continue;
        };
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            let mut field = field.as_ref().clone();
            if part.kind == PartKind::Fingerprints {
                field.set_metadata([(CODING.to_owned(), "fingerprint".to_owned())].into());
            }
            fields.push(field);
            arrays.push(Arc::clone(array));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).ok()
}

/// The rows of one file that are known by a key column, and the bound of their hashes.
fn file_key_rows(file: &FileEntry, column: &str, place: usize) -> Option<(RecordBatch, u64)> {
    if let Some(batch) = file_all_rows(file) {
        let field = batch.schema_ref().field_with_name(column).ok()?;
        if field.metadata().contains_key(CODING) {
            return None;
        }
        return Some((batch, u64::MAX));
    }
    let mut batches = Vec::new();
    let mut below = None;
    for (tier, info) in file.parts_of(PartKind::KeySample, place).enumerate() {
        if usize::from(info.tier) != tier {
            break;
        }
        batches.push(unpack_rows(file.read(info)?, info.rows)?);
        below = Some(info.below);
    }
    Some((union_batches(&batches)?, below?))
}

/// The rows of all batches with the columns of all, matched by name; nulls where a batch lacks one. Columns whose type or coding is not
/// one are left out, unless one type of them can hold all.
fn union_batches(batches: &[RecordBatch]) -> Option<RecordBatch> {
    if let [one] = batches {
        return Some(one.clone());
    }
    let mut fields: Vec<Field> = Vec::new();
    for field in batches.iter().flat_map(|batch| batch.schema_ref().fields()) {
        if !fields.iter().any(|other| other.name() == field.name()) {
            fields.push(field.as_ref().clone());
        }
    }
    let mut arrays: Vec<ArrayRef> = Vec::new();
    fields.retain(|field| match union_column(field, batches) {
        Some(array) => {
            arrays.push(array);
            true
        }
        None => false,
    });
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).ok()
}

fn union_column(field: &Field, batches: &[RecordBatch]) -> Option<ArrayRef> {
    let data_type = field.data_type();
    let is_print = |field: &Field| {
        field
            .metadata()
            .get(CODING)
            .is_some_and(|coding| coding == "fingerprint")
    };
    let column = |batch: &RecordBatch| {
        let Some((place, other)) = batch.schema_ref().column_with_name(field.name()) else {
            return Some(new_null_array(data_type, batch.num_rows()));
        };
        let same_kind = is_print(other) == is_print(field)
            && Family::of(other.data_type()) == Family::of(data_type);
        let array = batch.column(place);
        match same_kind {
            true if other.data_type() == data_type => Some(Arc::clone(array)),
            // An integer too wide for the type would become null.
            true => cast(array, data_type)
                .ok()
                .filter(|cast| cast.null_count() == array.null_count()),
            false => None,
        }
    };
    let columns: Vec<ArrayRef> = batches.iter().map(column).collect::<Option<_>>()?;
    if columns.is_empty() {
        return Some(new_null_array(&DataType::Null, 0));
    }
    concat(&columns.iter().map(AsRef::as_ref).collect::<Vec<_>>()).ok()
}
