//! Rows of a table that are known one by one, with indexes by key.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, RecordBatch};
use arrow::buffer::NullBuffer;

use crate::details::cached;
use crate::hash::hash_rows;

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
}

impl RowSet {
    /// Rows of a table.
    pub fn new(batch: RecordBatch, selection: Selection) -> Self {
        Self {
            batch,
            selection,
            indexes: Mutex::default(),
        }
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
    /// For each range of hashes where it starts in `sorted`, and the end.
    starts: Vec<u32>,
    /// Bits that a hash is shifted to the right by to find its range.
    shift: u32,
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
        let bits = pairs.len().max(2).ilog2();
        let shift = u64::BITS - bits;
        let mut starts = vec![0u32; (1 << bits) + 1];
        for (hash, _) in &pairs {
            starts[(hash >> shift) as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let sorted: Vec<u64> = pairs.iter().map(|pair| pair.0).collect();
        Some(Self {
            hashes,
            nulls,
            rows: pairs.iter().map(|pair| pair.1).collect(),
            distinct: sorted.chunk_by(|a, b| a == b).count(),
            sorted,
            starts,
            shift,
        })
    }

    /// The hash of a row's key, see [`Value::hash`](crate::Value::hash); `None` for NULL.
    pub fn hash(&self, row: u32) -> Option<u64> {
        let valid = self.nulls.as_ref().is_none_or(|n| n.is_valid(row as usize));
        valid.then(|| self.hashes[row as usize])
    }

    /// The rows with a key, ascending.
    pub fn rows(&self, hash: u64) -> &[u32] {
        &self.rows[self.range(hash)]
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

    fn range(&self, hash: u64) -> Range<usize> {
        let bucket = (hash >> self.shift) as usize;
        let (mut start, last) = (
            self.starts[bucket] as usize,
            self.starts[bucket + 1] as usize,
        );
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
    use arrow::array::{Int32Array, Int64Array};
    use proptest::prelude::*;

    use super::*;
    use crate::value::Value;

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
            let all: usize = index.keys().map(|(_, rows)| rows.len()).sum();
            prop_assert_eq!(all, keys.iter().flatten().count());
            prop_assert_eq!(index.keys().count(), index.distinct());
        }
    }
}
