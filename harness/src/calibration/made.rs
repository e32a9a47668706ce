//! Made tables: keys in no order and columns that wait.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, Int64Array, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

/// Keys are multiples of it, far enough apart that joins hash them instead of taking them for places in an array.
pub(super) const SPACING: u64 = 1_009;

/// Values of a column of words.
const WORDS: u64 = 100;

/// Rows of a batch, as DataFusion's operators make them.
const BATCH: usize = 8192;

/// The columns beside the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Payload {
    /// Columns of 64-bit integers.
    pub(super) numbers: usize,
    /// Columns of short text, of few values.
    pub(super) words: usize,
    /// Columns of short text, each value another.
    pub(super) texts: usize,
}

/// What the keys of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// Each of `distinct` keys equally often, in no order.
    All { distinct: u64 },
    /// Drawn from `domain` keys.
    Drawn { domain: u64 },
}

/// A scrambled 64-bit number: the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
pub(super) fn scramble(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The columns of a table: `k`, then `n0`, `n1`, …, then `w0`, `w1`, …, then `t0`, `t1`, ….
pub(super) fn schema(payload: Payload) -> SchemaRef {
    let mut fields = vec![Field::new("k", DataType::Int64, false)];
    for number in 0..payload.numbers {
        fields.push(Field::new(format!("n{number}"), DataType::Int64, false));
    }
    for word in 0..payload.words {
        fields.push(Field::new(format!("w{word}"), DataType::Utf8View, false));
    }
    for text in 0..payload.texts {
        fields.push(Field::new(format!("t{text}"), DataType::Utf8View, false));
    }
    Arc::new(Schema::new(fields))
}

/// A table of `rows` rows in batches.
pub(super) fn batches(rows: usize, keys: Keys, payload: Payload) -> Result<Vec<RecordBatch>> {
    let schema = schema(payload);
    let starts = (0..rows).step_by(BATCH);
    let batch = |start: usize| {
        let numbers = start as u64..(start + BATCH).min(rows) as u64;
        let key = |row: u64| match keys {
            // A stride without a divisor in common with any number of keys used here.
            Keys::All { distinct } => row.wrapping_mul(1_000_003) % distinct.max(1),
            Keys::Drawn { domain } => scramble(row) % domain.max(1),
        };
        let keys = numbers.clone().map(|row| (key(row) * SPACING) as i64);
        let keys: Int64Array = keys.collect();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(keys)];
        for column in 0..payload.numbers as u64 {
            let value = |row: u64| (scramble(row ^ (column << 40) ^ (1 << 60)) % 1_000) as i64;
            let values: Int64Array = numbers.clone().map(value).collect();
            columns.push(Arc::new(values));
        }
        let mut push_texts = |count: usize, salt: u64, values: u64| {
            for column in 0..count as u64 {
                let value = |row: u64| {
                    let number = scramble(row ^ (column << 40) ^ salt) % values;
                    Some(format!("value {:016x}", scramble(number)))
                };
                let values: StringViewArray = numbers.clone().map(value).collect();
                columns.push(Arc::new(values));
            }
        };
        push_texts(payload.words, 1 << 62, WORDS);
        push_texts(payload.texts, 1 << 61, u64::MAX);
        Ok(RecordBatch::try_new(Arc::clone(&schema), columns)?)
    };
    starts.map(batch).collect()
}
