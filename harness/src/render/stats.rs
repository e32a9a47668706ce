//! What the catalog knows, as text and as JSON.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use joinwright_stats::{ColumnStats, TableInfo, TableStats, Value};
use serde_json::{Value as Json, json};

use super::{Grid, bytes, group};

/// One line a table.
pub(crate) fn tables(tables: &[TableInfo], now: SystemTime) -> String {
    let rows = tables
        .iter()
        .map(|table| {
            vec![
                table.name.clone(),
                group(table.stats.rows),
                table.stats.files.to_string(),
                bytes(table.stats.bytes),
                table.stats.columns.len().to_string(),
                analyzed(&table.stats).to_owned(),
                age(table, now).map(describe_age).unwrap_or_default(),
            ]
        })
        .collect();
    let header = [
        "table",
        "rows",
        "files",
        "size",
        "columns",
        "known from",
        "age",
    ];
    Grid {
        header: header.map(str::to_owned).to_vec(),
        rows,
        left: vec![0, 5, 6],
    }
    .to_terminal()
}

/// One line a column.
pub(crate) fn columns(stats: &TableStats, schema: &Schema) -> String {
    let rows = stats
        .columns
        .iter()
        .map(|column| {
            let data_type = data_type(schema, &column.name);
            vec![
                column.name.clone(),
                data_type.map(DataType::to_string).unwrap_or_default(),
                column.null_count.map(group).unwrap_or_else(unknown),
                column.ndv.map(super::rows).unwrap_or_else(unknown),
                bound(&column.min, column.min_exact, data_type),
                bound(&column.max, column.max_exact, data_type),
                column
                    .byte_width
                    .map_or_else(unknown, |width| format!("{width:.1}")),
            ]
        })
        .collect();
    let header = [
        "column",
        "type",
        "nulls",
        "distinct",
        "min",
        "max",
        "bytes a value",
    ];
    Grid {
        header: header.map(str::to_owned).to_vec(),
        rows,
        left: vec![0, 1, 4, 5],
    }
    .to_terminal()
}

/// One column, a fact a line.
pub(crate) fn column(table: &TableInfo, column: &ColumnStats, schema: &Schema) -> String {
    let data_type = data_type(schema, &column.name);
    let share = |count: f64| match table.stats.rows {
        0 => String::new(),
        rows => format!(
            " ({:.2} % of {} rows)",
            100.0 * count / rows as f64,
            group(rows)
        ),
    };
    let facts = [
        ("column", format!("{}.{}", table.name, column.name)),
        (
            "type",
            data_type.map(DataType::to_string).unwrap_or_else(unknown),
        ),
        (
            "nulls",
            column
                .null_count
                .map_or_else(unknown, |nulls| group(nulls) + &share(nulls as f64)),
        ),
        (
            "distinct",
            column
                .ndv
                .map_or_else(unknown, |ndv| super::rows(ndv) + &share(ndv)),
        ),
        ("min", bound(&column.min, column.min_exact, data_type)),
        ("max", bound(&column.max, column.max_exact, data_type)),
        (
            "bytes a value",
            column
                .byte_width
                .map_or_else(unknown, |width| format!("{width:.1}")),
        ),
        ("known from", analyzed(&table.stats).to_owned()),
    ];
    let lines: Vec<String> = facts
        .iter()
        .map(|(name, value)| format!("{name:<14} {value}"))
        .collect();
    lines.join("\n")
}

/// The tables, all of their facts.
pub(crate) fn table_json(table: &TableInfo, schema: &Schema, now: SystemTime) -> Json {
    json!({
        "table": table.name,
        "rows": table.stats.rows,
        "files": table.stats.files,
        "bytes": table.stats.bytes,
        "analyzed": table.stats.analyzed,
        "age_s": age(table, now).map(|age| age.as_secs()),
        "columns": table.stats.columns.iter()
            .map(|column| column_json(column, schema))
            .collect::<Vec<_>>(),
    })
}

/// One column.
pub(crate) fn column_json(column: &ColumnStats, schema: &Schema) -> Json {
    let data_type = data_type(schema, &column.name);
    let text = |value: &Option<Value>| value.as_ref().map(|value| format_value(value, data_type));
    json!({
        "column": column.name,
        "type": data_type.map(DataType::to_string),
        "null_count": column.null_count,
        "ndv": column.ndv,
        "min": text(&column.min),
        "min_exact": column.min_exact,
        "max": text(&column.max),
        "max_exact": column.max_exact,
        "byte_width": column.byte_width,
    })
}

fn unknown() -> String {
    "?".to_owned()
}

fn data_type<'a>(schema: &'a Schema, column: &str) -> Option<&'a DataType> {
    let field = schema.field_with_name(column).ok()?;
    Some(field.data_type())
}

fn analyzed(stats: &TableStats) -> &'static str {
    if stats.analyzed {
        "analyzed"
    } else {
        "footer only"
    }
}

fn age(table: &TableInfo, now: SystemTime) -> Option<Duration> {
    table.analyzed_at.and_then(|at| now.duration_since(at).ok())
}

fn describe_age(age: Duration) -> String {
    match age.as_secs() {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 120 * 60 => format!("{} min", seconds / 60),
        seconds if seconds < 48 * 3600 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

fn bound(value: &Option<Value>, exact: bool, data_type: Option<&DataType>) -> String {
    const LONGEST: usize = 32;
    let Some(value) = value else {
        return unknown();
    };
    let mut text = format_value(value, data_type);
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    if !exact {
        text.push_str(" (bound)");
    }
    text
}

/// A value as SQL would show it, as far as the type of its column is known.
fn format_value(value: &Value, data_type: Option<&DataType>) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => (i64::try_from(*value).ok().zip(data_type))
            .and_then(|(value, data_type)| format_int(value, data_type))
            .unwrap_or_else(|| value.to_string()),
        Value::Float(value) => value.to_string(),
        Value::Decimal { unscaled, scale } => format_decimal(*unscaled, *scale),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).escape_debug().to_string(),
    }
}

/// Dates and timestamps are integers in the catalog.
fn format_int(value: i64, data_type: &DataType) -> Option<String> {
    if !data_type.is_temporal() {
        return None;
    }
    let number: ArrayRef = Arc::new(Int64Array::from(vec![value]));
    // Arrow casts integers to temporal types of their own width alone.
    let array = match data_type {
        DataType::Date32 | DataType::Time32(_) => {
            cast(&cast(&number, &DataType::Int32).ok()?, data_type).ok()?
        }
        _ => cast(&number, data_type).ok()?,
    };
    let formatter = ArrayFormatter::try_new(array.as_ref(), &FormatOptions::default()).ok()?;
    (!array.is_null(0)).then(|| formatter.value(0).to_string())
}

fn format_decimal(unscaled: i128, scale: i8) -> String {
    let Ok(digits) = usize::try_from(scale) else {
        return format!("{unscaled}e{}", -i32::from(scale));
    };
    if digits == 0 {
        return unscaled.to_string();
    }
    let sign = if unscaled < 0 { "-" } else { "" };
    let text = format!("{:0>width$}", unscaled.unsigned_abs(), width = digits + 1);
    let (whole, fraction) = text.split_at(text.len() - digits);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_in_sql() {
        let check = |value: Value, data_type: DataType, expected: &str| {
            assert_eq!(format_value(&value, Some(&data_type)), expected);
        };
        check(Value::Int(9568), DataType::Date32, "1996-03-13");
        check(Value::Int(7), DataType::Int32, "7");
        check(Value::Bytes(b"a\nb".to_vec()), DataType::Utf8, "a\\nb");
        let decimal = |unscaled, scale| format_decimal(unscaled, scale);
        assert_eq!(decimal(-99999, 2), "-999.99");
        assert_eq!(decimal(5, 2), "0.05");
        assert_eq!(decimal(5, 0), "5");
        assert_eq!(decimal(5, -2), "5e2");
    }
}
