//! The parts of a cache entry that are read only when an estimate needs them, and how they are packed.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::degrees::{DegreeVector, StoredDegrees};
use crate::histogram::{Bucket, Histogram};
use crate::mcv::StoredMcv;
use crate::ndv::DistinctSketch;
use crate::value::Value;

/// Level of zstd: higher ones gain little on rows this short and take several times as long.
const LEVEL: i32 = 3;

/// No part unpacks to more; what claims to is damaged.
const MOST_UNPACKED: usize = 1 << 30;

/// What a part holds.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum PartKind {
    /// NDV sketch, common values and histogram of a column.
    Column,
    /// Rows of least priority, all columns.
    Sample,
    /// Norms and bins of a key column's degrees.
    Degrees,
    /// Each key of a column with its degree.
    DegreeVector,
    /// Key columns of a file of middling size, all rows.
    Keys,
    /// A key column of strings of the same rows.
    TextKeys,
    /// The other columns of the same rows, in 256 values each.
    Codes,
    /// Fingerprints of a column of strings of the same rows.
    Fingerprints,
    /// Rows whose key hashes below a bound, all columns.
    KeySample,
}

/// Where a part lies in its entry, and what is in it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub(crate) struct PartInfo {
    pub(crate) kind: PartKind,
    /// The column by its place in the file; 0 for parts of all columns.
    pub(crate) column: u32,
    /// Samples come in tiers that add up, the most valuable one first.
    pub(crate) tier: u8,
    /// Priorities of a sample's rows, or hashes of a key sample's, lie below this in all tiers up to this one.
    pub(crate) below: u64,
    /// Rows, or keys.
    pub(crate) rows: u64,
    /// From the end of the entry's head.
    pub(crate) offset: u64,
    pub(crate) length: u64,
    /// XXH64 of the part.
    pub(crate) checksum: u64,
}

/// A part that was just made.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) kind: PartKind,
    pub(crate) column: u32,
    pub(crate) tier: u8,
    pub(crate) below: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: Bytes,
}

/// A part of kind [`PartKind::Column`].
#[derive(Serialize, Deserialize)]
pub(crate) struct ColumnPart {
    pub(crate) distinct: DistinctSketch,
    pub(crate) mcv: StoredMcv,
    pub(crate) histogram: StoredHistogram,
}

/// A part of kind [`PartKind::Degrees`].
#[derive(Serialize, Deserialize)]
pub(crate) struct DegreesPart {
    pub(crate) degrees: StoredDegrees,
    /// The vector's keys are packed as integers.
    pub(crate) integers: bool,
}

/// Rows with their numbers in the file: a part of kind [`PartKind::Sample`].
#[derive(Serialize, Deserialize)]
pub(crate) struct SamplePart {
    /// The unique column by whose hashes the rows were chosen; by their numbers otherwise.
    pub(crate) by_key: Option<String>,
    /// Differences from one number to the next; empty for all rows of a file.
    pub(crate) rows: Vec<u32>,
    pub(crate) table: Vec<u8>,
}

/// A histogram at rest, in whole rows.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredHistogram {
    ends: Vec<Value>,
    below: Vec<u64>,
    equal: Vec<u64>,
    rank_error: f64,
}

impl StoredHistogram {
    pub(crate) fn new(histogram: &Histogram) -> Self {
        let mut stored = Self {
            ends: Vec::new(),
            below: Vec::new(),
            equal: Vec::new(),
            rank_error: histogram.rank_error,
        };
        // Sums are rounded, not rows, so that roundings do not add up.
        let (mut sum, mut whole) = (0.0, 0);
        let mut rounded = |rows: f64| {
            sum += rows;
            let before = std::mem::replace(&mut whole, f64::round(sum) as u64);
            whole.saturating_sub(before)
        };
        for bucket in &histogram.buckets {
            stored.ends.push(bucket.upper.clone());
            stored.below.push(rounded(bucket.below));
            stored.equal.push(rounded(bucket.equal));
        }
        stored
    }

    pub(crate) fn into_histogram(self) -> Histogram {
        let rows = self.below.into_iter().zip(self.equal);
        let bucket = |(upper, (below, equal)): (Value, (u64, u64))| Bucket {
            upper,
            below: below as f64,
            equal: equal as f64,
        };
        Histogram {
            buckets: self.ends.into_iter().zip(rows).map(bucket).collect(),
            rank_error: self.rank_error,
        }
    }
}

/// Packs a value.
pub(crate) fn pack<T: Serialize>(value: &T) -> Result<Bytes, ParquetError> {
    let plain = postcard::to_stdvec(value).map_err(|error| ParquetError::External(error.into()))?;
    pack_bytes(&plain)
}

/// Packs bytes, which may come out a little larger if they have no structure.
pub(crate) fn pack_bytes(plain: &[u8]) -> Result<Bytes, ParquetError> {
    let packed =
        zstd::bulk::compress(plain, LEVEL).map_err(|error| ParquetError::External(error.into()))?;
    let mut bytes = Vec::with_capacity(packed.len() + 8);
    bytes.extend_from_slice(&(plain.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&packed);
    Ok(bytes.into())
}

/// Unpacks what [`pack_bytes`] made; `None` for anything else.
pub(crate) fn unpack_bytes(bytes: &[u8]) -> Option<Vec<u8>> {
    let (length, packed) = bytes.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    if length > MOST_UNPACKED {
        return None;
    }
    let plain = zstd::bulk::decompress(packed, length).ok()?;
    (plain.len() == length).then_some(plain)
}

/// Unpacks what [`pack`] made; `None` for anything else.
pub(crate) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    postcard::from_bytes(&unpack_bytes(bytes)?).ok()
}

/// Unpacks a degree vector.
pub(crate) fn unpack_vector(bytes: &[u8], keys: u64, integers: bool) -> Option<DegreeVector> {
    DegreeVector::decode(&unpack_bytes(bytes)?, usize::try_from(keys).ok()?, integers)
}

/// Packs rows as a small Parquet file. `distinct` tells the number of distinct values of each column where it is known.
pub(crate) fn pack_rows(
    batch: &RecordBatch,
    distinct: &[Option<f64>],
) -> Result<Vec<u8>, ParquetError> {
    let rows = batch.num_rows() as f64;
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(LEVEL)?))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_created_by(String::new());
    for (field, distinct) in batch.schema().fields().iter().zip(distinct) {
        // Integers that seldom repeat are closer together than entries of a dictionary would be.
        let integers = field.data_type().is_integer() || field.data_type().is_temporal();
        if integers && distinct.is_none_or(|distinct| distinct * 4.0 > rows) {
            let path = ColumnPath::new(vec![field.name().clone()]);
            properties = properties.set_column_dictionary_enabled(path, false);
        }
    }
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties.build()))?;
    writer.write(batch)?;
    writer.close()?;
    Ok(bytes)
}

/// Unpacks rows; `None` for what is no Parquet file of `rows` rows.
pub(crate) fn unpack_rows(bytes: Bytes, rows: u64) -> Option<RecordBatch> {
    let rows = usize::try_from(rows).ok()?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).ok()?;
    let schema: SchemaRef = builder.schema().clone();
    if builder.metadata().file_metadata().num_rows() != rows as i64 {
        return None;
    }
    let reader = builder.with_batch_size(rows.max(1)).build().ok()?;
    let batches: Vec<_> = reader.collect::<Result<_, _>>().ok()?;
    let batch = arrow::compute::concat_batches(&schema, &batches).ok()?;
    (batch.num_rows() == rows).then_some(batch)
}

/// Types that a small Parquet file cannot hold are left out of samples.
pub(crate) fn can_be_packed(data_type: &DataType) -> bool {
    !matches!(data_type, DataType::Null | DataType::Interval(_)) && !data_type.is_nested()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::*;
    use arrow::datatypes::{Field, Float16Type, Schema, i256};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rows_of_every_type_survive_packing() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(BooleanArray::from(vec![Some(true), None])),
            Arc::new(Int8Array::from(vec![Some(-1), None])),
            Arc::new(UInt64Array::from(vec![u64::MAX, 0])),
            Arc::new(Float16Array::from_iter_values([1.0f32, -0.0].map(
                <Float16Type as arrow::datatypes::ArrowPrimitiveType>::Native::from_f32,
            ))),
            Arc::new(Float64Array::from(vec![f64::NAN, 1.0])),
            Arc::new(
                Decimal32Array::from(vec![1, 2])
                    .with_precision_and_scale(9, 2)
                    .unwrap(),
            ),
            Arc::new(Decimal256Array::from(vec![i256::MAX, i256::from(2)])),
            Arc::new(Date32Array::from(vec![1, 2])),
            Arc::new(Date64Array::from(vec![86_400_000, 0])),
            Arc::new(Time64NanosecondArray::from(vec![1, 2])),
            Arc::new(TimestampMicrosecondArray::from(vec![1, 2]).with_timezone("Europe/Berlin")),
            Arc::new(DurationSecondArray::from(vec![1, 2])),
            Arc::new(StringArray::from(vec![Some(""), None])),
            Arc::new(BinaryArray::from(vec![Some(&b"\0"[..]), None])),
            Arc::new(FixedSizeBinaryArray::try_from_iter([[1u8, 2], [3, 4]].iter()).unwrap()),
        ];
        let field = |(i, array): (usize, &ArrayRef)| {
            Field::new(format!("c{i}"), array.data_type().clone(), true)
        };
        let schema = Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>());
        assert!(
            schema
                .fields()
                .iter()
                .all(|field| can_be_packed(field.data_type()))
        );
        let batch = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
        let packed = pack_rows(&batch, &vec![None; batch.num_columns()]).unwrap();
        let unpacked = unpack_rows(packed.clone().into(), 2).unwrap();
        assert_eq!(unpacked.columns(), batch.columns());
        assert!(unpack_rows(packed.into(), 3).is_none());
        let none = batch.slice(0, 0);
        let packed = pack_rows(&none, &vec![None; none.num_columns()]).unwrap();
        assert_eq!(unpack_rows(packed.into(), 0).unwrap().num_rows(), 0);
    }

    proptest! {
        #[test]
        fn noise_is_no_part(noise in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = unpack::<ColumnPart>(&noise);
            let _ = unpack_vector(&noise, 5, true);
            prop_assert!(unpack_rows(noise.into(), 1).is_none());
        }
    }
}
