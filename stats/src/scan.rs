//! The scan pass: one read of a file's data, column by column.
//!
//! The work is cut into units: columns of one row group whose chunks together take up to 8 MiB as stored, or one
//! larger chunk. A unit's bytes are fetched asynchronously, then decoded and hashed on a blocking thread, one column after
//! the other, so that a column's sketch stays in the cache of its core. Sketches of units are merged into those of the file.
//!
//! Memory: `concurrency` units at once, each with its stored bytes (8 MiB, or one larger column chunk), one batch of decoded values
//! (about 4 MiB), the page and the dictionary that it comes from, and 8 KiB a column for sketches.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::decode::{ColumnScan, Readers, decode_column};
use crate::file_stats::FileColumn;
use crate::footer::Footer;
use crate::ndv::DistinctUnion;
use crate::value::Family;
use crate::{Progress, StatsError, Store};

/// Stored bytes of a unit; enough to make a request to a remote store worth its latency.
const UNIT_BYTES: u64 = 8 << 20;

/// Columns of one row group that are fetched together.
struct Unit {
    row_group: usize,
    /// The file's column, its leaf, and where its chunk lies.
    chunks: Vec<(usize, usize, Range<u64>)>,
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
    let units = plan_units(&metadata, &footer.columns, &footer.leaves)
        .map_err(|source| StatsError::parquet(key, source))?;
    let readers = Readers::new(&footer.arrow);
    let scan_unit = async |unit: Unit| {
        // The semaphore is never closed.
        let _permit = permits.acquire().await;
        let ranges: Vec<_> = unit.chunks.iter().map(|chunk| chunk.2.clone()).collect();
        let fetched = store.inner().get_ranges(path, &ranges).await;
        let fetched = fetched.map_err(|source| StatsError::store(key, source))?;
        let bytes = fetched.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
        progress.bytes(bytes);
        let readers = readers.clone();
        let scanned = spawn_blocking(move || decode_unit(&unit, fetched, &readers)).await;
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

fn decode_unit(
    unit: &Unit,
    fetched: Vec<Bytes>,
    readers: &Readers,
) -> Result<Vec<(usize, ColumnScan)>, ParquetError> {
    let chunks = unit.chunks.iter().zip(fetched);
    chunks
        .map(|((index, leaf, range), bytes)| {
            let scan = decode_column(unit.row_group, *leaf, range.start, bytes, readers)?;
            Ok((*index, scan))
        })
        .collect()
}
