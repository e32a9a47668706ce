//! Column chunks that are dictionary-encoded as a whole, read as what they are: a dictionary and a key a row.
//!
//! Parquet's readers look each key up in the dictionary. Here they are given another dictionary, in which each key stands for itself,
//! so that what they return are the keys. Strings need none of this: Arrow's reader knows dictionaries of them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Float64Array,
    Int32Array, Int64Array,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Int32Type};
use bytes::Bytes;
use parquet::basic::{Encoding, Type as PhysicalType};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::Int32Type as Key;
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::schema::types::{ColumnDescriptor, Type};

/// Compressed bytes of a dictionary that is always worth its while.
const SMALL_DICTIONARY: i64 = 64 << 10;

/// Whether the chunk holds values of a type that is known here, in pages that are all dictionary-encoded, and few enough of them that it
/// is better to count keys than values.
pub(crate) fn is_coded(chunk: &ColumnChunkMetaData, data_type: &DataType) -> bool {
    let column = chunk.column_descr();
    let known = match (chunk.column_type(), data_type) {
        (PhysicalType::INT32, DataType::Int32 | DataType::Date32)
        | (PhysicalType::INT64, DataType::Int64)
        | (PhysicalType::FLOAT, DataType::Float32)
        | (PhysicalType::DOUBLE, DataType::Float64) => true,
        (PhysicalType::INT32 | PhysicalType::INT64, DataType::Decimal128(_, scale)) => {
            column.type_scale() == i32::from(*scale)
        }
        _ => false,
    };
    let flat = column.max_rep_level() == 0 && column.max_def_level() <= 1;
    known && flat && has_coded_pages_alone(chunk) && {
        let start = chunk.dictionary_page_offset().unwrap_or(0);
        let dictionary = chunk.data_page_offset().saturating_sub(start);
        dictionary <= SMALL_DICTIONARY.max(chunk.compressed_size() / 4)
    }
}

/// All data pages are encoded by the chunk's dictionary.
pub(crate) fn has_coded_pages_alone(chunk: &ColumnChunkMetaData) -> bool {
    chunk.dictionary_page_offset().is_some()
        && chunk.page_encoding_stats_mask().is_some_and(|encodings| {
            encodings.is_only(Encoding::RLE_DICTIONARY)
                || encodings.is_only(Encoding::PLAIN_DICTIONARY)
        })
}

fn is_dictionary(encoding: Encoding) -> bool {
    matches!(
        encoding,
        Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY
    )
}

/// Reads a chunk for which [`is_coded`] holds, a batch of rows at a time.
pub(crate) struct CodedReader {
    entries: ArrayRef,
    keys: ColumnReaderImpl<Key>,
    nullable: bool,
}

impl CodedReader {
    pub(crate) fn new(
        chunk: &ColumnChunkMetaData,
        data_type: &DataType,
        mut pages: impl PageReader + 'static,
    ) -> Result<Self, ParquetError> {
        let Some(Page::DictionaryPage {
            buf, num_values, ..
        }) = pages.get_next_page()?
        else {
            return Err(broken("does not begin with its dictionary"));
        };
        let entries = entries(&buf, num_values as usize, chunk.column_type(), data_type)?;
        let positions = (0..num_values).flat_map(u32::to_le_bytes);
        let pages = Recoded {
            dictionary: Some(Page::DictionaryPage {
                buf: positions.collect::<Vec<u8>>().into(),
                num_values,
                encoding: Encoding::PLAIN,
                is_sorted: true,
            }),
            rest: pages,
        };
        let column = chunk.column_descr();
        let as_key = Type::primitive_type_builder(column.name(), PhysicalType::INT32).build()?;
        let levels = (column.max_def_level(), column.max_rep_level());
        let column =
            ColumnDescriptor::new(Arc::new(as_key), levels.0, levels.1, column.path().clone());
        Ok(Self {
            entries,
            keys: ColumnReaderImpl::new(Arc::new(column), Box::new(pages)),
            nullable: levels.0 > 0,
        })
    }

    /// The next rows, at most so many, as a dictionary array; all arrays share their values. `None` after the last row.
    pub(crate) fn next(&mut self, rows: usize) -> Result<Option<ArrayRef>, ParquetError> {
        let mut keys = Vec::with_capacity(rows);
        let mut levels = self.nullable.then(|| Vec::with_capacity(rows));
        let (read, _, _) = self
            .keys
            .read_records(rows, levels.as_mut(), None, &mut keys)?;
        if read == 0 {
            return Ok(None);
        }
        let nulls = levels.filter(|_| keys.len() < read).map(|levels| {
            let mut present = keys.drain(..);
            let spread = levels.iter().map(|&level| match level {
                0 => 0,
                _ => present.next().unwrap_or_default(),
            });
            let spread = spread.collect();
            drop(present);
            keys = spread;
            NullBuffer::from_iter(levels.into_iter().map(|level| level > 0))
        });
        if keys.len() != read {
            return Err(broken("lacks values"));
        }
        let keys = Int32Array::try_new(ScalarBuffer::from(keys), nulls)?;
        let array = DictionaryArray::<Int32Type>::try_new(keys, Arc::clone(&self.entries))?;
        Ok(Some(Arc::new(array)))
    }
}

fn broken(what: &str) -> ParquetError {
    ParquetError::General(format!("a dictionary-encoded column chunk {what}"))
}

/// The values of a dictionary page, which are plainly encoded.
fn entries(
    page: &Bytes,
    count: usize,
    stored: PhysicalType,
    data_type: &DataType,
) -> Result<ArrayRef, ParquetError> {
    fn plain<const WIDTH: usize, T>(
        page: &Bytes,
        count: usize,
        value: impl Fn([u8; WIDTH]) -> T,
    ) -> Result<Vec<T>, ParquetError> {
        let values = page.as_chunks().0.get(..count);
        let values = values.ok_or_else(|| broken("has a dictionary that ends too soon"))?;
        Ok(values.iter().map(|bytes| value(*bytes)).collect())
    }
    let array: ArrayRef = match (stored, data_type) {
        (PhysicalType::INT32, DataType::Int32) => {
            Arc::new(Int32Array::from(plain(page, count, i32::from_le_bytes)?))
        }
        (PhysicalType::INT32, DataType::Date32) => {
            Arc::new(Date32Array::from(plain(page, count, i32::from_le_bytes)?))
        }
        (PhysicalType::INT64, DataType::Int64) => {
            Arc::new(Int64Array::from(plain(page, count, i64::from_le_bytes)?))
        }
        (PhysicalType::FLOAT, DataType::Float32) => {
            Arc::new(Float32Array::from(plain(page, count, f32::from_le_bytes)?))
        }
        (PhysicalType::DOUBLE, DataType::Float64) => {
            Arc::new(Float64Array::from(plain(page, count, f64::from_le_bytes)?))
        }
        (stored, &DataType::Decimal128(precision, scale)) => {
            let values = match stored {
                PhysicalType::INT32 => {
                    plain(page, count, |bytes| i128::from(i32::from_le_bytes(bytes)))?
                }
                PhysicalType::INT64 => {
                    plain(page, count, |bytes| i128::from(i64::from_le_bytes(bytes)))?
                }
                _ => return Err(broken("is of an unexpected type")),
            };
            let array = Decimal128Array::from(values);
            Arc::new(array.with_precision_and_scale(precision, scale)?)
        }
        _ => return Err(broken("is of an unexpected type")),
    };
    Ok(array)
}

/// The pages of a chunk with another dictionary.
struct Recoded<R> {
    dictionary: Option<Page>,
    rest: R,
}

impl<R: PageReader> Iterator for Recoded<R> {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl<R: PageReader> PageReader for Recoded<R> {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        if let Some(dictionary) = self.dictionary.take() {
            return Ok(Some(dictionary));
        }
        match self.rest.get_next_page()? {
            Some(page) if !(page.is_data_page() && is_dictionary(page.encoding())) => {
                Err(broken("has a page of another kind"))
            }
            page => Ok(page),
        }
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        match &self.dictionary {
            Some(_) => Ok(Some(PageMetadata {
                num_rows: None,
                num_levels: None,
                is_dict: true,
            })),
            None => self.rest.peek_next_page(),
        }
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        match self.dictionary.take() {
            Some(_) => Ok(()),
            None => self.rest.skip_next_page(),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, RecordBatch};
    use arrow::compute::{cast, concat};
    use arrow::datatypes::{Field, Schema};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
    use parquet::file::properties::{WriterProperties, WriterVersion};

    use super::*;
    use crate::decode::{Readers, decode_column};
    use crate::hash::mix;

    const ROWS: u64 = 30_000;

    fn write(array: &ArrayRef, properties: WriterProperties) -> Bytes {
        let nullable = array.null_count() > 0;
        let field = Field::new("values", array.data_type().clone(), nullable);
        let schema = Arc::new(Schema::new(vec![field]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::clone(array)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap().into()
    }

    /// The values come back, as a dictionary or not, from all kinds of pages.
    fn check(array: impl Array + 'static, coded: bool) {
        let array: ArrayRef = Arc::new(array);
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let properties = WriterProperties::builder()
                .set_writer_version(version)
                .set_data_page_row_count_limit(7_000)
                .build();
            let file = write(&array, properties);
            let arrow = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).unwrap();
            let readers = Readers::new(&arrow);
            let chunk = readers.chunk(0, 0);
            assert_eq!(is_coded(chunk, array.data_type()), coded);
            let (start, length) = chunk.byte_range();
            let bytes = file.slice(start as usize..(start + length) as usize);
            let mut pieces = Vec::new();
            decode_column(0, 0, start, bytes.clone(), &readers, |_, piece| {
                assert_eq!(matches!(piece.data_type(), DataType::Dictionary(..)), coded);
                pieces.push(cast(piece, array.data_type()).unwrap());
                Ok(())
            })
            .unwrap();
            let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
            assert_eq!(&concat(&pieces).unwrap(), &array);
            // Damaged bytes are errors or other values, and never a panic. (Of Parquet's own readers some do panic.)
            let damages = if coded { 200 } else { 0 };
            for seed in 0..damages {
                let mut damaged = bytes.to_vec();
                let at = mix(seed) as usize % damaged.len();
                damaged[at] ^= 1 << (seed % 8);
                let _ = decode_column(0, 0, start, damaged.into(), &readers, |_, _| Ok(()));
            }
        }
    }

    #[test]
    fn values_come_back() {
        let of = |row: u64| (mix(row) % 100) as i32 - 50;
        let some = |row: u64| (row % 1_000 > 20 && !row.is_multiple_of(7)).then(|| of(row));
        let longs = |row: u64| some(row).map(i64::from);
        check(Int32Array::from_iter_values((0..ROWS).map(of)), true);
        check(Int32Array::from_iter((0..ROWS).map(some)), true);
        check(Int64Array::from_iter((0..ROWS).map(longs)), true);
        check(Date32Array::from_iter((0..ROWS).map(some)), true);
        check(
            Int64Array::from_iter_values((0..ROWS).map(|row| row as i64 / 9_000)),
            true,
        );
        check(Int64Array::from(vec![7; ROWS as usize]), true);
        check(
            Float64Array::from_iter((0..ROWS).map(|row| some(row).map(f64::from))),
            true,
        );
        check(
            Float32Array::from_iter((0..ROWS).map(|row| some(row).map(|value| value as f32))),
            true,
        );
        for precision in [7, 12] {
            let values =
                Decimal128Array::from_iter((0..ROWS).map(|row| longs(row).map(i128::from)));
            check(values.with_precision_and_scale(precision, 2).unwrap(), true);
        }
        // Too wide to be stored as an integer, of too many values, or of none at all.
        let values = Decimal128Array::from_iter((0..ROWS).map(|row| longs(row).map(i128::from)));
        check(values.with_precision_and_scale(30, 2).unwrap(), false);
        check(
            Int64Array::from_iter_values((0..ROWS).map(|row| mix(row) as i64)),
            false,
        );
    }
}
