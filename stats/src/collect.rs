//! Makes the parts of an entry from what a scan has counted and taken.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt16Array, UInt32Array};
use arrow::compute::{concat, sort_to_indices, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::errors::ParquetError;

use crate::degrees::{Degrees, HashedMap, lock};
use crate::file_stats::FileColumn;
use crate::hash::hash_rows;
use crate::histogram::Histogram;
use crate::kll;
use crate::mcv::Mcv;
use crate::parts::{
    ColumnPart, DegreesPart, Part, PartKind, SamplePart, StoredHistogram, can_be_packed, pack,
    pack_bytes, pack_rows,
};
use crate::sampling::Priorities;
use crate::scan::SAMPLE_ROWS;
use crate::sketch::{ColumnTotal, plain_type};
use crate::value::{Family, Value, values_of};

/// Rows of the first tier of samples, which the budget drops last.
const FIRST_TIER: u64 = 5_000;

/// Distinct values of a coded column.
const CODES: usize = 256;

/// Longer values are known by their hash alone.
const LONGEST_VALUE: usize = 1024;

/// Error of a histogram made from a random part of the rows, 131,072 of them, at 99 % confidence (Dvoretzky, Kiefer,
/// Wolfowitz 1956; Massart 1990).
const SAMPLING_ERROR: f64 = 0.0045;

/// A key column after its rows were counted.
pub(crate) struct KeyColumn {
    pub(crate) column: usize,
    pub(crate) degrees: Degrees,
    /// The bound of the hashes of its sample; all rows of a file that is taken whole.
    pub(crate) below: u64,
    /// `(hash, row)` of its sample, ascending by row; empty where the file is taken whole.
    pub(crate) ranges: Vec<(u64, u64)>,
}

/// What a scan leaves.
pub(crate) struct Collected {
    pub(crate) rows: u64,
    pub(crate) arrow: SchemaRef,
    pub(crate) columns: Vec<FileColumn>,
    pub(crate) totals: Vec<ColumnTotal>,
    /// Rows that were taken, by column, in pieces; none of columns that are too wide.
    pub(crate) taken: Vec<Vec<ArrayRef>>,
    /// The numbers of these rows, `None` for all.
    pub(crate) selected: Option<Arc<Vec<u64>>>,
    pub(crate) priorities: Priorities,
    /// Rows of lower priority are the uniform sample.
    pub(crate) sample_below: u64,
    pub(crate) keys: Vec<KeyColumn>,
}

/// Completes the columns, and packs the parts on some threads.
pub(crate) fn collect(
    collected: Collected,
    threads: usize,
) -> Result<(Vec<FileColumn>, Vec<Part>), ParquetError> {
    let Collected {
        rows,
        arrow,
        mut columns,
        totals,
        taken,
        selected,
        priorities,
        sample_below,
        keys,
    } = collected;
    let taken = &Taken::new(rows, &arrow, &columns, taken, selected)?;
    for (column, total) in columns.iter_mut().zip(&totals) {
        if column.family != Family::Nested {
            complete(column, total);
        }
    }
    for key in &keys {
        complete_key(&mut columns[key.column], key);
    }
    let distinct: Vec<_> = columns.iter().map(|column| column.ndv).collect();
    let (columns_done, keys, distinct) = (&columns, &keys, &distinct[..]);
    let mut jobs: Vec<Job<'_>> = Vec::new();
    // What takes longest comes first.
    let whole = taken.selected.is_none() && rows > SAMPLE_ROWS;
    jobs.push(Box::new(move || {
        let unique = keys.iter().find(|key| whole && is_unique(key, rows));
        let by_key = unique.and_then(|key| SampleKey::new(taken, key.column));
        sample_parts(taken, priorities, sample_below, by_key, distinct)
    }));
    if whole {
        jobs.push(Box::new(move || whole_parts(taken, keys, distinct)));
    } else {
        for key in keys.iter().filter(|key| !key.ranges.is_empty()) {
            jobs.push(Box::new(move || key_sample_parts(taken, key, distinct)));
        }
    }
    for key in keys {
        let family = columns_done[key.column].family;
        jobs.push(Box::new(move || degree_parts(key, family)));
    }
    for (index, total) in totals.into_iter().enumerate() {
        if columns_done[index].family == Family::Nested {
            continue;
        }
        jobs.push(Box::new(move || {
            let packed = column_part(total, rows, taken.arrays[index].as_ref())?;
            Ok(vec![Part {
                kind: PartKind::Column,
                column: index as u32,
                tier: 0,
                below: 0,
                rows,
                bytes: pack(&packed)?,
            }])
        }));
    }
    let parts = run(jobs, threads)?;
    Ok((columns, parts))
}

/// Makes some parts.
type Job<'a> = Box<dyn FnOnce() -> Result<Vec<Part>, ParquetError> + Send + 'a>;

/// The parts that some jobs make, in the order of the jobs.
fn run(jobs: Vec<Job<'_>>, threads: usize) -> Result<Vec<Part>, ParquetError> {
    let made: Vec<_> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let next = Mutex::new(jobs.into_iter().zip(&made));
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, made.len().max(1)) {
            scope.spawn(|| {
                // The lock is held while a job is chosen, not while it runs.
                let choose = || lock(&next).next();
                while let Some((job, made)) = choose() {
                    *lock(made) = Some(job());
                }
            });
        }
    });
    let mut parts = Vec::new();
    for made in made {
        let made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
        let missing = || ParquetError::General("a part of the statistics was not made".to_owned());
        parts.extend(made.ok_or_else(missing)??);
    }
    Ok(parts)
}

/// What the scan knows better than the footer.
fn complete(column: &mut FileColumn, total: &ColumnTotal) {
    column.null_count = Some(total.nulls);
    column.value_bytes = total.value_bytes.or(column.value_bytes);
    let exact = total.frequent.distinct();
    column.ndv = Some(exact.map_or_else(|| total.distinct.estimate(), |distinct| distinct as f64));
    column.ndv_exact = exact.is_some();
    if let Some(extremes) = total.extremes.as_ref().filter(|extremes| !extremes.unknown) {
        for (bound, value) in [
            (&mut column.min, &extremes.min),
            (&mut column.max, &extremes.max),
        ] {
            if bound.value.is_none() {
                bound.exact = value.is_some();
                bound.value.clone_from(value);
            }
        }
    }
}

fn column_part(
    total: ColumnTotal,
    rows: u64,
    taken: Option<&ArrayRef>,
) -> Result<ColumnPart, ParquetError> {
    let values = rows - total.nulls.min(rows);
    let sampled = total.quantiles.clone().into_weighted();
    let (mut error, mut scale) = (0.0, 1.0);
    if !total.quantiles.is_exact() {
        error += kll::RANK_ERROR;
    }
    if total.offered < values {
        error += SAMPLING_ERROR;
        scale = values as f64 / total.offered.max(1) as f64;
    }
    let weighted = sampled
        .into_iter()
        .map(|(value, weight)| (value.0, weight as f64 * scale));
    let histogram = Histogram::build(weighted, error);
    let values = values_by_hash(&total, taken)?;
    Ok(ColumnPart {
        distinct: total.distinct.to_stored(),
        mcv: Mcv::of_file(total.frequent, rows, |hash| values.get(&hash).cloned()).to_stored(),
        histogram: StoredHistogram::new(&histogram),
    })
}

/// The values of frequent hashes, found among the rows that were taken: the sample holds every value that is frequent.
fn values_by_hash(
    total: &ColumnTotal,
    taken: Option<&ArrayRef>,
) -> Result<HashedMap<Value>, ParquetError> {
    let mut hashes = Vec::new();
    let Some(array) = taken.filter(|array| hash_rows(array, &mut hashes)) else {
        return Ok(HashedMap::default());
    };
    let counted: HashedMap<()> = total.frequent.hashes().map(|hash| (hash, ())).collect();
    let mut first: HashedMap<u32> = HashedMap::default();
    let nulls = array.logical_nulls();
    for (row, hash) in hashes.into_iter().enumerate() {
        if counted.contains_key(&hash) && nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
            first.entry(hash).or_insert(row as u32);
        }
    }
    let (hashes, at): (Vec<u64>, Vec<u32>) = first.into_iter().unzip();
    let values = values_of(&take(array, &UInt32Array::from(at), None)?);
    let short =
        |value: &Value| !matches!(value, Value::Bytes(bytes) if bytes.len() > LONGEST_VALUE);
    let known = hashes.into_iter().zip(values);
    Ok(known
        .filter_map(|(hash, value)| Some((hash, value.filter(short)?)))
        .collect())
}

fn complete_key(column: &mut FileColumn, key: &KeyColumn) {
    column.is_key = true;
    if let Some(vector) = &key.degrees.vector {
        column.ndv = Some(vector.hashes.len() as f64);
        column.ndv_exact = true;
    }
}

fn degree_parts(key: &KeyColumn, family: Family) -> Result<Vec<Part>, ParquetError> {
    let integers = !matches!(family, Family::Bytes | Family::Float | Family::Interval(_));
    let part = |kind, rows, bytes| Part {
        kind,
        column: key.column as u32,
        tier: 0,
        below: 0,
        rows,
        bytes,
    };
    let mut parts = Vec::new();
    if let Some(vector) = &key.degrees.vector {
        let bytes = pack_bytes(&vector.encode(integers))?;
        let keys = vector.hashes.len() as u64;
        parts.push(part(PartKind::DegreeVector, keys, bytes));
    }
    let degrees = key.degrees.to_stored();
    let bytes = pack(&DegreesPart { degrees, integers })?;
    parts.push(part(PartKind::Degrees, key.degrees.rows, bytes));
    Ok(parts)
}

/// The rows that were taken from a file.
struct Taken {
    /// By column; `None` for those that are not taken.
    arrays: Vec<Option<ArrayRef>>,
    fields: Vec<Field>,
    selected: Option<Arc<Vec<u64>>>,
    rows: u64,
}

impl Taken {
    fn new(
        rows: u64,
        arrow: &Schema,
        columns: &[FileColumn],
        taken: Vec<Vec<ArrayRef>>,
        selected: Option<Arc<Vec<u64>>>,
    ) -> Result<Self, ParquetError> {
        let count = selected
            .as_ref()
            .map_or(rows as usize, |selected| selected.len());
        let mut seen = std::collections::HashSet::new();
        let mut arrays = Vec::with_capacity(taken.len());
        let mut fields = Vec::with_capacity(taken.len());
        for ((pieces, field), column) in taken.into_iter().zip(arrow.fields()).zip(columns) {
            let data_type = plain_type(field.data_type());
            let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
            let array = match &pieces[..] {
                [] => None,
                pieces => Some(concat(pieces)?),
            };
            // Of two columns of one name the first counts.
            let usable = |array: &ArrayRef| array.len() == count && *array.data_type() == data_type;
            arrays.push(
                array
                    .filter(usable)
                    .filter(|_| seen.insert(column.name.clone())),
            );
            fields.push(Field::new(&column.name, data_type, true));
        }
        Ok(Self {
            arrays,
            fields,
            selected,
            rows,
        })
    }

    /// Some columns of some rows, by their places among those taken.
    fn batch(
        &self,
        rows: Option<&UInt32Array>,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<(RecordBatch, Vec<usize>), ArrowError> {
        let mut fields = Vec::new();
        let mut arrays = Vec::new();
        let mut places = Vec::new();
        for (place, (array, field)) in self.arrays.iter().zip(&self.fields).enumerate() {
            let Some(array) = array
                .as_ref()
                .filter(|_| wanted(place) && can_be_packed(field.data_type()))
            else {
                continue;
            };
            fields.push(field.clone());
            arrays.push(match rows {
                Some(rows) => take(array, rows, None)?,
                None => Arc::clone(array),
            });
            places.push(place);
        }
        Ok((
            new_batch(fields, arrays, rows.map_or(self.count(), Array::len))?,
            places,
        ))
    }

    fn count(&self) -> usize {
        self.selected
            .as_ref()
            .map_or(self.rows as usize, |selected| selected.len())
    }

    /// The number in the file of a row taken.
    fn number(&self, place: usize) -> u64 {
        self.selected
            .as_ref()
            .map_or(place as u64, |selected| selected[place])
    }
}

fn new_batch(
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
}

fn is_unique(key: &KeyColumn, rows: u64) -> bool {
    key.degrees.exact && key.degrees.max == 1 && key.degrees.rows == rows
}

/// A unique column. Its hashes are as random as any numbers, and a sample by them joins with the key samples of other tables.
struct SampleKey {
    name: String,
    /// By row.
    hashes: Vec<u64>,
}

impl SampleKey {
    fn new(taken: &Taken, column: usize) -> Option<Self> {
        let mut hashes = Vec::new();
        let hashed = hash_rows(taken.arrays[column].as_ref()?, &mut hashes);
        hashed.then(|| Self {
            name: taken.fields[column].name().clone(),
            hashes,
        })
    }

    /// The bound below which the hashes of `count` rows lie.
    fn threshold(&self, count: u64) -> u64 {
        let mut hashes = self.hashes.clone();
        match hashes.len() as u64 <= count {
            true => u64::MAX,
            false => *hashes.select_nth_unstable(count as usize).1,
        }
    }
}

fn sample_parts(
    taken: &Taken,
    priorities: Priorities,
    below: u64,
    by_key: Option<SampleKey>,
    distinct: &[Option<f64>],
) -> Result<Vec<Part>, ParquetError> {
    let mut parts = Vec::new();
    // A complete table is one tier, whatever its size: half of it is worth much less than half.
    let complete = below == u64::MAX;
    let threshold = |count| match &by_key {
        Some(key) => key.threshold(count),
        None => priorities.threshold(taken.rows, count),
    };
    let bounds = match complete {
        true => vec![below],
        false => {
            let below = by_key
                .as_ref()
                .map_or(below, |key| key.threshold(SAMPLE_ROWS));
            vec![threshold(FIRST_TIER).min(below), below]
        }
    };
    let mut least = 0;
    for (tier, bound) in bounds.into_iter().enumerate() {
        let in_tier = |place: &usize| {
            let priority = match &by_key {
                Some(key) => key.hashes[*place],
                None => priorities.of(taken.number(*place)),
            };
            complete || (least..bound).contains(&priority)
        };
        let places: Vec<usize> = (0..taken.count()).filter(in_tier).collect();
        least = bound;
        let chosen = UInt32Array::from_iter_values(places.iter().map(|place| *place as u32));
        let (batch, columns) = taken.batch(Some(&chosen), |_| true)?;
        let mut last = 0;
        let differences = places.iter().map(|place| {
            let number = taken.number(*place);
            let difference = number - last;
            last = number;
            u32::try_from(difference)
        });
        // Rows of a file that follow each other at such a distance do not exist: 5,000 are taken at least.
        let numbers = if complete {
            Ok(Vec::new())
        } else {
            differences.collect()
        };
        let part = SamplePart {
            by_key: by_key.as_ref().map(|key| key.name.clone()),
            rows: numbers.map_err(|error| ParquetError::External(error.into()))?,
            table: pack_rows(&batch, &of_columns(distinct, &columns))?,
        };
        parts.push(Part {
            kind: PartKind::Sample,
            column: 0,
            tier: tier as u8,
            below: bound,
            rows: batch.num_rows() as u64,
            bytes: pack(&part)?,
        });
    }
    Ok(parts)
}

fn of_columns(distinct: &[Option<f64>], columns: &[usize]) -> Vec<Option<f64>> {
    columns.iter().map(|column| distinct[*column]).collect()
}

/// Key columns, codes and fingerprints of all rows.
fn whole_parts(
    taken: &Taken,
    keys: &[KeyColumn],
    distinct: &[Option<f64>],
) -> Result<Vec<Part>, ParquetError> {
    let mut parts = Vec::new();
    let is_any_key = |column: usize| keys.iter().any(|key| key.column == column);
    let has_texts = |column: usize| {
        let array = taken.arrays.get(column).and_then(Option::as_ref);
        array.is_some_and(|array| is_text(array.data_type()))
    };
    if keys.is_empty() {
        return Ok(parts);
    }
    // Where all keys are texts there is nothing that these would take the place of.
    let all_texts = keys.iter().all(|key| has_texts(key.column));
    let is_key = |column: usize| is_any_key(column) && (all_texts || !has_texts(column));
    let mut push = |kind, column: usize, batch: &RecordBatch, distinct: &[Option<f64>]| {
        if batch.num_columns() > 0 {
            let bytes = Bytes::from(pack_rows(batch, distinct)?);
            parts.push(Part {
                kind,
                column: column as u32,
                tier: 0,
                below: u64::MAX,
                rows: taken.rows,
                bytes,
            });
        }
        Ok::<_, ParquetError>(())
    };
    let (batch, columns) = taken.batch(None, is_key)?;
    push(PartKind::Keys, 0, &batch, &of_columns(distinct, &columns))?;
    for key in keys.iter().filter(|key| !is_key(key.column)) {
        let (batch, columns) = taken.batch(None, |column| column == key.column)?;
        let distinct = of_columns(distinct, &columns);
        if distinct.iter().all(|distinct| !is_few(*distinct)) {
            push(PartKind::TextKeys, key.column, &batch, &distinct)?;
        }
    }
    let (others, columns) = taken.batch(None, |column| !is_key(column))?;
    let mut codes = (Vec::new(), Vec::new());
    let mut distinct_codes = Vec::new();
    for ((array, field), column) in others
        .columns()
        .iter()
        .zip(others.schema().fields())
        .zip(columns)
    {
        if is_few(distinct[column]) {
            distinct_codes.push(distinct[column]);
            codes.0.push(field.as_ref().clone());
            codes.1.push(Arc::clone(array));
        } else if is_text(array.data_type()) {
            let field = Field::new(field.name(), DataType::UInt16, true);
            let batch = new_batch(vec![field], vec![fingerprints(array)], taken.count())?;
            push(PartKind::Fingerprints, column, &batch, &[None])?;
        } else if let Ok(coded) = quantized(array) {
            if compresses_well(array, distinct[column], &coded)? {
                codes.0.push(field.as_ref().clone());
                codes.1.push(Arc::clone(array));
                distinct_codes.push(distinct[column]);
                continue;
            }
            let coding = [("joinwright.coding".to_owned(), "quantized".to_owned())];
            codes
                .0
                .push(field.as_ref().clone().with_metadata(coding.into()));
            codes.1.push(coded);
            distinct_codes.push(Some(CODES as f64));
        }
    }
    let batch = new_batch(codes.0, codes.1, taken.count())?;
    push(PartKind::Codes, 0, &batch, &distinct_codes)?;
    Ok(parts)
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::Binary | DataType::FixedSizeBinary(_)
    )
}

/// Whether so many distinct values all have a code.
fn is_few(distinct: Option<f64>) -> bool {
    distinct.is_some_and(|distinct| distinct <= CODES as f64)
}

/// Whether a column takes a tenth more space at most than with its values rounded, or two bits a row, as sorted ones do.
fn compresses_well(
    array: &ArrayRef,
    distinct: Option<f64>,
    rounded: &ArrayRef,
) -> Result<bool, ParquetError> {
    let packed = |array: &ArrayRef, distinct| {
        let field = Field::new("values", array.data_type().clone(), true);
        let batch = new_batch(vec![field], vec![Arc::clone(array)], array.len())?;
        pack_rows(&batch, &[distinct])
    };
    let rounded = packed(rounded, Some(CODES as f64))?.len();
    let whole = packed(array, distinct)?.len();
    Ok(whole * 10 <= rounded * 11 || whole * 4 <= array.len())
}

/// The highest 16 bits of each value's hash.
fn fingerprints(array: &ArrayRef) -> ArrayRef {
    let mut hashes = Vec::new();
    hash_rows(array, &mut hashes);
    let prints = hashes
        .into_iter()
        .map(|hash| (hash >> 48) as u16)
        .collect::<Vec<_>>();
    Arc::new(UInt16Array::new(prints.into(), array.logical_nulls()))
}

/// Each value replaced by one of 256 of them that is close to it in order.
fn quantized(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let order = sort_to_indices(array, None, None)?;
    let nulls = array.logical_null_count();
    let valid = array.len() - nulls;
    let sorted = take(array, &order, None)?;
    let mut hashes = Vec::new();
    hash_rows(&sorted, &mut hashes);
    let mut represented_by = vec![0u32; array.len()];
    // Nulls come first.
    for place in 0..array.len() {
        let row = order.value(place) as usize;
        represented_by[row] = if place < nulls {
            row as u32
        } else {
            let rank = place - nulls;
            let depth = valid.div_ceil(CODES).max(1);
            let middle = rank / depth * depth + depth / 2;
            order.value(nulls + middle.min(valid - 1))
        };
    }
    // Equal values stay equal: each takes what its first place in the order takes.
    for place in nulls + 1..array.len() {
        if hashes[place] == hashes[place - 1] {
            let before = order.value(place - 1) as usize;
            represented_by[order.value(place) as usize] = represented_by[before];
        }
    }
    take(array, &UInt32Array::from(represented_by), None)
}

/// The sample of a key column, rows of the least hashes first.
fn key_sample_parts(
    taken: &Taken,
    key: &KeyColumn,
    distinct: &[Option<f64>],
) -> Result<Vec<Part>, ParquetError> {
    let mut parts = Vec::new();
    let mut hashes: Vec<u64> = key.ranges.iter().map(|range| range.0).collect();
    hashes.sort_unstable();
    let first = hashes
        .get(2 * FIRST_TIER as usize)
        .copied()
        .unwrap_or(key.below);
    let mut least = 0;
    let mut tier = 0;
    for bound in [first.min(key.below), key.below] {
        if bound == least {
            continue;
        }
        let rows = key
            .ranges
            .iter()
            .filter(|range| (least..bound).contains(&range.0));
        let place = |row: u64| match &taken.selected {
            Some(selected) => selected.binary_search(&row).ok(),
            None => usize::try_from(row).ok(),
        };
        let places = rows.filter_map(|range| Some(place(range.1)? as u32));
        let places = UInt32Array::from_iter_values(places);
        let (batch, columns) = taken.batch(Some(&places), |_| true)?;
        parts.push(Part {
            kind: PartKind::KeySample,
            column: key.column as u32,
            tier,
            below: bound,
            rows: batch.num_rows() as u64,
            bytes: pack_rows(&batch, &of_columns(distinct, &columns))?.into(),
        });
        least = bound;
        tier += 1;
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::hash::mix;

    #[test]
    fn quantized_values_are_few_and_close() {
        let values: Vec<_> = (0..10_000u64)
            .map(|i| (i % 9 != 0).then(|| (mix(i) % 5_000) as i64))
            .collect();
        let array: ArrayRef = Arc::new(Int64Array::from(values.clone()));
        let coded = quantized(&array).unwrap();
        let coded = coded.as_primitive::<Int64Type>();
        let distinct: std::collections::HashSet<_> = coded.iter().flatten().collect();
        assert!(distinct.len() <= CODES, "{}", distinct.len());
        for (value, code) in values.iter().zip(coded.iter()) {
            assert_eq!(value.is_some(), code.is_some());
            if let (Some(value), Some(code)) = (value, code) {
                assert!(
                    (value - code).abs() <= 2 * 5_000 / CODES as i64 + 2,
                    "{value} {code}"
                );
            }
        }
        let equal: ArrayRef = Arc::new(Int64Array::from(vec![3; 600]));
        assert_eq!(&quantized(&equal).unwrap(), &equal);
        let empty: ArrayRef = Arc::new(Int64Array::from(Vec::<i64>::new()));
        assert_eq!(quantized(&empty).unwrap().len(), 0);
    }
}
