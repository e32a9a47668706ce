//! Minimum and maximum of a column, in one of few physical families.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Float64Type, Int64Type, IntervalUnit, TimeUnit,
    UInt64Type,
};
use serde::{Deserialize, Serialize};

/// A bound of a column, in a form that compares with literals without knowing the file it came from.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub enum Value {
    /// A boolean; false sorts before true.
    Bool(bool),
    /// Any integer; dates, times, timestamps and durations in the column's own Arrow unit: `Date32` in days,
    /// `Date64` in milliseconds, `Timestamp(unit)`, `Time32(unit)`, `Time64(unit)` in their unit.
    Int(i128),
    /// A float of any width, never NaN.
    Float(f64),
    /// `unscaled · 10^-scale`. Values beyond `i128` have no bound.
    Decimal {
        /// The integer without its decimal point.
        unscaled: i128,
        /// Digits after the decimal point; may be negative.
        scale: i8,
    },
    /// UTF-8 or binary of any layout, ordered by unsigned bytes.
    Bytes(Vec<u8>),
}

impl Value {
    /// Order of two values of one family, `None` between families.
    ///
    /// Decimals of different scale compare by value, unless the rescaled number leaves `i128`.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(b),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (
                Self::Decimal {
                    unscaled: a,
                    scale: sa,
                },
                Self::Decimal {
                    unscaled: b,
                    scale: sb,
                },
            ) => {
                if sa == sb {
                    return Some(a.cmp(b));
                }
                let scale = (*sa).max(*sb);
                Some(rescale(*a, *sa, scale)?.cmp(&rescale(*b, *sb, scale)?))
            }
            _ => None,
        }
    }

    /// The hash under which statistics know the value, the same for all widths and layouts of a type.
    ///
    /// Decimals are hashed without their scale: hashes of one column compare, and those of columns of one scale.
    pub fn hash(&self) -> u64 {
        match self {
            Self::Bool(value) => crate::hash::hash_i64(i64::from(*value)),
            Self::Int(value)
            | Self::Decimal {
                unscaled: value, ..
            } => crate::hash::hash_i128(*value),
            Self::Float(value) => crate::hash::hash_f64(*value),
            Self::Bytes(value) => crate::hash::hash_bytes(value),
        }
    }

    /// The value as a number, rounded; `None` for bytes.
    pub fn to_f64(&self) -> Option<f64> {
        match self {
            Self::Bool(value) => Some(f64::from(u8::from(*value))),
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Decimal { unscaled, scale } => {
                Some(*unscaled as f64 / 10f64.powi(i32::from(*scale)))
            }
            Self::Bytes(_) => None,
        }
    }
}

fn rescale(unscaled: i128, from: i8, to: i8) -> Option<i128> {
    let digits = u32::try_from(i32::from(to) - i32::from(from)).ok()?;
    unscaled.checked_mul(10i128.checked_pow(digits)?)
}

/// What the values of a column mean, so far as it matters to whether two files' statistics may be merged.
///
/// Widths and layouts do not matter (`Int32` and `Int64`; `Utf8`, `Utf8View` and a dictionary of either), units and
/// scales do.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// The null type: every value is null.
    Null,
    /// Booleans.
    Bool,
    /// Integers of any width and sign.
    Int,
    /// Floats of any width.
    Float,
    /// Decimals of any width with this scale.
    Decimal(i8),
    /// Days (`Date32`).
    Days,
    /// Milliseconds since the epoch on whole days (`Date64`).
    DateMillis,
    /// Times of day; the number is the decimal exponent of the unit (seconds 0, nanoseconds 9).
    Time(u8),
    /// Timestamps with or without zone, with the exponent of the unit.
    Timestamp(u8),
    /// Durations with the exponent of the unit.
    Duration(u8),
    /// Intervals of months (0), of days and milliseconds (1), or of months, days and nanoseconds (2).
    Interval(u8),
    /// Strings and binary.
    Bytes,
    /// Structs, lists, maps, unions, run-end encoded arrays: only their nulls are counted.
    Nested,
}

impl Family {
    /// The family of an Arrow type; dictionaries are of the family of their values.
    pub fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool,
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32
            | DataType::UInt64 => Self::Int,
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Self::Float,
            DataType::Decimal32(_, scale)
            | DataType::Decimal64(_, scale)
            | DataType::Decimal128(_, scale)
            | DataType::Decimal256(_, scale) => Self::Decimal(*scale),
            DataType::Date32 => Self::Days,
            DataType::Date64 => Self::DateMillis,
            DataType::Time32(unit) | DataType::Time64(unit) => Self::Time(exponent(*unit)),
            DataType::Timestamp(unit, _) => Self::Timestamp(exponent(*unit)),
            DataType::Duration(unit) => Self::Duration(exponent(*unit)),
            DataType::Interval(IntervalUnit::YearMonth) => Self::Interval(0),
            DataType::Interval(IntervalUnit::DayTime) => Self::Interval(1),
            DataType::Interval(IntervalUnit::MonthDayNano) => Self::Interval(2),
            DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Bytes,
            DataType::Dictionary(_, values) => Self::of(values),
            _ => Self::Nested,
        }
    }
}

fn exponent(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// The elements of an array as values, `None` where null, NaN, or of a type without bounds.
pub(crate) fn values_of(array: &ArrayRef) -> Vec<Option<Value>> {
    let none = || vec![None; array.len()];
    // Bounds are few, one a row group, so a cast to the widest type of the family costs nothing.
    let as_type = |data_type: &DataType| cast(array, data_type).ok();
    let values = match Family::of(array.data_type()) {
        Family::Bool => as_type(&DataType::Boolean).map(|array| {
            let array = array.as_boolean();
            array.iter().map(|value| value.map(Value::Bool)).collect()
        }),
        Family::Int
            if matches!(
                array.data_type(),
                DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64
            ) =>
        {
            as_type(&DataType::UInt64).map(|array| {
                let array = array.as_primitive::<UInt64Type>();
                let values = array.iter();
                values
                    .map(|value| value.map(|value| Value::Int(value.into())))
                    .collect()
            })
        }
        Family::Days => as_type(&DataType::Int32).and_then(|array| int_values(&array)),
        Family::Time(_) if matches!(array.data_type(), DataType::Time32(_)) => {
            as_type(&DataType::Int32).and_then(|array| int_values(&array))
        }
        Family::Int
        | Family::DateMillis
        | Family::Time(_)
        | Family::Timestamp(_)
        | Family::Duration(_) => int_values(array),
        Family::Float => as_type(&DataType::Float64).map(|array| {
            let array = array.as_primitive::<Float64Type>();
            let values = array.iter();
            values
                .map(|value| value.filter(|value| !value.is_nan()).map(Value::Float))
                .collect()
        }),
        Family::Decimal(scale) => decimal_values(array, scale),
        Family::Bytes => bytes_values(array),
        Family::Null | Family::Interval(_) | Family::Nested => None,
    };
    values.unwrap_or_else(none)
}

fn int_values(array: &ArrayRef) -> Option<Vec<Option<Value>>> {
    let array = cast(array, &DataType::Int64).ok()?;
    let values = array.as_primitive::<Int64Type>().iter();
    Some(
        values
            .map(|value| value.map(|value| Value::Int(value.into())))
            .collect(),
    )
}

fn decimal_values(array: &ArrayRef, scale: i8) -> Option<Vec<Option<Value>>> {
    let decimal = |unscaled| Value::Decimal { unscaled, scale };
    if let DataType::Decimal256(..) = array.data_type() {
        let values = array.as_primitive::<Decimal256Type>().iter();
        return Some(values.map(|value| value?.to_i128().map(decimal)).collect());
    }
    let array = cast(array, &DataType::Decimal128(38, scale)).ok()?;
    let values = array.as_primitive::<Decimal128Type>().iter();
    Some(values.map(|value| value.map(decimal)).collect())
}

fn bytes_values(array: &ArrayRef) -> Option<Vec<Option<Value>>> {
    let array = match array.data_type() {
        DataType::FixedSizeBinary(_) => cast(array, &DataType::Binary).ok()?,
        DataType::Dictionary(_, values) => cast(array, values).ok()?,
        _ => Arc::clone(array),
    };
    let array = cast(&array, &DataType::Binary).ok()?;
    let values = array.as_binary::<i32>().iter();
    Some(
        values
            .map(|value| value.map(|value| Value::Bytes(value.to_vec())))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use arrow::array::*;
    use arrow::datatypes::i256;

    use super::*;

    fn check(array: impl Array + 'static, expected: &[Option<Value>]) {
        assert_eq!(values_of(&(Arc::new(array) as ArrayRef)), expected);
    }

    #[test]
    fn arrays_become_values() {
        let int = |value| Some(Value::Int(value));
        check(Int8Array::from(vec![Some(-1), None]), &[int(-1), None]);
        check(UInt64Array::from(vec![u64::MAX]), &[int(u64::MAX.into())]);
        check(Date32Array::from(vec![7]), &[int(7)]);
        check(Date64Array::from(vec![86_400_000]), &[int(86_400_000)]);
        check(Time32MillisecondArray::from(vec![9]), &[int(9)]);
        check(Time64NanosecondArray::from(vec![9]), &[int(9)]);
        check(
            TimestampMicrosecondArray::from(vec![5]).with_timezone("UTC"),
            &[int(5)],
        );
        check(
            Float32Array::from(vec![1.5, f32::NAN]),
            &[Some(Value::Float(1.5)), None],
        );
        let decimal = Some(Value::Decimal {
            unscaled: 125,
            scale: 2,
        });
        let small = Decimal32Array::from(vec![125]);
        check(
            small.with_precision_and_scale(9, 2).unwrap(),
            std::slice::from_ref(&decimal),
        );
        let large = Decimal256Array::from(vec![i256::from(125), i256::MAX]);
        check(
            large.with_precision_and_scale(76, 2).unwrap(),
            &[decimal, None],
        );
        let bytes = Some(Value::Bytes(b"abc".to_vec()));
        check(
            StringViewArray::from(vec!["abc"]),
            std::slice::from_ref(&bytes),
        );
        check(
            LargeStringArray::from(vec!["abc"]),
            std::slice::from_ref(&bytes),
        );
        check(
            BinaryViewArray::from(vec![&b"abc"[..]]),
            std::slice::from_ref(&bytes),
        );
        let fixed = FixedSizeBinaryArray::try_from_iter([b"abc"].iter()).unwrap();
        check(fixed, std::slice::from_ref(&bytes));
        check(NullArray::new(2), &[None, None]);
    }

    #[test]
    fn decimals_compare_by_value() {
        let decimal = |unscaled, scale| Value::Decimal { unscaled, scale };
        let check = |a: Value, b: Value, expected| assert_eq!(a.compare(&b), expected);
        check(decimal(150, 2), decimal(15, 1), Some(Ordering::Equal));
        check(decimal(2, 0), decimal(199, 2), Some(Ordering::Greater));
        check(decimal(1, -2), decimal(99, 0), Some(Ordering::Greater));
        check(decimal(i128::MAX, 0), decimal(1, 1), None);
        check(Value::Int(1), Value::Float(1.0), None);
    }
}
