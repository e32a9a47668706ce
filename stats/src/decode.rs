//! Decodes column chunks, a batch at a time.
//!
//! Strings are read as views into their pages. Where all pages of a chunk are dictionary-encoded, they are read as an Arrow
//! dictionary instead, so that each entry is hashed once, however many rows have it; and so are other values, see [`crate::coded`].

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Schema};
use bytes::{Buf, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

use crate::coded::{CodedReader, has_coded_pages_alone, is_coded};

/// Decoded bytes of a batch, so that columns of large strings are read in fewer rows at a time.
const BATCH_BYTES: u64 = 4 << 20;

/// Rows of a batch of small values: their hashes then lie in the second-level cache.
const BATCH_ROWS: u64 = 8192;

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

impl Readers {
    /// What the footer says of a column chunk.
    pub(crate) fn chunk(&self, row_group: usize, leaf: usize) -> &ColumnChunkMetaData {
        self.views.metadata().row_group(row_group).column(leaf)
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

/// Reads one column chunk from its bytes, which start at `start` in the file, and shows its batches to `visit`: the first row
/// of each within the row group, and the values.
///
/// Strings come as views; they and other values may come as an Arrow dictionary of `Int32` keys.
pub(crate) fn decode_column(
    row_group: usize,
    leaf: usize,
    start: u64,
    bytes: Bytes,
    readers: &Readers,
    mut visit: impl FnMut(u64, &ArrayRef) -> Result<(), ParquetError>,
) -> Result<(), ParquetError> {
    let metadata = readers.views.metadata();
    let group = metadata.row_group(row_group);
    let chunk = group.column(leaf);
    let schema = metadata.file_metadata().schema_descr();
    let rows = group.num_rows() as u64;
    let batch_rows = batch_rows(chunk, rows);
    let field = readers
        .views
        .schema()
        .field(schema.get_column_root_idx(leaf));
    let chunk_reader = Chunk { start, bytes };
    let mut rows_read = 0;
    let mut visit = |array: &ArrayRef| {
        visit(rows_read, array)?;
        rows_read += array.len() as u64;
        Ok::<_, ParquetError>(())
    };
    if is_coded(chunk, field.data_type()) {
        let pages = SerializedPageReader::new(Arc::new(chunk_reader), chunk, rows as usize, None)?;
        let mut reader = CodedReader::new(chunk, field.data_type(), pages)?;
        while let Some(array) = reader.next(batch_rows)? {
            visit(&array)?;
        }
    } else {
        let arrow = match &readers.dictionaries {
            Some(dictionaries) if dictionary_value_bytes(chunk).is_some() => dictionaries,
            _ => &readers.views,
        };
        let reader =
            ParquetRecordBatchReaderBuilder::new_with_metadata(chunk_reader, arrow.clone())
                .with_row_groups(vec![row_group])
                .with_projection(ProjectionMask::leaves(schema, [leaf]))
                .with_batch_size(batch_rows)
                .build()?;
        for batch in reader {
            visit(batch?.column(0))?;
        }
    }
    if rows_read != rows {
        let name = schema.column(leaf).path().string();
        let message = format!("column {name} has {rows_read} rows in a row group of {rows}");
        return Err(ParquetError::General(message));
    }
    Ok(())
}

/// For chunks of strings that consist of dictionary-encoded pages alone: the bytes of their values.
///
/// Other chunks would be given a new dictionary a batch, and their widths need the values.
pub(crate) fn dictionary_value_bytes(chunk: &ColumnChunkMetaData) -> Option<u64> {
    let bytes = chunk.unencoded_byte_array_data_bytes()?;
    let strings = chunk.column_type() == PhysicalType::BYTE_ARRAY;
    (strings && has_coded_pages_alone(chunk)).then(|| u64::try_from(bytes).ok())?
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
