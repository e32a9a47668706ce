//! Bytes of values and rows.

use datafusion::arrow::datatypes::{DataType, Schema};

/// Bytes assumed of a value that has no fixed width.
const VARIABLE_WIDTH: f64 = 24.0;

/// Bytes of a row of these columns.
pub fn row_width(schema: &Schema) -> f64 {
    let fields = schema.fields().iter();
    fields.map(|field| value_width(field.data_type())).sum()
}

/// Bytes of a value, as models count them.
pub fn value_width(data_type: &DataType) -> f64 {
    match data_type {
        DataType::Boolean | DataType::Null => 1.0,
        DataType::FixedSizeBinary(bytes) => f64::from(*bytes),
        other => other
            .primitive_width()
            .map_or(VARIABLE_WIDTH, |bytes| bytes as f64),
    }
}
