//! The average of decimals, of their sum and their number.

use datafusion::arrow::array::{ArrayRef, AsArray, Decimal128Array};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use datafusion::common::{Result, exec_err, plan_datafusion_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;

/// The widest decimals whose sums of sums, scaled as the average is, still fit a [`DataType::Decimal128`]: ten digits more for a sum, and
/// again for the sum of these.
const WIDEST: u8 = 18;

/// Digits that an average has more than its values, before and behind the point together and behind it.
const MORE_DIGITS: u8 = 4;

/// What DataFusion's `avg` makes of a sum and a number of rows, which is cut off behind the last digit, not rounded.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct DecimalAverage {
    signature: Signature,
    /// Of the values.
    precision: u8,
    scale: i8,
}

impl DecimalAverage {
    /// `None` if values of this type have averages of another type than `result`, or sums of theirs may not fit.
    pub(super) fn of(values: &DataType, result: &DataType) -> Option<Self> {
        let DataType::Decimal128(precision, scale @ 0..) = *values else {
            return None;
        };
        let average = Self {
            signature: Signature::any(2, Volatility::Immutable),
            precision,
            scale,
        };
        (precision <= WIDEST && average.data_type() == *result).then_some(average)
    }

    fn data_type(&self) -> DataType {
        DataType::Decimal128(self.precision + MORE_DIGITS, self.scale + MORE_DIGITS as i8)
    }

    fn averages(&self, sums: &Decimal128Array, counts: &ArrayRef) -> Result<Decimal128Array> {
        let Some(counts) = counts.as_primitive_opt::<Int64Type>() else {
            return exec_err!("rows are counted by Int64, not {}", counts.data_type());
        };
        let unit = 10_i128.pow(u32::from(MORE_DIGITS));
        let pairs = sums.iter().zip(counts);
        let averages = pairs.map(|(sum, count)| match (sum, count) {
            (Some(sum), Some(count)) if count > 0 => sum
                .checked_mul(unit)
                .map(|sum| Some(sum / i128::from(count)))
                .ok_or_else(|| plan_datafusion_err!("an average of decimals overflows")),
            _ => Ok(None),
        });
        let averages: Decimal128Array = averages.collect::<Result<_>>()?;
        Ok(averages.with_data_type(self.data_type()))
    }
}

impl ScalarUDFImpl for DecimalAverage {
    fn name(&self) -> &str {
        "joinwright_decimal_average"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.data_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [sums, counts] = arrays.as_slice() else {
            return exec_err!("{} has a sum and a count", self.name());
        };
        let Some(sums) = sums.as_primitive_opt::<Decimal128Type>() else {
            return exec_err!("{} is no sum of decimals", sums.data_type());
        };
        let averages = self.averages(sums, counts)?;
        Ok(ColumnarValue::Array(Arc::new(averages)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::Int64Array;

    #[test]
    fn averages_are_cut_off_as_those_of_the_engine() {
        let average = DecimalAverage::of(&DataType::Decimal128(7, 2), &DataType::Decimal128(11, 6));
        let average = average.unwrap();
        let sums = [Some(200), Some(-200), None, Some(5), Some(0)];
        let counts: ArrayRef = Arc::new(Int64Array::from(vec![
            Some(3),
            Some(3),
            Some(0),
            Some(0),
            Some(4),
        ]));
        let averages = average.averages(&sums.into_iter().collect(), &counts);
        let averages: Vec<Option<i128>> = averages.unwrap().iter().collect();
        assert_eq!(
            averages,
            [Some(666_666), Some(-666_666), None, None, Some(0)]
        );
    }

    #[test]
    fn wide_decimals_are_left_alone() {
        let of = |values, result| DecimalAverage::of(&values, &result);
        assert_eq!(
            of(DataType::Decimal128(19, 2), DataType::Decimal128(23, 6)),
            None
        );
        assert_eq!(
            of(DataType::Decimal128(7, -2), DataType::Decimal128(11, 2)),
            None
        );
        assert_eq!(
            of(DataType::Decimal128(7, 2), DataType::Decimal128(7, 2)),
            None
        );
        assert_eq!(of(DataType::Float64, DataType::Float64), None);
    }
}
