//! The footer pass: what a Parquet file says of itself, without reading its data.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use object_store::ObjectMeta;
use object_store::path::Path;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use parquet::file::FOOTER_SIZE;
use parquet::file::metadata::{
    FooterTail, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::schema::types::SchemaDescriptor;
use tokio::task::spawn_blocking;
use twox_hash::XxHash64;

use crate::bounds::{Bound, BoundFold, End};
use crate::file_stats::{FileColumn, Order, RowRange};
use crate::page_index::{page_ranges, with_page_index};
use crate::value::{Family, Value, values_of};
use crate::{StatsError, Store};

/// Bytes read from the end of a file at first. Footers of most files fit, and for those one read is enough.
const FOOTER_GUESS: u64 = 64 * 1024;

/// A file's footer, read and understood.
pub(crate) struct Footer {
    pub(crate) arrow: ArrowReaderMetadata,
    pub(crate) rows: u64,
    pub(crate) schema_fingerprint: u64,
    pub(crate) columns: Vec<FileColumn>,
    /// For each column the index of its first leaf in the Parquet schema.
    pub(crate) leaves: Vec<usize>,
    pub(crate) bytes_read: u64,
    /// Some column chunk has a page index.
    pub(crate) page_index: bool,
}

impl Footer {
    pub(crate) fn metadata(&self) -> &Arc<ParquetMetaData> {
        self.arrow.metadata()
    }
}

/// Reads the footer of a file in one ranged read, or in two where it is larger than 64 KiB.
pub(crate) async fn read_footer(
    store: &Store,
    meta: &ObjectMeta,
    key: &str,
) -> Result<Footer, StatsError> {
    let tail_length = FOOTER_GUESS.min(meta.size);
    if tail_length < FOOTER_SIZE as u64 {
        let message = format!("{} bytes are too few for a footer", meta.size);
        return Err(StatsError::corrupt(key, &message));
    }
    let read = async |path: &Path, range| store.read_range(path, range, key).await;
    let tail = read(&meta.location, meta.size - tail_length..meta.size).await?;
    let mut bytes_read = tail.len() as u64;
    let (before, end) = tail
        .split_last_chunk::<FOOTER_SIZE>()
        .ok_or_else(|| StatsError::corrupt(key, "the store returned fewer bytes than asked for"))?;
    let split = before.len();
    let footer_tail =
        FooterTail::try_new(end).map_err(|source| StatsError::parquet(key, source))?;
    let length = footer_tail.metadata_length();
    let encoded = if length <= split {
        tail.slice(split - length..split)
    } else {
        let end = meta.size - FOOTER_SIZE as u64;
        let start = end
            .checked_sub(length as u64)
            .ok_or_else(|| StatsError::corrupt(key, "the footer is longer than the file"))?;
        let encoded = read(&meta.location, start..end).await?;
        bytes_read += encoded.len() as u64;
        encoded
    };
    let encrypted = footer_tail.is_encrypted_footer();
    let size = meta.size;
    // Decoding is work of its own for wide files, and a panic in it must not end the caller.
    let understood = spawn_blocking(move || {
        if encrypted {
            let message = "its footer is encrypted".to_owned();
            return Err(ParquetError::NYI(message));
        }
        let metadata = ParquetMetaDataReader::decode_metadata(&encoded)?;
        let indexed = with_page_index(&metadata, &tail, size);
        understand(metadata, indexed.as_ref(), bytes_read)
    })
    .await;
    understood
        .map_err(|source| StatsError::worker(key, &source))?
        .map_err(|source| StatsError::parquet(key, source))
}

/// `indexed` is the metadata with its page index, if that is at hand.
fn understand(
    metadata: ParquetMetaData,
    indexed: Option<&ParquetMetaData>,
    bytes_read: u64,
) -> Result<Footer, ParquetError> {
    let arrow = ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new())?;
    let metadata = arrow.metadata();
    let schema = metadata.file_metadata().schema_descr();
    let mut rows = 0u64;
    for group in metadata.row_groups() {
        let group_rows = u64::try_from(group.num_rows());
        let total = group_rows.ok().and_then(|n| rows.checked_add(n));
        rows = total.ok_or_else(|| ParquetError::General("impossible row counts".to_owned()))?;
        if group.num_columns() != schema.num_columns() {
            let message = "a row group lacks columns of the schema".to_owned();
            return Err(ParquetError::General(message));
        }
    }
    let mut leaves = vec![usize::MAX; arrow.schema().fields().len()];
    for leaf in (0..schema.num_columns()).rev() {
        if let Some(first) = leaves.get_mut(schema.get_column_root_idx(leaf)) {
            *first = leaf;
        }
    }
    let fields = arrow.schema().fields();
    let mut columns = Vec::with_capacity(fields.len());
    let mut fingerprint = String::new();
    for (field, &leaf) in fields.iter().zip(&leaves) {
        fingerprint += &format!("{}\0{}\0", field.name(), field.data_type());
        let mut column = column(field, leaf, schema, metadata.row_groups());
        let pages = indexed.filter(|_| column.family != Family::Nested && leaf != usize::MAX);
        if let Some(pages) = pages.and_then(|indexed| page_ranges(indexed, field, leaf)) {
            column.order = order_of(&pages).or(column.order);
            column.ranges = kept(pages);
        }
        columns.push(column);
    }
    let chunks = metadata
        .row_groups()
        .iter()
        .flat_map(|group| group.columns());
    let page_index = chunks
        .into_iter()
        .any(|chunk| chunk.column_index_offset().is_some());
    Ok(Footer {
        rows,
        page_index,
        schema_fingerprint: XxHash64::oneshot(0, fingerprint.as_bytes()),
        columns,
        leaves,
        bytes_read,
        arrow,
    })
}

fn column(
    field: &Field,
    leaf: usize,
    schema: &SchemaDescriptor,
    groups: &[RowGroupMetaData],
) -> FileColumn {
    let mut column = FileColumn::unknown(field.name(), Family::of(field.data_type()));
    // A struct without fields has no leaf, and nothing to say.
    if leaf == usize::MAX {
        return column;
    }
    let nested = column.family == Family::Nested;
    let group_nulls: Vec<_> = groups
        .iter()
        .map(|group| null_count(schema, group, leaf, nested))
        .collect();
    column.null_count = group_nulls.iter().copied().sum();
    if nested {
        return column;
    }
    let occupied: Vec<_> = groups
        .iter()
        .zip(&group_nulls)
        .map(|(group, nulls)| *nulls != Some(group.num_rows() as u64))
        .collect();
    let mins = group_bounds(End::Min, field, leaf, schema, groups, &occupied);
    let maxes = group_bounds(End::Max, field, leaf, schema, groups, &occupied);
    column.min = fold_bounds(End::Min, &mins);
    column.max = fold_bounds(End::Max, &maxes);
    let rows = groups
        .iter()
        .zip(&group_nulls)
        .zip(&occupied)
        .filter(|(_, occupied)| **occupied);
    let rows = rows
        .map(|((group, nulls), _)| (group.num_rows() as u64).saturating_sub(nulls.unwrap_or(0)));
    let ranges: Option<Vec<RowRange>> = mins
        .into_iter()
        .zip(maxes)
        .zip(rows)
        .map(|((min, max), rows)| {
            Some(RowRange {
                min: min.value?,
                max: max.value?,
                rows,
            })
        })
        .collect();
    let ranges = ranges.unwrap_or_default();
    column.order = order_of(&ranges);
    column.ranges = kept(ranges);
    column.value_bytes = groups
        .iter()
        .zip(&group_nulls)
        .map(|(group, nulls)| value_bytes(field.data_type(), group, leaf, nulls.unwrap_or(0)))
        .sum();
    column
}

/// Nulls of a column in a row group.
///
/// For a nested column, each row in which it is null makes one entry at definition level 0 in each of its leaves, so
/// the level histogram counts them, whatever the nulls further down.
fn null_count(
    schema: &SchemaDescriptor,
    group: &RowGroupMetaData,
    leaf: usize,
    nested: bool,
) -> Option<u64> {
    let chunk = group.column(leaf);
    if group.num_rows() == 0 || !schema.get_column_root(leaf).is_optional() {
        return Some(0);
    }
    let at_level_0 = || {
        let count = chunk.definition_level_histogram()?.get(0)?;
        u64::try_from(count).ok()
    };
    let counted = match chunk.statistics() {
        Some(statistics) if !nested => statistics.null_count_opt(),
        _ => None,
    };
    let nulls = counted.or_else(at_level_0)?;
    // Damaged or foreign counts are better unknown than absurd.
    (nulls <= group.num_rows() as u64).then_some(nulls)
}

/// The most ranges kept of a column; neighbours are taken together beyond.
const MOST_RANGES: usize = 64;

/// Ranges worth keeping: several, and of numbers.
fn kept(mut ranges: Vec<RowRange>) -> Vec<RowRange> {
    if ranges.len() < 2 || ranges[0].min.to_f64().is_none() {
        return Vec::new();
    }
    while ranges.len() > MOST_RANGES {
        ranges = ranges.chunks(2).map(union).collect();
    }
    ranges
}

fn union(ranges: &[RowRange]) -> RowRange {
    let mut whole = ranges[0].clone();
    for range in &ranges[1..] {
        if range.min.compare(&whole.min).is_some_and(Ordering::is_lt) {
            whole.min = range.min.clone();
        }
        if range.max.compare(&whole.max).is_some_and(Ordering::is_gt) {
            whole.max = range.max.clone();
        }
        whole.rows += range.rows;
    }
    whole
}

/// How the ranges of successive row groups lie to each other.
fn order_of(ranges: &[RowRange]) -> Option<Order> {
    let follows = |low: fn(&RowRange) -> &Value, high: fn(&RowRange) -> &Value, order: Ordering| {
        ranges
            .windows(2)
            .map(|pair| Some(high(&pair[0]).compare(low(&pair[1]))? != order))
            .collect::<Option<Vec<_>>>()
    };
    if ranges.len() < 2 {
        return None;
    }
    let up = follows(|range| &range.min, |range| &range.max, Ordering::Greater)?;
    let down = follows(|range| &range.max, |range| &range.min, Ordering::Less)?;
    Some(match (up.contains(&false), down.contains(&false)) {
        (false, _) => Order::Ascending,
        (_, false) => Order::Descending,
        _ => Order::Mixed,
    })
}

fn fold_bounds(end: End, bounds: &[Bound]) -> Bound {
    let mut fold = BoundFold::new(end);
    bounds.iter().for_each(|bound| fold.add(bound));
    fold.finish()
}

/// The bounds of each row group that has values.
fn group_bounds(
    end: End,
    field: &Field,
    leaf: usize,
    schema: &SchemaDescriptor,
    groups: &[RowGroupMetaData],
    occupied: &[bool],
) -> Vec<Bound> {
    let unknown = || vec![Bound::default(); occupied.iter().filter(|occupied| **occupied).count()];
    let values = StatisticsConverter::from_column_index(leaf, field, schema).and_then(
        |converter| match end {
            End::Min => converter.row_group_mins(groups),
            End::Max => converter.row_group_maxes(groups),
        },
    );
    let Ok(values) = values else {
        return unknown();
    };
    let family = Family::of(field.data_type());
    let mut bounds = Vec::new();
    for (index, value) in values_of(&values).into_iter().enumerate() {
        if !occupied[index] {
            continue;
        }
        let statistics = groups[index].column(leaf).statistics();
        let ordered = statistics.is_some_and(|statistics| {
            !statistics.is_min_max_deprecated() || is_ordered_by_sign(field.data_type())
        });
        // Only bytes are ever truncated; older writers do not set the flag for other types.
        let exact = family != Family::Bytes
            || statistics.is_some_and(|statistics| match end {
                End::Min => statistics.min_is_exact(),
                End::Max => statistics.max_is_exact(),
            });
        bounds.push(Bound {
            exact: exact && ordered && value.is_some(),
            value: value.filter(|_| ordered),
        });
    }
    bounds
}

/// Old writers ordered all values as signed ones, which is wrong for the rest.
fn is_ordered_by_sign(data_type: &DataType) -> bool {
    use DataType::*;
    match data_type {
        Boolean | Int8 | Int16 | Int32 | Int64 | Float32 | Float64 => true,
        Date32 | Date64 | Time32(_) | Time64(_) | Timestamp(..) => true,
        Dictionary(_, values) => is_ordered_by_sign(values),
        _ => false,
    }
}

/// Bytes of the values that are not null in a row group.
fn value_bytes(
    data_type: &DataType,
    group: &RowGroupMetaData,
    leaf: usize,
    nulls: u64,
) -> Option<u64> {
    let values = u64::try_from(group.num_rows()).ok()?.checked_sub(nulls)?;
    let chunk = group.column(leaf);
    match data_type {
        DataType::Null => Some(0),
        DataType::Boolean => Some(values.div_ceil(8)),
        DataType::FixedSizeBinary(width) => values.checked_mul(u64::try_from(*width).ok()?),
        DataType::Dictionary(_, values) => value_bytes(values, group, leaf, nulls),
        _ => match data_type.primitive_width() {
            Some(width) => values.checked_mul(width as u64),
            // Without the writer's word the encoded size must do; it is too small for dictionaries.
            None => {
                let bytes = chunk.unencoded_byte_array_data_bytes();
                u64::try_from(bytes.unwrap_or(chunk.uncompressed_size())).ok()
            }
        },
    }
}
