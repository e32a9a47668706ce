//! Literals of a query against the bounds of a column: comparison and interpolation.

use super::profile::ColumnProfile;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use joinwright_stats::Value;
use std::cmp::Ordering;

/// A literal in the form of the catalog's bounds, if a column of that type can be compared with it.
pub(super) fn value_of(scalar: &ScalarValue, column: &DataType) -> Option<Value> {
    use ScalarValue as S;
    if let S::Dictionary(_, inner) = scalar {
        return value_of(inner, column);
    }
    let column = match column {
        DataType::Dictionary(_, values) => values,
        other => other,
    };
    let numeric = column.is_numeric();
    Some(match scalar {
        S::Boolean(Some(v)) if *column == DataType::Boolean => Value::Bool(*v),
        S::Int8(Some(v)) if numeric => Value::Int((*v).into()),
        S::Int16(Some(v)) if numeric => Value::Int((*v).into()),
        S::Int32(Some(v)) if numeric => Value::Int((*v).into()),
        S::Int64(Some(v)) if numeric => Value::Int((*v).into()),
        S::UInt8(Some(v)) if numeric => Value::Int((*v).into()),
        S::UInt16(Some(v)) if numeric => Value::Int((*v).into()),
        S::UInt32(Some(v)) if numeric => Value::Int((*v).into()),
        S::UInt64(Some(v)) if numeric => Value::Int((*v).into()),
        S::Float16(Some(v)) if numeric => Value::Float(v.to_f64()),
        S::Float32(Some(v)) if numeric => Value::Float((*v).into()),
        S::Float64(Some(v)) if numeric => Value::Float(*v),
        S::Decimal32(Some(v), _, scale) if numeric => Value::Decimal {
            unscaled: (*v).into(),
            scale: *scale,
        },
        S::Decimal64(Some(v), _, scale) if numeric => Value::Decimal {
            unscaled: (*v).into(),
            scale: *scale,
        },
        S::Decimal128(Some(v), _, scale) if numeric => Value::Decimal {
            unscaled: *v,
            scale: *scale,
        },
        S::Utf8(Some(v)) | S::LargeUtf8(Some(v)) | S::Utf8View(Some(v)) if is_text(column) => {
            Value::Bytes(v.as_bytes().to_vec())
        }
        S::Binary(Some(v)) | S::LargeBinary(Some(v)) | S::BinaryView(Some(v))
            if is_binary(column) =>
        {
            Value::Bytes(v.clone())
        }
        S::Date32(Some(v)) if *column == DataType::Date32 => Value::Int((*v).into()),
        S::Date64(Some(v)) if *column == DataType::Date64 => Value::Int((*v).into()),
        S::Time32Second(Some(v)) | S::Time32Millisecond(Some(v))
            if *column == scalar.data_type() =>
        {
            Value::Int((*v).into())
        }
        S::Time64Microsecond(Some(v)) | S::Time64Nanosecond(Some(v))
            if *column == scalar.data_type() =>
        {
            Value::Int((*v).into())
        }
        S::TimestampSecond(Some(v), _)
        | S::TimestampMillisecond(Some(v), _)
        | S::TimestampMicrosecond(Some(v), _)
        | S::TimestampNanosecond(Some(v), _) => match (column, scalar.data_type()) {
            (DataType::Timestamp(a, _), DataType::Timestamp(b, _)) if *a == b => {
                Value::Int((*v).into())
            }
            _ => return None,
        },
        _ => return None,
    })
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

fn is_binary(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}

/// The order of two values; numbers compare across families, others do not.
pub(crate) fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    a.compare(b)
        .or_else(|| a.to_f64()?.partial_cmp(&b.to_f64()?))
}

/// Whether a value lies outside the known range of a column.
pub(super) fn is_outside(value: &Value, profile: &ColumnProfile) -> bool {
    let below = |a: &Value, b: &Option<Value>| {
        b.as_ref()
            .and_then(|b| compare(a, b))
            .is_some_and(Ordering::is_lt)
    };
    let above = |a: &Value, b: &Option<Value>| {
        b.as_ref()
            .and_then(|b| compare(a, b))
            .is_some_and(Ordering::is_gt)
    };
    below(value, &profile.min) || above(value, &profile.max)
}

/// The share of a column's values below `bound`, and at it if `inclusive`, the values taken to be
/// spread evenly between the column's bounds.
pub(super) fn share_below(bound: &Value, profile: &ColumnProfile, inclusive: bool) -> Option<f64> {
    let (min, max) = (profile.min.as_ref()?, profile.max.as_ref()?);
    let (low, high, at) = match (min, max, bound) {
        (Value::Bytes(min), Value::Bytes(max), Value::Bytes(bound)) => {
            let shared = min.iter().zip(max).take_while(|(a, b)| a == b).count();
            // A bound that leaves the shared prefix is below or above all values.
            match bound.get(..shared).map(|b| b.cmp(&min[..shared])) {
                None => match bound.as_slice().cmp(&min[..bound.len()]) {
                    Ordering::Greater => return Some(1.0),
                    _ => return Some(0.0),
                },
                Some(Ordering::Less) => return Some(0.0),
                Some(Ordering::Greater) => return Some(1.0),
                Some(Ordering::Equal) => (
                    fraction(&min[shared..]),
                    fraction(&max[shared..]),
                    fraction(&bound[shared..]),
                ),
            }
        }
        (Value::Int(min), Value::Int(max), Value::Int(bound)) => {
            // Whole numbers: [min, max] has max - min + 1 of them.
            let at = *bound as f64 + if inclusive { 1.0 } else { 0.0 };
            (*min as f64, *max as f64 + 1.0, at)
        }
        _ => (min.to_f64()?, max.to_f64()?, bound.to_f64()?),
    };
    if !(low.is_finite() && high.is_finite() && at.is_finite()) {
        return None;
    }
    if high <= low {
        // One value.
        let is_below = match compare(min, bound)? {
            Ordering::Less => true,
            Ordering::Equal => inclusive,
            Ordering::Greater => false,
        };
        return Some(if is_below { 1.0 } else { 0.0 });
    }
    Some(((at - low) / (high - low)).clamp(0.0, 1.0))
}

/// A byte string as a number in [0, 1), for interpolation.
fn fraction(bytes: &[u8]) -> f64 {
    let mut scale = 1.0;
    bytes.iter().take(8).fold(0.0, |sum, byte| {
        scale /= 256.0;
        sum + f64::from(*byte) * scale
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::EstimateSource;

    #[test]
    fn strings_are_interpolated_behind_their_shared_prefix() {
        let profile = &ColumnProfile {
            data_type: DataType::Utf8,
            ndv: 20.0,
            null_fraction: 0.0,
            min: Some(Value::Bytes(b"item-a".to_vec())),
            max: Some(Value::Bytes(b"item-z".to_vec())),
            source: EstimateSource::Ndv,
        };
        let share = |s: &str| share_below(&Value::Bytes(s.as_bytes().to_vec()), profile, false);
        assert_eq!(share("item"), Some(0.0));
        assert_eq!(share("item-"), Some(0.0));
        assert_eq!(share("j"), Some(1.0));
        assert_eq!(share("a"), Some(0.0));
        let half = share("item-m").unwrap_or_default();
        assert!((half - 0.48).abs() < 0.01, "{half}");
    }

    #[test]
    fn numbers_compare_across_families() {
        let decimal = Value::Decimal {
            unscaled: 1250,
            scale: 2,
        };
        assert_eq!(compare(&decimal, &Value::Int(12)), Some(Ordering::Greater));
        assert_eq!(
            compare(&Value::Float(12.5), &decimal),
            Some(Ordering::Equal)
        );
        assert_eq!(compare(&Value::Bytes(vec![1]), &Value::Int(1)), None);
        assert_eq!(
            value_of(&ScalarValue::Date32(Some(3)), &DataType::Date64),
            None
        );
    }
}
