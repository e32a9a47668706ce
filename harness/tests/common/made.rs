//! Made tables with what statistics may stumble over: skew, nulls, NaN, both zeros, long strings, wide integers,
//! columns without a value, several files and row groups. Everything follows from the row's number.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    Float32Array, Float64Array, Int32Array, Int64Array, LargeStringArray, StringArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

/// Spreads a number over all 64 bits (SplitMix64).
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A number below `2^bits`: half of all are below `2^(bits / 2)`, so that small numbers are frequent.
fn skewed(row: u64, column: u64, bits: u64) -> u64 {
    let random = mix(row ^ mix(column));
    (random >> 8) % (1 << (random % (bits + 1)))
}

fn uniform(row: u64, column: u64, below: u64) -> u64 {
    mix(row ^ mix(column)) % below
}

/// Rows of all types.
pub(crate) fn mixed(rows: std::ops::Range<u64>) -> RecordBatch {
    let known = |row: u64, every: u64| !row.is_multiple_of(every);
    let codes = |row| known(row, 17).then(|| skewed(row, 1, 12) as i32);
    let names = |row| known(row, 23).then(|| format!("name {}", skewed(row, 2, 14)));
    let prices = |row| Some(i128::from(uniform(row, 4, 60_000)) - 500);
    let ratios = |row: u64| match row % 50 {
        0 | 13 | 26 => Some(f64::NAN),
        1 | 2 => Some(-0.0),
        3 | 4 => Some(0.0),
        5 => None,
        6 => Some(f64::INFINITY),
        _ => Some(skewed(row, 5, 16) as f64 / 16.0 - 100.0),
    };
    let kinds: DictionaryArray<Int32Type> = rows
        .clone()
        .map(|row| known(row, 31).then(|| KINDS[skewed(row, 6, 3) as usize]))
        .collect();
    // Longer than what is kept of a value, and longer than what is ordered of it.
    let notes = |row: u64| match row % 40 {
        0 => format!("{}{}", "long ".repeat(300), row % 3),
        1..20 => format!("{}{}", "same ".repeat(30), uniform(row, 7, 900)),
        _ => format!("{:x}", mix(row)),
    };
    let prices = Decimal128Array::from_iter(rows.clone().map(prices));
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "id",
            of(Int64Array::from_iter_values(
                rows.clone().map(|row| row as i64 * 3 + 7),
            )),
        ),
        (
            "code_id",
            of(Int32Array::from_iter(rows.clone().map(codes))),
        ),
        ("name", of(StringArray::from_iter(rows.clone().map(names)))),
        (
            "day",
            of(Date32Array::from_iter_values(
                rows.clone().map(|row| 8000 + uniform(row, 3, 2500) as i32),
            )),
        ),
        (
            "price",
            of(prices
                .with_precision_and_scale(12, 2)
                .expect("prices are short")),
        ),
        (
            "ratio",
            of(Float64Array::from_iter(rows.clone().map(ratios))),
        ),
        ("kind", of(kinds)),
        (
            "note",
            of(LargeStringArray::from_iter_values(rows.clone().map(notes))),
        ),
        (
            "flag",
            of(BooleanArray::from_iter(
                rows.clone()
                    .map(|row| known(row, 5).then_some(row % 3 == 0)),
            )),
        ),
        (
            "at",
            of(TimestampMicrosecondArray::from_iter_values(
                rows.clone()
                    .map(|row| 1_600_000_000_000_000 + row as i64 / 4),
            )),
        ),
        (
            "big",
            of(UInt64Array::from_iter_values(
                rows.clone().map(|row| u64::MAX - skewed(row, 8, 10)),
            )),
        ),
        (
            "nothing",
            of(Int64Array::from_iter(rows.clone().map(|_| None::<i64>))),
        ),
        (
            "digest",
            of(BinaryArray::from_iter_values(
                rows.clone().map(|row| mix(row).to_be_bytes()),
            )),
        ),
        (
            "narrow",
            of(Float32Array::from_iter_values(
                rows.map(|row| uniform(row, 9, 3000) as f32 / 8.0),
            )),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .expect("columns are of one length")
}

const KINDS: [&str; 8] = ["", "a", "b", "ö", "kind 4", "kind 5", "kind 6", "kind 7"];

/// Rows of few columns, of which there may be many.
pub(crate) fn slim(rows: std::ops::Range<u64>) -> RecordBatch {
    let amounts = |row: u64| match row % 29 {
        0 => Some(f64::NAN),
        1 => None,
        // Those that come late are larger.
        _ => Some((row / 600_000 * 1_000_000 + skewed(row, 11, 20)) as f64 / 4.0),
    };
    let rare = |row: u64| row.is_multiple_of(71).then(|| (mix(row) >> 40) as i64);
    let tags = |row| format!("tag {}", skewed(row, 12, 13));
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "key_id",
            of(Int64Array::from_iter_values(
                rows.clone().map(|row| skewed(row, 10, 17) as i64),
            )),
        ),
        (
            "amount",
            of(Float64Array::from_iter(rows.clone().map(amounts))),
        ),
        ("rare", of(Int64Array::from_iter(rows.clone().map(rare)))),
        ("tag", of(StringArray::from_iter_values(rows.map(tags)))),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .expect("columns are of one length")
}

fn of(array: impl arrow::array::Array + 'static) -> ArrayRef {
    Arc::new(array)
}

/// Writes a file, and the folder it is in.
pub(crate) fn write(path: &Path, batch: &RecordBatch, rows_per_group: usize) {
    fs::create_dir_all(path.parent().expect("files have folders")).expect("folders can be made");
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(rows_per_group))
        .build();
    let file = File::create(path).expect("files can be made");
    let mut writer =
        ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("types can be stored");
    writer.write(batch).expect("rows can be written");
    writer.close().expect("files can be closed");
}
