//! Ranges of a column's pages, where a file has a page index and it came along with the footer.
//!
//! Pages are many times smaller than row groups, so their ranges tell how a clustered column runs, and how its values are
//! distributed, without reading data.

use arrow::array::Array;
use arrow::datatypes::Field;
use bytes::Bytes;
use parquet::DecodeResult;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder};

use crate::file_stats::RowRange;
use crate::value::values_of;

/// The metadata with its page index, if all of that lies in `tail`, the end of a file of `size` bytes.
pub(crate) fn with_page_index(
    metadata: &ParquetMetaData,
    tail: &Bytes,
    size: u64,
) -> Option<ParquetMetaData> {
    let mut chunks = metadata
        .row_groups()
        .iter()
        .flat_map(|group| group.columns());
    if !chunks.any(|chunk| chunk.column_index_offset().is_some()) {
        return None;
    }
    let decoder = ParquetMetaDataPushDecoder::try_new_with_metadata(size, metadata.clone()).ok()?;
    let mut decoder = decoder.with_page_index_policy(PageIndexPolicy::Optional);
    let start = size.checked_sub(tail.len() as u64)?;
    decoder.push_range(start..size, tail.clone()).ok()?;
    // A damaged index is no reason to refuse the file.
    match decoder.try_decode().ok()? {
        DecodeResult::Data(metadata) => Some(metadata),
        DecodeResult::NeedsData(_) | DecodeResult::Finished => None,
    }
}

/// The ranges of all pages of a column that hold values, in the order of the file; `None` if one is not known.
pub(crate) fn page_ranges(
    metadata: &ParquetMetaData,
    field: &Field,
    leaf: usize,
) -> Option<Vec<RowRange>> {
    let (columns, offsets) = (metadata.column_index()?, metadata.offset_index()?);
    let groups = metadata.row_groups();
    let all: Vec<usize> = (0..groups.len()).collect();
    if columns.len() != groups.len() || offsets.len() != groups.len() {
        return None;
    }
    let schema = metadata.file_metadata().schema_descr();
    let converter = StatisticsConverter::from_column_index(leaf, field, schema).ok()?;
    let mins = converter.data_page_mins(columns, offsets, &all).ok()?;
    let maxes = converter.data_page_maxes(columns, offsets, &all).ok()?;
    let nulls = converter
        .data_page_null_counts(columns, offsets, &all)
        .ok()?;
    let rows = converter
        .data_page_row_counts(offsets, groups, &all)
        .ok()??;
    if mins.len() != rows.len() || maxes.len() != rows.len() || nulls.len() != rows.len() {
        return None;
    }
    let mut ranges = Vec::new();
    let bounds = values_of(&mins).into_iter().zip(values_of(&maxes));
    for (page, bound) in bounds.enumerate() {
        let known = nulls.is_valid(page) && rows.is_valid(page);
        let values = known.then(|| rows.value(page).checked_sub(nulls.value(page)))??;
        if values > 0 {
            let (min, max) = (bound.0?, bound.1?);
            ranges.push(RowRange {
                min,
                max,
                rows: values,
            });
        }
    }
    Some(ranges)
}
