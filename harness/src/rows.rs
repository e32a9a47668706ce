//! The rows of a result, and the form in which they are compared exactly.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{Array, ArrayRef, AsArray, Int8Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, SchemaRef};
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use twox_hash::XxHash64;

/// A result of a query.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
}

impl Table {
    /// Rows in all batches.
    pub(crate) fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Row `at` as text, cut to a readable length.
    pub(crate) fn describe(&self, mut at: usize) -> String {
        const LONGEST: usize = 160;
        for batch in &self.batches {
            if at < batch.num_rows() {
                let cells: Vec<String> = batch
                    .columns()
                    .iter()
                    .map(|column| cell_text(column, at))
                    .collect();
                let text = cells.join(" | ");
                return match text.char_indices().nth(LONGEST) {
                    Some((end, _)) => format!("{}…", &text[..end]),
                    None => text,
                };
            }
            at -= batch.num_rows();
        }
        String::new()
    }
}

fn cell_text(column: &ArrayRef, at: usize) -> String {
    if column.is_null(at) {
        return "NULL".to_owned();
    }
    ArrayFormatter::try_new(column, &FormatOptions::default())
        .map(|formatter| formatter.value(at).to_string())
        .unwrap_or_default()
}

/// A hash of a multiset of rows that ignores their order, and floats, whose last bits depend on the order of sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) rows: u64,
    sum: u64,
}

impl Digest {
    /// Of rows that are not known but by their number.
    pub(crate) fn of_number(rows: u64) -> Self {
        Self {
            rows,
            ..Self::default()
        }
    }

    /// Counts the rows of `batch` in.
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        let columns = exact_columns(batch)?;
        if columns.is_empty() {
            return Ok(());
        }
        let converter = RowConverter::new(sort_fields(&columns))?;
        for row in &converter.convert_columns(&columns)? {
            self.sum = self.sum.wrapping_add(XxHash64::oneshot(0, row.as_ref()));
        }
        Ok(())
    }

    /// The digest of a whole result.
    pub(crate) fn of(table: &Table) -> Result<Self> {
        let mut digest = Self::default();
        for batch in &table.batches {
            digest.add(batch)?;
        }
        Ok(digest)
    }
}

/// The columns whose values are compared exactly; of a float, what kind of value it is.
pub(crate) fn exact_columns(batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    batch
        .columns()
        .iter()
        .map(|column| {
            if column.data_type().is_floating() {
                float_kinds(column)
            } else {
                plain(column)
            }
        })
        .collect()
}

fn float_kinds(column: &ArrayRef) -> Result<ArrayRef> {
    let values = cast(column, &DataType::Float64)?;
    let kinds: Int8Array = values
        .as_primitive::<Float64Type>()
        .iter()
        .map(|value| {
            value.map(|value| match value {
                value if value.is_nan() => 2,
                f64::INFINITY => 1,
                f64::NEG_INFINITY => -1,
                _ => 0,
            })
        })
        .collect();
    Ok(Arc::new(kinds))
}

/// Brings a column to one representation of its values, so that an optimizer's choice of a string view or a
/// dictionary is no difference.
fn plain(column: &ArrayRef) -> Result<ArrayRef> {
    let plain = plain_type(column.data_type());
    if !RowConverter::supports_fields(&[SortField::new(plain.clone())]) {
        let texts: StringArray = (0..column.len())
            .map(|at| Some(cell_text(column, at)))
            .collect();
        return Ok(Arc::new(texts));
    }
    if plain == *column.data_type() {
        return Ok(Arc::clone(column));
    }
    Ok(cast(column, &plain)?)
}

pub(crate) fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::Utf8 | DataType::Utf8View => DataType::LargeUtf8,
        DataType::Binary | DataType::BinaryView => DataType::LargeBinary,
        other => other.clone(),
    }
}

pub(crate) fn sort_fields(columns: &[ArrayRef]) -> Vec<SortField> {
    (columns.iter())
        .map(|column| SortField::new(column.data_type().clone()))
        .collect()
}
