//! Everything that is counted of a column while its values go by.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int32Type};
use arrow::error::ArrowError;

use crate::degrees::DegreeVector;
use crate::frequent::Frequent;
use crate::hash::{hash_rows, value_bytes};
use crate::kll::Kll;
use crate::ndv::HyperLogLog;
use crate::value::{Family, Value, values_of};

/// Longer strings are ordered by their first bytes.
const ORDERED_BYTES: usize = 128;

/// A value in a quantile sketch: of one kind with all others there, and never NaN.
#[derive(Clone, Debug)]
pub(crate) struct Ordered(pub(crate) Value);

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            // Sorting is most of the work, and these kinds are most of all values. Decimals of one column have one scale.
            (Value::Int(a), Value::Int(b))
            | (Value::Decimal { unscaled: a, .. }, Value::Decimal { unscaled: b, .. }) => a.cmp(b),
            (a, b) => a.compare(b).unwrap_or(Ordering::Equal),
        }
    }
}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ordered {}

/// Least and greatest value, for files whose footers do not tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extremes {
    pub(crate) min: Option<Value>,
    pub(crate) max: Option<Value>,
    /// Some value has no place in the order, as decimals beyond 128 bits.
    pub(crate) unknown: bool,
}

impl Extremes {
    fn add(&mut self, value: Value) {
        let below = |a: &Value, b: &Option<Value>, order| match b {
            Some(b) => a.compare(b) == Some(order),
            None => true,
        };
        if below(&value, &self.min, Ordering::Less) {
            self.min = Some(value.clone());
        }
        if below(&value, &self.max, Ordering::Greater) {
            self.max = Some(value);
        }
    }

    fn merge(&mut self, other: Self) {
        self.unknown |= other.unknown;
        [other.min, other.max]
            .into_iter()
            .flatten()
            .for_each(|value| self.add(value));
    }
}

/// What is counted of a part of a column.
pub(crate) struct ColumnSketch {
    pub(crate) nulls: u64,
    /// Bytes of the values that are not null, for types whose values differ in size.
    pub(crate) value_bytes: Option<u64>,
    distinct: HyperLogLog,
    /// So far `frequent` holds all values with their rows, so that nothing else has to count them.
    few: bool,
    pub(crate) frequent: Frequent,
    pub(crate) quantiles: Kll<Ordered>,
    /// Values that could have gone into `quantiles`: NaN and what has no place in an order stay out.
    pub(crate) offered: u64,
    /// Where they are asked for.
    pub(crate) extremes: Option<Extremes>,
    /// Rows by hash: what the last call added.
    pub(crate) runs: Vec<(u64, u64)>,
    recent: Recent,
    /// Rows of a column of many values that are counted together, [`TOGETHER`] at a time.
    pending: Vec<u64>,
    hashes: Vec<u64>,
    /// `distinct` and `frequent` are counted; for keys, whose rows are counted one by one, they follow from that, and
    /// `frequent` gathers rows only as long as the keys are few.
    values: bool,
}

/// Rows that are counted between two looks at whether the values are still few.
const FEW_ROWS: usize = 1 << 10;

/// Rows of many values that are counted together: 1 MiB of hashes.
const TOGETHER: usize = 1 << 17;

/// Slots of [`Recent`]: 16 KiB, half of a first-level cache.
const RECENT: usize = 1 << 10;

/// The hashes seen last with their rows, so that what comes again soon is counted here, and not in larger structures.
struct Recent(Vec<(u64, u64)>);

impl Recent {
    /// Counts rows; what has to leave goes to `left`.
    fn add(&mut self, hashes: impl Iterator<Item = u64>, left: &mut Vec<(u64, u64)>) {
        for hash in hashes {
            let slot = &mut self.0[hash as usize % RECENT];
            if slot.0 == hash {
                slot.1 += 1;
            } else {
                let old = std::mem::replace(slot, (hash, 1));
                if old.1 > 0 {
                    left.push(old);
                }
            }
        }
    }

    fn flush(&mut self, left: &mut Vec<(u64, u64)>) {
        left.extend(self.0.iter().filter(|slot| slot.1 > 0));
        self.0.fill((0, 0));
    }
}

impl ColumnSketch {
    pub(crate) fn new(with_extremes: bool, values: bool) -> Self {
        Self {
            nulls: 0,
            value_bytes: None,
            distinct: HyperLogLog::default(),
            few: true,
            frequent: Frequent::default(),
            quantiles: Kll::default(),
            offered: 0,
            extremes: with_extremes.then(Extremes::default),
            runs: Vec::new(),
            recent: Recent(vec![(0, 0); if values { 0 } else { RECENT }]),
            pending: Vec::new(),
            hashes: Vec::new(),
            values,
        }
    }

    /// The hashes of the array added last, by row; what stands at nulls means nothing.
    pub(crate) fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    /// Counts the values of an array; some of them only with [`ColumnSketch::flush`].
    pub(crate) fn add(&mut self, array: &ArrayRef) {
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        self.nulls += nulls.as_ref().map_or(0, |nulls| nulls.null_count() as u64);
        if let Some(bytes) = value_bytes(array) {
            *self.value_bytes.get_or_insert(0) += bytes;
        }
        self.hashes.clear();
        self.runs.clear();
        if !hash_rows(array, &mut self.hashes) {
            return;
        }
        match &nulls {
            None => {
                let hashes = std::mem::take(&mut self.hashes);
                self.add_rows(&hashes);
                self.hashes = hashes;
            }
            Some(nulls) => {
                let valid = nulls.valid_indices().map(|row| self.hashes[row]);
                self.add_rows(&valid.collect::<Vec<_>>());
            }
        }
        self.add_runs();
    }

    /// Counts rows in `frequent` as long as their values are few. Others wait until they are enough to be counted together; those
    /// of keys go to `runs` unless they come again soon.
    fn add_rows(&mut self, hashes: &[u64]) {
        for part in hashes.chunks(FEW_ROWS) {
            if self.few && self.frequent.fits(part.len()) {
                self.frequent.add_rows(part);
            } else {
                self.become_many();
                if self.values {
                    self.add_pending(part);
                } else {
                    self.recent.add(part.iter().copied(), &mut self.runs);
                }
            }
        }
    }

    fn add_pending(&mut self, mut hashes: &[u64]) {
        while !hashes.is_empty() {
            let fit = hashes.len().min(TOGETHER - self.pending.len());
            self.pending.extend_from_slice(&hashes[..fit]);
            hashes = &hashes[fit..];
            if self.pending.len() == TOGETHER {
                self.count_pending();
            }
        }
    }

    fn count_pending(&mut self) {
        self.distinct.add_all(&self.pending);
        self.frequent.skim(&self.pending);
        self.pending.clear();
    }

    /// From here on `frequent` cannot hold all values.
    fn become_many(&mut self) {
        if self.few {
            self.few = false;
            if self.values {
                let hashes = self.frequent.hashes();
                hashes.for_each(|hash| self.distinct.add(hash));
            } else {
                self.runs.extend(self.frequent.take());
            }
        }
    }

    /// Counts what was held back to see whether it comes again.
    pub(crate) fn flush(&mut self) {
        self.runs.clear();
        self.recent.flush(&mut self.runs);
        if !self.values {
            self.runs.extend(self.frequent.take());
        }
        self.add_runs();
    }

    /// Counts what waits to be counted together. Nothing comes after it.
    pub(crate) fn finish(&mut self) {
        self.count_pending();
        self.pending = Vec::new();
        if self.values && !self.few {
            self.frequent.thin_out();
        }
    }

    /// Counts rows by hash: what `runs` holds.
    fn add_runs(&mut self) {
        if !self.values {
            return;
        }
        if !self.frequent.fits(self.runs.len()) {
            self.become_many();
        }
        for &(hash, rows) in &self.runs {
            self.frequent.add(hash, rows);
        }
        if !self.few {
            self.runs.iter().for_each(|run| self.distinct.add(run.0));
        }
    }

    /// The distinct values.
    fn distinct(&mut self) -> &HyperLogLog {
        if self.few {
            let hashes = self.frequent.hashes();
            hashes.for_each(|hash| self.distinct.add(hash));
        }
        &self.distinct
    }

    /// Counts each entry of a dictionary with its rows.
    pub(crate) fn add_entries(&mut self, hashes: &[u64], rows: &[u64]) {
        let used = hashes.iter().copied().zip(rows.iter().copied());
        self.runs.clear();
        self.runs.extend(used.filter(|(_, rows)| *rows > 0));
        self.add_runs();
    }

    /// Orders some of the values, or all, and finds the extremes of all if they are asked for.
    pub(crate) fn order(
        &mut self,
        array: &ArrayRef,
        some: Option<UInt32Array>,
    ) -> Result<(), ArrowError> {
        if some.as_ref().is_none_or(|some| !some.is_empty()) {
            let some = match some {
                None => Arc::clone(array),
                Some(some) => take(array, &some, None)?,
            };
            self.offered += (some.len() - some.logical_null_count()) as u64;
            for value in values_of(&plain(&some)?).into_iter().flatten() {
                let value = match value {
                    Value::Bytes(mut bytes) if bytes.len() > ORDERED_BYTES => {
                        bytes.truncate(ORDERED_BYTES);
                        Value::Bytes(bytes)
                    }
                    value => value,
                };
                self.quantiles.insert(Ordered(value));
            }
        }
        if let Some(extremes) = &mut self.extremes {
            let array = plain(array)?;
            let valid = array.len() - array.logical_null_count();
            let mut seen = 0;
            for value in values_of(&array).into_iter().flatten() {
                seen += 1;
                extremes.add(value);
            }
            // NaN has no place among bounds, and needs none.
            let floats = Family::of(array.data_type()) == Family::Float;
            extremes.unknown |= seen < valid && !floats;
        }
        Ok(())
    }
}

/// An array in a layout of its own: strings as offsets into one buffer, dictionaries as their values.
///
/// A few views taken from many keep all the buffers of the many alive.
pub(crate) fn plain(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match plain_type(array.data_type()) {
        to if to == *array.data_type() => Ok(Arc::clone(array)),
        to => cast(array, &to),
    }
}

/// The type of arrays that samples hold for columns of a type.
pub(crate) fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, values) => plain_type(values),
        other => other.clone(),
    }
}

/// The sketches of a column of a file, made of those of its parts in their order.
#[derive(Default)]
pub(crate) struct ColumnTotal {
    pub(crate) nulls: u64,
    pub(crate) value_bytes: Option<u64>,
    pub(crate) distinct: HyperLogLog,
    pub(crate) frequent: Frequent,
    pub(crate) quantiles: Kll<Ordered>,
    pub(crate) offered: u64,
    pub(crate) extremes: Option<Extremes>,
}

impl ColumnTotal {
    /// Takes over the exact counts of all values.
    pub(crate) fn know_values(&mut self, counts: &DegreeVector) {
        self.distinct.add_all(&counts.hashes);
        self.frequent = Frequent::of_counts(counts.pairs());
    }

    pub(crate) fn merge(&mut self, mut part: ColumnSketch) {
        self.nulls += part.nulls;
        if let Some(bytes) = part.value_bytes {
            *self.value_bytes.get_or_insert(0) += bytes;
        }
        self.distinct.merge(part.distinct());
        if self.frequent.is_empty() {
            self.frequent = part.frequent;
        } else {
            self.frequent.merge(&part.frequent);
        }
        self.quantiles.merge(part.quantiles);
        self.offered += part.offered;
        if let Some(extremes) = part.extremes {
            self.extremes.get_or_insert_default().merge(extremes);
        }
    }
}

/// Takes rows by hash.
type OnRuns<'a> = &'a mut dyn FnMut(&[(u64, u64)]);

/// Counts the rows of each entry over batches that share a dictionary.
#[derive(Default)]
pub(crate) struct EntryCounts {
    entries: Option<ArrayRef>,
    hashes: Vec<u64>,
    rows: Vec<u64>,
}

impl EntryCounts {
    /// Counts a batch. A batch with another dictionary hands what was counted before to `sketch` and `on_runs`.
    pub(crate) fn add(&mut self, array: &ArrayRef, sketch: &mut ColumnSketch, on_runs: OnRuns<'_>) {
        let array = array.as_dictionary::<Int32Type>();
        let same = |entries: &ArrayRef| Arc::ptr_eq(entries, array.values());
        if !self.entries.as_ref().is_some_and(same) {
            self.flush(sketch, on_runs);
            self.entries = Some(Arc::clone(array.values()));
            self.hashes.clear();
            hash_rows(array.values(), &mut self.hashes);
            self.rows.resize(self.hashes.len(), 0);
        }
        let keys = array.keys();
        sketch.nulls += keys.null_count() as u64;
        // Arrow has checked the keys.
        match keys.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => keys
                .values()
                .iter()
                .for_each(|&key| self.rows[key as usize] += 1),
            Some(nulls) => nulls
                .valid_indices()
                .for_each(|row| self.rows[keys.values()[row] as usize] += 1),
        }
    }

    /// The hash of each row of the batch that was counted last; what stands at nulls means nothing.
    pub(crate) fn hashes_of(&self, array: &ArrayRef) -> Vec<u64> {
        let keys = array.as_dictionary::<Int32Type>().keys().values();
        let hash = |key: &i32| self.hashes.get(*key as usize).copied().unwrap_or(0);
        keys.iter().map(hash).collect()
    }

    /// Hands what was counted to `sketch` and `on_runs`.
    pub(crate) fn flush(&mut self, sketch: &mut ColumnSketch, on_runs: OnRuns<'_>) {
        sketch.add_entries(&self.hashes, &self.rows);
        on_runs(&sketch.runs);
        self.entries = None;
        self.hashes.clear();
        self.rows.clear();
    }
}
