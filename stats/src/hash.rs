//! Hashes of values, one way for each family of types, so that sketches of different files merge.
//!
//! Equal values hash equally whatever their width or layout: `Int32` and `Int64`, `Utf8`, `Utf8View` and dictionaries, decimals
//! of any width and one scale, floats of any width. `-0.0` counts as `0.0`, and all NaNs as one value. Nulls have no hash.
//!
//! Hashes are stored, through sketches, in cache entries: a change here needs a new format version of the cache.

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, GenericByteArray, GenericByteViewArray,
    PrimitiveArray, downcast_dictionary_array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::*;
use twox_hash::XxHash64;

/// Spreads an integer over all 64 bits (the finalizer of SplitMix64, Steele et al. 2014). A bijection.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

pub(crate) fn hash_i64(value: i64) -> u64 {
    mix(value as u64)
}

/// Like [`hash_i64`] where the value fits, so that widths do not matter.
pub(crate) fn hash_i128(value: i128) -> u64 {
    match i64::try_from(value) {
        Ok(value) => hash_i64(value),
        Err(_) => mix(mix((value >> 64) as u64) ^ value as u64),
    }
}

fn hash_i256(value: i256) -> u64 {
    match value.to_i128() {
        Some(value) => hash_i128(value),
        None => hash_bytes(&value.to_le_bytes()),
    }
}

pub(crate) fn hash_f64(value: f64) -> u64 {
    // Adding zero turns -0.0 into 0.0.
    let value = if value.is_nan() {
        f64::NAN
    } else {
        value + 0.0
    };
    mix(value.to_bits())
}

pub(crate) fn hash_bytes(value: &[u8]) -> u64 {
    XxHash64::oneshot(0, value)
}

/// The hash of a null: never to be counted, only to keep rows aligned.
const NULL: u64 = 0;

/// Inverts [`mix`].
pub(crate) fn unmix(hash: u64) -> u64 {
    let value = hash ^ (hash >> 31) ^ (hash >> 62);
    let value = value.wrapping_mul(0x3196_42b2_d24d_8ec3);
    let value = value ^ (value >> 27) ^ (value >> 54);
    let value = value.wrapping_mul(0x96de_1b17_3f11_9089);
    let value = value ^ (value >> 30) ^ (value >> 60);
    value.wrapping_sub(0x9e37_79b9_7f4a_7c15)
}

/// Appends one hash a row; what stands where a value is null means nothing.
///
/// Returns false, and appends nothing, for types without hashes (nested, run-end encoded).
pub(crate) fn hash_rows(array: &dyn Array, out: &mut Vec<u64>) -> bool {
    match array.data_type() {
        DataType::Null => out.resize(out.len() + array.len(), NULL),
        DataType::Boolean => {
            let values = array.as_boolean().values();
            let hashes = [hash_i64(0), hash_i64(1)];
            out.extend(values.iter().map(|value| hashes[usize::from(value)]));
        }
        DataType::Int8 => primitive::<Int8Type>(array, out, |v| hash_i64(v.into())),
        DataType::Int16 => primitive::<Int16Type>(array, out, |v| hash_i64(v.into())),
        DataType::Int32 => primitive::<Int32Type>(array, out, |v| hash_i64(v.into())),
        DataType::Int64 => primitive::<Int64Type>(array, out, hash_i64),
        DataType::UInt8 => primitive::<UInt8Type>(array, out, |v| hash_i64(v.into())),
        DataType::UInt16 => primitive::<UInt16Type>(array, out, |v| hash_i64(v.into())),
        DataType::UInt32 => primitive::<UInt32Type>(array, out, |v| hash_i64(v.into())),
        DataType::UInt64 => primitive::<UInt64Type>(array, out, |v| hash_i128(v.into())),
        DataType::Float16 => primitive::<Float16Type>(array, out, |v| hash_f64(v.to_f64())),
        DataType::Float32 => primitive::<Float32Type>(array, out, |v| hash_f64(v.into())),
        DataType::Float64 => primitive::<Float64Type>(array, out, hash_f64),
        DataType::Decimal32(..) => {
            primitive::<Decimal32Type>(array, out, |v| hash_i64(v.into()));
        }
        DataType::Decimal64(..) => primitive::<Decimal64Type>(array, out, hash_i64),
        DataType::Decimal128(..) => primitive::<Decimal128Type>(array, out, hash_i128),
        DataType::Decimal256(..) => primitive::<Decimal256Type>(array, out, hash_i256),
        DataType::Date32 => primitive::<Date32Type>(array, out, |v| hash_i64(v.into())),
        DataType::Date64 => primitive::<Date64Type>(array, out, hash_i64),
        DataType::Time32(unit) => match unit {
            TimeUnit::Second => primitive::<Time32SecondType>(array, out, |v| hash_i64(v.into())),
            _ => primitive::<Time32MillisecondType>(array, out, |v| hash_i64(v.into())),
        },
        DataType::Time64(unit) => match unit {
            TimeUnit::Microsecond => primitive::<Time64MicrosecondType>(array, out, hash_i64),
            _ => primitive::<Time64NanosecondType>(array, out, hash_i64),
        },
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => primitive::<TimestampSecondType>(array, out, hash_i64),
            TimeUnit::Millisecond => primitive::<TimestampMillisecondType>(array, out, hash_i64),
            TimeUnit::Microsecond => primitive::<TimestampMicrosecondType>(array, out, hash_i64),
            TimeUnit::Nanosecond => primitive::<TimestampNanosecondType>(array, out, hash_i64),
        },
        DataType::Duration(unit) => match unit {
            TimeUnit::Second => primitive::<DurationSecondType>(array, out, hash_i64),
            TimeUnit::Millisecond => primitive::<DurationMillisecondType>(array, out, hash_i64),
            TimeUnit::Microsecond => primitive::<DurationMicrosecondType>(array, out, hash_i64),
            TimeUnit::Nanosecond => primitive::<DurationNanosecondType>(array, out, hash_i64),
        },
        DataType::Interval(unit) => match unit {
            IntervalUnit::YearMonth => {
                primitive::<IntervalYearMonthType>(array, out, |v| hash_i64(v.into()));
            }
            IntervalUnit::DayTime => primitive::<IntervalDayTimeType>(array, out, |v| {
                mix(hash_i64(v.days.into()) ^ v.milliseconds as u64)
            }),
            IntervalUnit::MonthDayNano => primitive::<IntervalMonthDayNanoType>(array, out, |v| {
                mix(mix(hash_i64(v.months.into()) ^ v.days as u64) ^ v.nanoseconds as u64)
            }),
        },
        DataType::Utf8 => bytes(array.as_bytes::<Utf8Type>(), out),
        DataType::LargeUtf8 => bytes(array.as_bytes::<LargeUtf8Type>(), out),
        DataType::Binary => bytes(array.as_bytes::<BinaryType>(), out),
        DataType::LargeBinary => bytes(array.as_bytes::<LargeBinaryType>(), out),
        DataType::Utf8View => views(array.as_byte_view::<StringViewType>(), out),
        DataType::BinaryView => views(array.as_byte_view::<BinaryViewType>(), out),
        DataType::FixedSizeBinary(_) => {
            let array = array.as_fixed_size_binary();
            slices(array.iter(), out);
        }
        DataType::Dictionary(..) => return dictionary(array, out),
        _ => return false,
    }
    true
}

fn primitive<T: ArrowPrimitiveType>(
    array: &dyn Array,
    out: &mut Vec<u64>,
    hash: impl Fn(T::Native) -> u64,
) {
    let array: &PrimitiveArray<T> = array.as_primitive();
    out.extend(array.values().iter().map(|&value| hash(value)));
}

fn bytes<T: ByteArrayType>(array: &GenericByteArray<T>, out: &mut Vec<u64>) {
    slices(array.iter().map(|value| value.map(AsRef::as_ref)), out);
}

fn views<T: ByteViewType>(array: &GenericByteViewArray<T>, out: &mut Vec<u64>) {
    slices(array.iter().map(|value| value.map(AsRef::as_ref)), out);
}

fn slices<'a>(values: impl Iterator<Item = Option<&'a [u8]>>, out: &mut Vec<u64>) {
    // Sorted and clustered columns repeat themselves.
    let mut last: (&[u8], u64) = (&[], hash_bytes(&[]));
    out.extend(values.map(|value| match value {
        None => NULL,
        Some(value) => {
            if value != last.0 {
                last = (value, hash_bytes(value));
            }
            last.1
        }
    }));
}

/// Hashes each entry of a dictionary once.
fn dictionary(array: &dyn Array, out: &mut Vec<u64>) -> bool {
    let mut entries = Vec::new();
    downcast_dictionary_array!(
        array => {
            if !hash_rows(array.values(), &mut entries) {
                return false;
            }
            // Keys of nulls may lie anywhere.
            let hash = |key: Option<usize>| key.and_then(|key| entries.get(key).copied()).unwrap_or(NULL);
            out.extend((0..array.len()).map(|row| hash(array.key(row))));
            true
        }
        _ => false
    )
}

/// Bytes of the values that are not null, without encoding, for types whose values differ in size.
pub(crate) fn value_bytes(array: &ArrayRef) -> Option<u64> {
    fn sum<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> Option<u64> {
        Some(values.flatten().map(|value| value.len() as u64).sum())
    }
    match array.data_type() {
        DataType::Utf8 => sum(array
            .as_string::<i32>()
            .iter()
            .map(|v| v.map(str::as_bytes))),
        DataType::LargeUtf8 => sum(array
            .as_string::<i64>()
            .iter()
            .map(|v| v.map(str::as_bytes))),
        DataType::Binary => sum(array.as_binary::<i32>().iter()),
        DataType::LargeBinary => sum(array.as_binary::<i64>().iter()),
        DataType::Utf8View => Some(view_bytes(array.as_string_view().views(), array.nulls())),
        DataType::BinaryView => Some(view_bytes(array.as_binary_view().views(), array.nulls())),
        _ => None,
    }
}

/// The low 32 bits of a view are the length of its value.
fn view_bytes(views: &[u128], nulls: Option<&NullBuffer>) -> u64 {
    let length = |view: &u128| u64::from(*view as u32);
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        None => views.iter().map(length).sum(),
        Some(nulls) => nulls.valid_indices().map(|i| length(&views[i])).sum(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use arrow::array::*;
    use arrow::compute::cast;

    use super::*;

    fn distinct(array: &ArrayRef) -> BTreeSet<u64> {
        let mut hashes = Vec::new();
        assert!(hash_rows(array, &mut hashes), "{}", array.data_type());
        assert_eq!(hashes.len(), array.len());
        let nulls = array.logical_nulls();
        let valid = |row: &usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row));
        (0..array.len())
            .filter(valid)
            .map(|row| hashes[row])
            .collect()
    }

    /// The array has this many distinct values, and the same hashes in the other layouts.
    fn check(array: impl Array + 'static, count: usize, layouts: &[DataType]) {
        let array: ArrayRef = Arc::new(array);
        let expected = distinct(&array);
        assert_eq!(expected.len(), count, "{}", array.data_type());
        for layout in layouts {
            let other = cast(&array, layout).unwrap();
            assert_eq!(distinct(&other), expected, "{layout}");
        }
    }

    fn dictionary(key: DataType, value: DataType) -> DataType {
        DataType::Dictionary(Box::new(key), Box::new(value))
    }

    #[test]
    fn layouts_and_widths_do_not_matter() {
        use DataType::*;
        let ints = Int8Array::from(vec![Some(1), Some(0), None, Some(100), Some(1)]);
        let widths = [Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64];
        check(ints.clone(), 3, &widths);
        check(
            ints,
            3,
            &[dictionary(UInt8, Int32), dictionary(Int64, UInt64)],
        );
        check(Int64Array::from(vec![-1, i64::MIN]), 2, &[]);
        let texts = vec![
            Some("a"),
            Some("a"),
            None,
            Some(""),
            Some("longer than a view"),
        ];
        let layouts = [LargeUtf8, Utf8View, Binary, LargeBinary, BinaryView];
        check(StringArray::from(texts.clone()), 3, &layouts);
        check(
            StringArray::from(texts),
            3,
            &[dictionary(Int16, Utf8), dictionary(UInt32, Utf8View)],
        );
        let fixed = FixedSizeBinaryArray::try_from_iter(["ab", "ab", "cd"].iter()).unwrap();
        check(fixed, 2, &[Binary, BinaryView]);
        let decimals = Decimal128Array::from(vec![-150, 99, -150]);
        let decimals = decimals.with_precision_and_scale(9, 2).unwrap();
        check(
            decimals,
            2,
            &[Decimal32(9, 2), Decimal64(9, 2), Decimal256(40, 2)],
        );
        let floats = Float32Array::from(vec![0.0, -0.0, f32::NAN, -f32::NAN, 0.5]);
        check(floats, 3, &[Float16, Float64]);
        check(
            BooleanArray::from(vec![Some(true), None, Some(false)]),
            2,
            &[],
        );
        check(BooleanArray::from(vec![None, Some(false)]), 1, &[]);
        check(NullArray::new(4), 0, &[]);
    }

    #[test]
    fn slices_and_unused_entries_are_respected() {
        let texts = StringViewArray::from(vec!["a", "b", "c", "d"]);
        check(texts.slice(1, 2), 2, &[DataType::Utf8]);
        let ints = Int32Array::from(vec![Some(1), None, Some(3), Some(4)]);
        check(ints.slice(1, 2), 1, &[DataType::Int64]);
        let keys = UInt8Array::from(vec![Some(2), None, Some(2)]);
        let entries = Arc::new(StringArray::from(vec!["x", "y", "z"]));
        check(DictionaryArray::new(keys, entries), 1, &[DataType::Utf8]);
    }

    #[test]
    fn widths_of_values() {
        let check = |array: ArrayRef, expected| assert_eq!(value_bytes(&array), expected);
        let texts = vec![Some("ab"), None, Some("longer than a view")];
        for layout in [
            DataType::Utf8,
            DataType::LargeUtf8,
            DataType::Utf8View,
            DataType::BinaryView,
        ] {
            let array: ArrayRef = Arc::new(StringArray::from(texts.clone()));
            check(cast(&array, &layout).unwrap(), Some(20));
        }
        check(Arc::new(Int32Array::from(vec![1])), None);
    }

    /// Entries on disk hold these hashes: if this fails, the cache needs a new format version.
    #[test]
    fn hashes_are_stable() {
        assert_eq!(hash_i64(1), 0x910a_2dec_8902_5cc1);
        assert_eq!(hash_bytes(b""), 0xef46_db37_51d8_e999);
        assert_eq!(hash_f64(-0.0), mix(0));
        for value in [0, 1, 77, u64::MAX, 1 << 63, 0x0123_4567_89ab_cdef] {
            assert_eq!(unmix(mix(value)), value);
        }
    }
}
