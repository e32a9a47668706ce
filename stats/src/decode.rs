//! Decodes one column chunk and sketches its values.
//!
//! Strings are read as views into their pages. Where all pages of a chunk are dictionary-encoded, they are read as an Arrow
//! dictionary instead, and each entry is hashed once, however many rows have it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::filter;
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use bytes::{Buf, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Encoding, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};

use crate::hash::{hash_distinct, value_bytes};
use crate::ndv::DistinctBuilder;

/// Decoded bytes of a batch, so that columns of large strings are read in fewer rows at a time.
const BATCH_BYTES: u64 = 4 << 20;

/// Rows of a batch of small values: their hashes then lie in the second-level cache.
const BATCH_ROWS: u64 = 8192;

/// What one column chunk tells.
pub(crate) struct ColumnScan {
    pub(crate) nulls: u64,
    /// Bytes of the values that are not null, for types whose values differ in size.
    pub(crate) value_bytes: Option<u64>,
    pub(crate) distinct: DistinctBuilder,
}

/// A file under the two schemas that its columns are read with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Readers {
    /// Strings and binary as views, dictionaries as their values.
    views: ArrowReaderMetadata,
    /// Strings and binary as dictionaries.
    dictionaries: Option<ArrowReaderMetadata>,
}

impl Readers {
    pub(crate) fn new(arrow: &ArrowReaderMetadata) -> Self {
        let views = with_types(arrow, |data_type| match data_type {
            DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
            DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
            other => other.clone(),
        });
        let dictionary = |values| DataType::Dictionary(Box::new(DataType::Int32), Box::new(values));
        let dictionaries = with_types(arrow, |data_type| match data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => dictionary(DataType::Utf8),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
                dictionary(DataType::Binary)
            }
            other => other.clone(),
        });
        Self {
            // What cannot be read in the fastest way is read as it is.
            views: views.unwrap_or_else(|_| arrow.clone()),
            dictionaries: dictionaries.ok(),
        }
    }
}

fn with_types(
    arrow: &ArrowReaderMetadata,
    to_type: impl Fn(&DataType) -> DataType,
) -> Result<ArrowReaderMetadata, ParquetError> {
    let convert = |field: &Arc<Field>| {
        // Keys of a dictionary that the writer chose may be too narrow for what the reader gathers.
        let data_type = match field.data_type() {
            DataType::Dictionary(_, values) => to_type(values),
            other => to_type(other),
        };
        field.as_ref().clone().with_data_type(data_type)
    };
    let fields: Vec<_> = arrow.schema().fields().iter().map(convert).collect();
    let schema = Schema::new_with_metadata(fields, arrow.schema().metadata().clone());
    ArrowReaderMetadata::try_new(
        Arc::clone(arrow.metadata()),
        ArrowReaderOptions::new().with_schema(Arc::new(schema)),
    )
}

/// Reads one column chunk from its bytes, which start at `start` in the file.
pub(crate) fn decode_column(
    row_group: usize,
    leaf: usize,
    start: u64,
    bytes: Bytes,
    readers: &Readers,
) -> Result<ColumnScan, ParquetError> {
    let metadata = readers.views.metadata();
    let group = metadata.row_group(row_group);
    let chunk = group.column(leaf);
    let schema = metadata.file_metadata().schema_descr();
    let rows = group.num_rows() as u64;
    let dictionary_bytes = dictionary_value_bytes(chunk);
    let arrow = match (dictionary_bytes, &readers.dictionaries) {
        (Some(_), Some(dictionaries)) => dictionaries,
        _ => &readers.views,
    };
    let chunk_reader = Chunk { start, bytes };
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(chunk_reader, arrow.clone())
        .with_row_groups(vec![row_group])
        .with_projection(ProjectionMask::leaves(schema, [leaf]))
        .with_batch_size(batch_rows(chunk, rows))
        .build()?;
    let mut scan = ColumnScan {
        nulls: 0,
        value_bytes: None,
        distinct: DistinctBuilder::new(),
    };
    let mut hashes = Vec::new();
    let mut entries = UsedEntries::default();
    let mut rows_read = 0;
    for batch in reader {
        let batch = batch?;
        let array = batch.column(0);
        rows_read += array.len() as u64;
        scan.nulls += array.logical_null_count() as u64;
        if let DataType::Dictionary(..) = array.data_type() {
            scan.value_bytes = dictionary_bytes;
            entries.add(array, &mut scan.distinct)?;
            continue;
        }
        if let Some(bytes) = value_bytes(array) {
            *scan.value_bytes.get_or_insert(0) += bytes;
        }
        hashes.clear();
        hash_distinct(array, &mut hashes);
        scan.distinct.add(&hashes);
    }
    entries.flush(&mut scan.distinct)?;
    if rows_read != rows {
        let name = schema.column(leaf).path().string();
        let message = format!("column {name} has {rows_read} rows in a row group of {rows}");
        return Err(ParquetError::General(message));
    }
    Ok(scan)
}

/// For chunks of strings that consist of dictionary-encoded pages alone: the bytes of their values.
///
/// Other chunks would be given a new dictionary a batch, and their widths need the values.
fn dictionary_value_bytes(chunk: &ColumnChunkMetaData) -> Option<u64> {
    let encodings = chunk.page_encoding_stats_mask()?;
    let dictionary = chunk.dictionary_page_offset().is_some()
        && (encodings.is_only(Encoding::RLE_DICTIONARY)
            || encodings.is_only(Encoding::PLAIN_DICTIONARY));
    let bytes = chunk.unencoded_byte_array_data_bytes()?;
    let strings = chunk.column_type() == PhysicalType::BYTE_ARRAY;
    (dictionary && strings).then(|| u64::try_from(bytes).ok())?
}

/// The entries of a chunk's dictionary that some row uses, gathered over batches that share it.
#[derive(Default)]
struct UsedEntries {
    entries: Option<ArrayRef>,
    used: Vec<bool>,
}

impl UsedEntries {
    fn add(
        &mut self,
        array: &ArrayRef,
        distinct: &mut DistinctBuilder,
    ) -> Result<(), ParquetError> {
        let array = array.as_dictionary::<Int32Type>();
        let same = |entries: &ArrayRef| Arc::ptr_eq(entries, array.values());
        if !self.entries.as_ref().is_some_and(same) {
            self.flush(distinct)?;
            self.entries = Some(Arc::clone(array.values()));
            self.used.resize(array.values().len(), false);
        }
        let keys = array.keys();
        match keys.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => keys.values().iter().for_each(|&key| self.mark(key)),
            Some(nulls) => nulls
                .valid_indices()
                .for_each(|index| self.mark(keys.values()[index])),
        }
        Ok(())
    }

    fn mark(&mut self, key: i32) {
        // Arrow has checked the keys.
        self.used[key as usize] = true;
    }

    fn flush(&mut self, distinct: &mut DistinctBuilder) -> Result<(), ParquetError> {
        let used = BooleanArray::from(std::mem::take(&mut self.used));
        if let Some(entries) = self.entries.take() {
            let mut hashes = Vec::new();
            hash_distinct(&filter(&entries, &used)?, &mut hashes);
            distinct.add(&hashes);
        }
        Ok(())
    }
}

/// How many rows to decode at a time.
fn batch_rows(chunk: &ColumnChunkMetaData, rows: u64) -> usize {
    let bytes = chunk.unencoded_byte_array_data_bytes().unwrap_or(0);
    let bytes = u64::try_from(bytes.max(chunk.uncompressed_size())).unwrap_or(0);
    let width = (bytes / rows.max(1)).max(1);
    (BATCH_BYTES / width).clamp(1, BATCH_ROWS) as usize
}

/// The bytes of one column chunk under their offsets in the file.
#[derive(Clone)]
struct Chunk {
    start: u64,
    bytes: Bytes,
}

impl Chunk {
    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let offset = start.checked_sub(self.start).map(usize::try_from);
        match offset {
            Some(Ok(offset)) if offset <= self.bytes.len() => Ok(self.bytes.slice(offset..)),
            _ => Err(ParquetError::EOF(format!(
                "a page at {start} lies outside of its column chunk"
            ))),
        }
    }
}

impl Length for Chunk {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for Chunk {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.from(start)?;
        if length > bytes.len() {
            let message = format!("a page of {length} bytes at {start} leaves its column chunk");
            return Err(ParquetError::EOF(message));
        }
        Ok(bytes.slice(..length))
    }
}
