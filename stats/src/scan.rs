//! The scan pass: one read of a file's data, column by column.
//!
//! The work is cut into units: columns of one row group whose chunks together take up to 8 MiB as stored, or one
//! larger chunk. A unit's bytes are fetched asynchronously, then decoded and hashed on a blocking thread, one column after
//! the other, so that a column's sketch stays in the cache of its core. Sketches of units are merged into those of the file.
//!
//! Memory: `concurrency` units at once, each with its stored bytes (8 MiB, or one larger column chunk), one batch of decoded values
//! (about 4 MiB, see [`batch_rows`]), the page and the dictionary that it comes from, and 8 KiB a column for sketches.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Field, Schema};
use bytes::{Buf, Bytes};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::{ChunkReader, Length};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::file_stats::FileColumn;
use crate::footer::Footer;
use crate::hash::{hash_distinct, value_bytes};
use crate::ndv::{DistinctBuilder, DistinctUnion};
use crate::value::Family;
use crate::{Progress, StatsError, Store};

/// Stored bytes of a unit; enough to make a request to a remote store worth its latency.
const UNIT_BYTES: u64 = 8 << 20;

/// Decoded bytes of a batch, so that columns of large strings are read in fewer rows at a time.
const BATCH_BYTES: u64 = 4 << 20;

/// Rows of a batch of small values: their hashes then lie in the second-level cache.
const BATCH_ROWS: u64 = 8192;

/// Columns of one row group that are fetched together.
struct Unit {
    row_group: usize,
    /// The file's column, its leaf, and where its chunk lies.
    chunks: Vec<(usize, usize, Range<u64>)>,
}

/// What one unit learns of one column.
struct ColumnScan {
    nulls: u64,
    value_bytes: Option<u64>,
    distinct: DistinctBuilder,
}

/// A column of the file while its units come in, in any order.
#[derive(Default)]
struct ColumnTotal {
    nulls: u64,
    value_bytes: Option<u64>,
    distinct: DistinctUnion,
}

/// Reads all flat columns of a file and completes the columns of its footer pass. Returns them with the bytes read.
pub(crate) async fn scan(
    store: &Store,
    path: &Path,
    key: &str,
    footer: Footer,
    concurrency: usize,
    permits: &Semaphore,
    progress: &dyn Progress,
) -> Result<(Vec<FileColumn>, u64), StatsError> {
    let metadata = Arc::clone(footer.metadata());
    let flat = |column: &FileColumn| column.family != Family::Nested;
    let (units, arrow) = plan_units(&metadata, &footer.columns, &footer.leaves)
        .and_then(|units| Ok((units, with_views(&footer.arrow)?)))
        .map_err(|source| StatsError::parquet(key, source))?;
    let scan_unit = async |unit: Unit| {
        // The semaphore is never closed.
        let _permit = permits.acquire().await;
        let ranges: Vec<_> = unit.chunks.iter().map(|chunk| chunk.2.clone()).collect();
        let fetched = store.inner().get_ranges(path, &ranges).await;
        let fetched = fetched.map_err(|source| StatsError::store(key, source))?;
        let bytes = fetched.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
        progress.bytes(bytes);
        let arrow = arrow.clone();
        let scanned = spawn_blocking(move || decode_unit(&unit, fetched, &arrow)).await;
        let scanned = scanned.map_err(|source| StatsError::worker(key, &source))?;
        let scanned = scanned.map_err(|source| StatsError::parquet(key, source))?;
        Ok::<_, StatsError>((scanned, bytes))
    };
    let mut totals: Vec<ColumnTotal> = Vec::new();
    totals.resize_with(footer.columns.len(), Default::default);
    let mut bytes_read = 0;
    let mut results = stream::iter(units)
        .map(scan_unit)
        .buffer_unordered(concurrency.max(1));
    while let Some((scanned, bytes)) = results.try_next().await? {
        bytes_read += bytes;
        for (index, scan) in scanned {
            let total = &mut totals[index];
            total.nulls += scan.nulls;
            if let Some(bytes) = scan.value_bytes {
                *total.value_bytes.get_or_insert(0) += bytes;
            }
            total.distinct.add_builder(&scan.distinct);
        }
    }
    let mut columns = footer.columns;
    for (column, total) in columns.iter_mut().zip(totals) {
        if flat(column) {
            column.null_count = Some(total.nulls);
            column.value_bytes = total.value_bytes.or(column.value_bytes);
            column.distinct = Some(total.distinct.to_stored());
        }
    }
    Ok((columns, bytes_read))
}

fn plan_units(
    metadata: &ParquetMetaData,
    columns: &[FileColumn],
    leaves: &[usize],
) -> Result<Vec<Unit>, ParquetError> {
    let mut units = Vec::new();
    for (row_group, group) in metadata.row_groups().iter().enumerate() {
        if group.num_rows() == 0 {
            continue;
        }
        let mut unit = Unit {
            row_group,
            chunks: Vec::new(),
        };
        let mut unit_bytes = 0;
        for (index, (column, &leaf)) in columns.iter().zip(leaves).enumerate() {
            if column.family == Family::Nested {
                continue;
            }
            let range = chunk_range(group.column(leaf))?;
            let bytes = range.end - range.start;
            if !unit.chunks.is_empty() && unit_bytes + bytes > UNIT_BYTES {
                let chunks = std::mem::take(&mut unit.chunks);
                units.push(Unit { row_group, chunks });
                unit_bytes = 0;
            }
            unit_bytes += bytes;
            unit.chunks.push((index, leaf, range));
        }
        if !unit.chunks.is_empty() {
            units.push(unit);
        }
    }
    Ok(units)
}

/// Where a column chunk lies; an error for the impossible places that a damaged footer may name.
fn chunk_range(chunk: &ColumnChunkMetaData) -> Result<Range<u64>, ParquetError> {
    let start = chunk.dictionary_page_offset();
    let start = start.unwrap_or(chunk.data_page_offset());
    let range = u64::try_from(start)
        .ok()
        .zip(u64::try_from(chunk.compressed_size()).ok())
        .and_then(|(start, length)| Some(start..start.checked_add(length)?));
    range.ok_or_else(|| {
        let name = chunk.column_path().string();
        ParquetError::General(format!("impossible place of a chunk of column {name}"))
    })
}

/// The same file read with strings and binary as views, which are not copied out of their pages.
fn with_views(arrow: &ArrowReaderMetadata) -> Result<ArrowReaderMetadata, ParquetError> {
    let view = |field: &Arc<Field>| {
        let data_type = match field.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
            DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
            _ => return Arc::clone(field),
        };
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    };
    let fields: Vec<_> = arrow.schema().fields().iter().map(view).collect();
    let schema = Schema::new_with_metadata(fields, arrow.schema().metadata().clone());
    ArrowReaderMetadata::try_new(
        Arc::clone(arrow.metadata()),
        ArrowReaderOptions::new().with_schema(Arc::new(schema)),
    )
}

fn decode_unit(
    unit: &Unit,
    fetched: Vec<Bytes>,
    arrow: &ArrowReaderMetadata,
) -> Result<Vec<(usize, ColumnScan)>, ParquetError> {
    let mut scanned = Vec::with_capacity(unit.chunks.len());
    let mut hashes = Vec::new();
    for ((index, leaf, range), bytes) in unit.chunks.iter().zip(fetched) {
        let chunk = Chunk {
            start: range.start,
            bytes,
        };
        let scan = decode_column(unit.row_group, *leaf, chunk, arrow, &mut hashes)?;
        scanned.push((*index, scan));
    }
    Ok(scanned)
}

fn decode_column(
    row_group: usize,
    leaf: usize,
    chunk: Chunk,
    arrow: &ArrowReaderMetadata,
    hashes: &mut Vec<u64>,
) -> Result<ColumnScan, ParquetError> {
    let group = arrow.metadata().row_group(row_group);
    let schema = arrow.metadata().file_metadata().schema_descr();
    let rows = group.num_rows() as u64;
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(chunk, arrow.clone())
        .with_row_groups(vec![row_group])
        .with_projection(ProjectionMask::leaves(schema, [leaf]))
        .with_batch_size(batch_rows(group.column(leaf), rows))
        .build()?;
    let mut scan = ColumnScan {
        nulls: 0,
        value_bytes: None,
        distinct: DistinctBuilder::new(),
    };
    let mut rows_read = 0;
    for batch in reader {
        let batch = batch?;
        let array: &ArrayRef = batch.column(0);
        rows_read += array.len() as u64;
        scan.nulls += array.logical_null_count() as u64;
        if let Some(bytes) = value_bytes(array) {
            *scan.value_bytes.get_or_insert(0) += bytes;
        }
        hashes.clear();
        hash_distinct(array, hashes);
        scan.distinct.add(hashes);
    }
    if rows_read != rows {
        let name = schema.column(leaf).path().string();
        let message = format!("column {name} has {rows_read} rows in a row group of {rows}");
        return Err(ParquetError::General(message));
    }
    Ok(scan)
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
