//! Rows of a table that are known one by one, with indexes by key.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::take;

use crate::degrees::HashedMap;
use crate::details::cached;
use crate::hash::{hash_rows, mix};

/// Rows that combinations are counted among, beside those of the last key.
const LOOKED_AT: usize = 4096;

/// Distinct values of a column that has [`Codes`].
const MOST_CODES: usize = 4096;

/// A key and other columns.
type Columns = (String, BTreeSet<String>);

/// Which rows of a table a [`RowSet`] has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    All,
    /// A uniform random sample.
    Uniform,
    /// Those whose key in a column hashes below a bound.
    ByKey {
        /// The column.
        column: String,
        /// The bound.
        below: u64,
    },
}

/// Rows of a table, and where in them to find a key.
#[derive(Debug)]
pub struct RowSet {
    /// The rows, see [`CODING`](crate::CODING) for what stands in their columns.
    pub batch: RecordBatch,
    /// Which rows these are.
    pub selection: Selection,
    indexes: Mutex<HashMap<String, Option<Arc<KeyIndex>>>>,
    codes: Mutex<HashMap<String, Option<Arc<Codes>>>>,
    combinations: Mutex<HashMap<Columns, Option<f64>>>,
}

impl RowSet {
    /// Rows of a table.
    pub fn new(batch: RecordBatch, selection: Selection) -> Self {
        Self {
            batch,
            selection,
            indexes: Mutex::default(),
            codes: Mutex::default(),
            combinations: Mutex::default(),
        }
    }

    /// Distinct combinations of a key and other columns for each value of the key, among thousands of rows that have all rows of some
    /// values; NULL is a value of the others. `None` where a column has no [`index`](Self::index).
    pub fn combinations_per_key(&self, key: &str, others: &BTreeSet<String>) -> Option<f64> {
        cached(
            &self.combinations,
            &(key.to_owned(), others.clone()),
            || {
                let own = self.index(key)?;
                let others = others.iter().filter(|other| *other != key);
                let others: Vec<_> = others
                    .map(|other| self.index(other))
                    .collect::<Option<_>>()?;
                let (mut keys, mut looked_at) = (0, 0);
                let mut found: HashedMap<()> = HashedMap::default();
                for (hash, rows) in own.keys() {
                    let together = |row: &u32| combined(hash, others.iter().map(|o| o.hash(*row)));
                    found.extend(rows.iter().map(|row| (together(row), ())));
                    keys += 1;
                    looked_at += rows.len();
                    if looked_at >= LOOKED_AT {
                        break;
                    }
                }
                (keys > 0).then(|| found.len() as f64 / f64::from(keys))
            },
        )
    }

    /// Distinct combinations of some columns among some rows; NULL is a value. `None` where a column has no [`index`](Self::index).
    pub fn combinations(
        &self,
        columns: &BTreeSet<String>,
        rows: impl Iterator<Item = usize>,
    ) -> Option<usize> {
        let columns: Vec<_> = columns
            .iter()
            .map(|c| self.index(c))
            .collect::<Option<_>>()?;
        let together = |row: usize| combined(0, columns.iter().map(|c| c.hash(row as u32)));
        let found: HashedMap<()> = rows.map(|row| (together(row), ())).collect();
        Some(found.len())
    }

    /// The values of a column apart from its rows; `None` where the rows lack it, or it has thousands of values.
    pub fn codes(&self, column: &str) -> Option<Arc<Codes>> {
        cached(&self.codes, &column.to_owned(), || {
            let (place, _) = self.batch.schema_ref().column_with_name(column)?;
            Codes::new(self.batch.column(place)).map(Arc::new)
        })
    }

    /// The index of a column; `None` where the rows lack it, or its values have no hash or only a coded one.
    pub fn index(&self, column: &str) -> Option<Arc<KeyIndex>> {
        cached(&self.indexes, &column.to_owned(), || {
            let (place, field) = self.batch.schema_ref().column_with_name(column)?;
            if field.metadata().contains_key(crate::CODING) {
                return None;
            }
            KeyIndex::new(self.batch.column(place)).map(Arc::new)
        })
    }
}

/// One hash of several, of which `None` is NULL.
fn combined(first: u64, others: impl Iterator<Item = Option<u64>>) -> u64 {
    others.fold(first, |hash, other| {
        mix(hash.rotate_left(29) ^ other.unwrap_or(u64::MAX))
    })
}

/// The few values of a column, so that what is asked of each row is asked of each value once.
#[derive(Debug)]
pub struct Codes {
    /// The values, one of which may be NULL.
    pub values: ArrayRef,
    /// By row the place of its value.
    pub codes: Vec<u16>,
}

impl Codes {
    fn new(array: &dyn Array) -> Option<Self> {
        let mut hashes = Vec::new();
        if !hash_rows(array, &mut hashes) {
            return None;
        }
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let mut known: HashedMap<u16> = HashedMap::default();
        let mut null = None;
        let mut first: Vec<u32> = Vec::new();
        let mut codes = Vec::with_capacity(array.len());
        for (row, hash) in hashes.into_iter().enumerate() {
            let new = first.len() as u16;
            let code = match nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                true => *null.get_or_insert(new),
                false => *known.entry(hash).or_insert(new),
            };
            if code == new {
                first.push(u32::try_from(row).ok()?);
            }
            if first.len() > MOST_CODES {
                return None;
            }
            codes.push(code);
        }
        Some(Self {
            values: take(array, &UInt32Array::from(first), None).ok()?,
            codes,
        })
    }
}

/// Where in ascending hashes to look for one: hashes are spread evenly, so their highest bits tell.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    /// For each range of hashes where it starts, and the end.
    starts: Vec<u32>,
    /// Bits that a hash is shifted to the right by to find its range.
    shift: u32,
}

impl Directory {
    /// `None` for more hashes than there are places.
    pub(crate) fn new(sorted: &[u64]) -> Option<Self> {
        u32::try_from(sorted.len()).ok()?;
        let largest = sorted.last().copied().unwrap_or(0);
        // As many ranges as hashes; samples hold only hashes below a bound.
        let bits = sorted.len().max(2).ilog2();
        let shift = (u64::BITS - largest.leading_zeros()).saturating_sub(bits);
        let mut starts = vec![0u32; (largest >> shift) as usize + 2];
        for hash in sorted {
            starts[(hash >> shift) as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        Some(Self { starts, shift })
    }

    /// The places that a hash can have.
    pub(crate) fn range(&self, hash: u64) -> Range<usize> {
        let bucket = (hash >> self.shift) as usize;
        match self.starts.get(bucket..bucket.saturating_add(2)) {
            Some([start, end]) => *start as usize..*end as usize,
            _ => 0..0,
        }
    }
}

/// The rows of each key of a column.
#[derive(Debug)]
pub struct KeyIndex {
    /// By row; what stands at nulls means nothing.
    hashes: Vec<u64>,
    nulls: Option<NullBuffer>,
    /// Rows whose key is not null, ascending by hash, then by row.
    rows: Vec<u32>,
    /// The hashes of `rows`.
    sorted: Vec<u64>,
    directory: Directory,
    distinct: usize,
}

impl KeyIndex {
    fn new(array: &dyn Array) -> Option<Self> {
        let mut hashes = Vec::new();
        u32::try_from(array.len()).ok()?;
        if !hash_rows(array, &mut hashes) {
            return None;
        }
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let mut pairs: Vec<(u64, u32)> = match &nulls {
            None => hashes.iter().copied().zip(0..).collect(),
            Some(nulls) => nulls
                .valid_indices()
                .map(|row| (hashes[row], row as u32))
                .collect(),
        };
        pairs.sort_unstable();
        let sorted: Vec<u64> = pairs.iter().map(|pair| pair.0).collect();
        Some(Self {
            hashes,
            nulls,
            rows: pairs.iter().map(|pair| pair.1).collect(),
            distinct: sorted.chunk_by(|a, b| a == b).count(),
            directory: Directory::new(&sorted)?,
            sorted,
        })
    }

    /// The hash of a row's key, see [`Value::hash`](crate::Value::hash); `None` for NULL.
    pub fn hash(&self, row: u32) -> Option<u64> {
        let valid = self.nulls.as_ref().is_none_or(|n| n.is_valid(row as usize));
        valid.then(|| self.hashes[row as usize])
    }

    /// The number of rows, those without a key among them.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The rows with a key, ascending.
    pub fn rows(&self, hash: u64) -> &[u32] {
        &self.rows[self.range(self.directory.range(hash), hash)]
    }

    /// The rows with each of many keys; none for NULL.
    ///
    /// One step is taken for all keys before the next, so that the processor waits for many places in memory at once.
    pub fn rows_of(&self, hashes: &[Option<u64>]) -> Vec<&[u32]> {
        let bucket = |hash: &Option<u64>| hash.map_or(0..0, |hash| self.directory.range(hash));
        let mut ranges: Vec<Range<usize>> = hashes.iter().map(bucket).collect();
        for (range, hash) in ranges.iter_mut().zip(hashes) {
            if let Some(hash) = hash {
                *range = self.range(range.clone(), *hash);
            }
        }
        ranges.into_iter().map(|range| &self.rows[range]).collect()
    }

    /// Rows whose key is not NULL, those of one key next to each other.
    pub fn all_rows(&self) -> &[u32] {
        &self.rows
    }

    /// The number of distinct keys.
    pub fn distinct(&self) -> usize {
        self.distinct
    }

    /// Keys with their rows, ascending by hash.
    pub fn keys(&self) -> impl Iterator<Item = (u64, &[u32])> {
        let mut start = 0;
        self.sorted.chunk_by(|a, b| a == b).map(move |keys| {
            let rows = &self.rows[start..start + keys.len()];
            start += keys.len();
            (keys[0], rows)
        })
    }

    /// The places of a hash within its bucket.
    fn range(&self, bucket: Range<usize>, hash: u64) -> Range<usize> {
        let (mut start, last) = (bucket.start, bucket.end);
        // A bucket holds about one key, but a key may have very many rows.
        let within = &self.sorted[start..last];
        start += match within.first() {
            Some(first) if *first < hash => within.partition_point(|other| *other < hash),
            _ => 0,
        };
        let rest = &self.sorted[start..last];
        let end = match rest.last() {
            Some(other) if *other == hash => last,
            _ => start + rest.partition_point(|other| *other == hash),
        };
        start..end
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int32Array, Int64Array};
    use arrow::datatypes::Int32Type;
    use proptest::prelude::*;

    use super::*;
    use crate::value::Value;

    #[test]
    fn many_values_have_no_codes() {
        let keys: Vec<i64> = (0..MOST_CODES as i64 + 1).collect();
        assert!(Codes::new(&Int64Array::from(keys.clone())).is_none());
        assert!(Codes::new(&Int64Array::from(keys[1..].to_vec())).is_some());
    }

    #[test]
    fn an_empty_index_finds_nothing() {
        let index = KeyIndex::new(&Int64Array::from(Vec::<i64>::new())).unwrap();
        assert!(index.rows(0).is_empty() && index.rows(u64::MAX).is_empty());
        assert_eq!(index.distinct(), 0);
    }

    proptest! {
        #[test]
        fn every_key_has_its_rows(keys in prop::collection::vec(prop::option::of(0..60i32), 0..300)) {
            let index = KeyIndex::new(&Int32Array::from(keys.clone())).unwrap();
            for key in -1..61 {
                let expected: Vec<u32> = (0u32..)
                    .zip(&keys)
                    .filter(|(_, other)| **other == Some(key))
                    .map(|(row, _)| row)
                    .collect();
                prop_assert_eq!(index.rows(Value::Int(key.into()).hash()), &expected[..]);
            }
            for (row, key) in (0u32..).zip(&keys) {
                prop_assert_eq!(index.hash(row), key.map(|key| Value::Int(key.into()).hash()));
            }
            let hashes: Vec<_> = (0..keys.len() as u32).map(|row| index.hash(row)).collect();
            for (hash, rows) in hashes.iter().zip(index.rows_of(&hashes)) {
                prop_assert_eq!(rows, hash.map_or(&[][..], |hash| index.rows(hash)));
            }
            let all: usize = index.keys().map(|(_, rows)| rows.len()).sum();
            prop_assert_eq!(all, keys.iter().flatten().count());
            prop_assert_eq!(index.keys().count(), index.distinct());
        }

        #[test]
        fn codes_give_the_values_back(keys in prop::collection::vec(prop::option::of(0..60i32), 0..300)) {
            let array = Int32Array::from(keys);
            let codes = Codes::new(&array).unwrap();
            let rows = UInt32Array::from_iter_values(codes.codes.iter().map(|code| (*code).into()));
            let back = take(&codes.values, &rows, None).unwrap();
            prop_assert_eq!(back.as_primitive::<Int32Type>(), &array);
            let distinct: std::collections::HashSet<_> = array.iter().collect();
            prop_assert_eq!(codes.values.len(), distinct.len());
        }
    }
}
