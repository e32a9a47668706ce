//! What the catalog knows, for programs. Counts are numbers; values of columns are numbers and booleans where JSON has them, else strings
//! as SQL would show them; what is not known is null.

use std::collections::HashMap;
use std::time::SystemTime;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use joinwright_stats::{ColumnStats, CommonValue, Degrees, KeyRows, TableInfo, Value};
use serde_json::{Map, Value as Json, json};

use super::column::{ColumnView, is_float, top_degrees};
use super::value::{format_value, hex};
use super::{age, data_type, order};

/// All tables, without what takes reading samples.
pub(crate) fn tables_json(
    tables: &[TableInfo],
    schemas: &HashMap<String, SchemaRef>,
    now: SystemTime,
) -> Json {
    let of_table = |table: &TableInfo| {
        let schema = schemas.get(&table.name)?;
        Some(Json::Object(table_facts(table, schema, now)))
    };
    tables.iter().filter_map(of_table).collect()
}

/// One table, all of its facts.
pub(crate) fn table_json(table: &TableInfo, schema: &Schema, now: SystemTime) -> Json {
    let mut facts = table_facts(table, schema, now);
    let details = &table.details;
    // A sample without rows was dropped.
    let kept = (details.sample()).filter(|sample| sample.complete || sample.batch.num_rows() > 0);
    let sample =
        kept.map(|sample| json!({"rows": sample.batch.num_rows(), "complete": sample.complete}));
    let keys = || table.stats.columns.iter().filter(|column| column.is_key);
    let of_key = |column: &ColumnStats, known: Json| {
        let mut object = Map::from_iter([("column".to_owned(), json!(column.name))]);
        if let Json::Object(known) = known {
            object.extend(known);
        }
        Json::Object(object)
    };
    let samples = keys().filter_map(|column| {
        let sample = details.key_rows(&column.name)?;
        Some(of_key(column, key_sample_json(&sample)))
    });
    let degrees = keys().filter_map(|column| {
        let degrees = details.degrees(&column.name)?;
        Some(of_key(column, degrees_json(&degrees)))
    });
    facts.insert("sample".to_owned(), sample.into());
    facts.insert("key_samples".to_owned(), samples.collect());
    facts.insert("degrees".to_owned(), degrees.collect());
    Json::Object(facts)
}

/// One column with its distribution.
pub(crate) fn column_json(view: &ColumnView<'_>) -> Json {
    let ColumnView {
        table,
        column,
        data_type,
        ..
    } = view;
    let value = |value: &Value| value_json(value, *data_type);
    let mut facts = Map::from_iter([
        ("table".to_owned(), json!(table.name)),
        ("rows".to_owned(), json!(table.stats.rows)),
        ("analyzed".to_owned(), json!(table.stats.analyzed)),
        ("stale".to_owned(), json!(table.stats.stale)),
    ]);
    facts.extend(column_facts(column, *data_type));
    let distribution = view.distribution.as_deref();
    let histogram = distribution.map(|known| {
        let buckets = known.histogram.buckets.iter();
        buckets
            .map(|bucket| {
                json!({"upper": value(&bucket.upper), "below": bucket.below, "equal": bucket.equal})
            })
            .collect::<Json>()
    });
    let common = distribution.map(|known| {
        let entry = |entry: &CommonValue| {
            json!({
                "value": match &entry.value {
                    None if is_float(*data_type) => json!("NaN"),
                    known => json!(known.as_ref().map(value)),
                },
                "hash": format!("{:016x}", entry.hash),
                "count": entry.count,
                "error": entry.error,
            })
        };
        known.common.entries.iter().map(entry).collect::<Json>()
    });
    let more = [
        ("nan_estimate", json!(view.nan_rows())),
        ("histogram", json!(histogram)),
        (
            "rank_error",
            json!(distribution.map(|known| known.histogram.rank_error)),
        ),
        ("common", json!(common)),
        (
            "common_missing",
            json!(distribution.map(|known| known.common.missing)),
        ),
        ("degrees", view.degrees.as_deref().map(degrees_json).into()),
        (
            "key_sample",
            view.key_rows.as_deref().map(key_sample_json).into(),
        ),
    ];
    facts.extend(more.map(|(name, json)| (name.to_owned(), json)));
    Json::Object(facts)
}

fn table_facts(table: &TableInfo, schema: &Schema, now: SystemTime) -> Map<String, Json> {
    let stats = &table.stats;
    let columns = stats.columns.iter().map(|column| {
        let data_type = data_type(schema, &column.name);
        Json::Object(column_facts(column, data_type))
    });
    let dropped = table.details.dropped();
    let dropped = dropped
        .into_iter()
        .map(|(what, rows, bytes)| json!({"what": what, "rows": rows, "bytes": bytes}));
    let facts = [
        ("table", json!(table.name)),
        ("rows", json!(stats.rows)),
        ("files", json!(stats.files)),
        ("bytes", json!(stats.bytes)),
        ("analyzed", json!(stats.analyzed)),
        ("stale", json!(stats.stale)),
        ("scanned_rows", json!(stats.scanned_rows)),
        ("age_s", json!(age(table, now).map(|age| age.as_secs()))),
        ("row_groups", json!(table.row_groups)),
        ("page_index", json!(table.page_index)),
        ("statistics_bytes", json!(table.entry_bytes)),
        ("dropped", dropped.collect()),
        ("columns", columns.collect()),
    ];
    facts
        .into_iter()
        .map(|(name, json)| (name.to_owned(), json))
        .collect()
}

fn column_facts(column: &ColumnStats, data_type: Option<&DataType>) -> Map<String, Json> {
    let bound = |value: &Option<Value>| value.as_ref().map(|value| value_json(value, data_type));
    let facts = [
        ("column", json!(column.name)),
        ("type", json!(data_type.map(DataType::to_string))),
        ("key", json!(column.is_key)),
        ("null_count", json!(column.null_count)),
        ("ndv", json!(column.ndv)),
        ("ndv_exact", json!(column.ndv_exact)),
        ("min", json!(bound(&column.min))),
        ("min_exact", json!(column.min_exact)),
        ("max", json!(bound(&column.max))),
        ("max_exact", json!(column.max_exact)),
        ("order", json!(column.order.map(order))),
        ("byte_width", json!(column.byte_width)),
    ];
    facts
        .into_iter()
        .map(|(name, json)| (name.to_owned(), json))
        .collect()
}

fn degrees_json(degrees: &Degrees) -> Json {
    json!({
        "rows": degrees.rows,
        "max": degrees.max,
        "norms": degrees.norms,
        "exact": degrees.exact,
        "top": top_degrees(degrees),
    })
}

fn key_sample_json(sample: &KeyRows) -> Json {
    json!({
        "rows": sample.batch.num_rows(),
        "share": sample.share(),
        "complete": sample.below == u64::MAX,
    })
}

/// Numbers that JSON can hold exactly stay numbers.
fn value_json(value: &Value, data_type: Option<&DataType>) -> Json {
    let temporal = data_type.is_some_and(DataType::is_temporal);
    match value {
        Value::Bool(value) => json!(value),
        Value::Int(number) if !temporal => match (i64::try_from(*number), u64::try_from(*number)) {
            (Ok(number), _) => json!(number),
            (_, Ok(number)) => json!(number),
            _ => json!(number.to_string()),
        },
        Value::Float(number) if number.is_finite() => json!(number),
        // A terminal needs escapes, JSON has its own.
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(_) => json!(hex(bytes)),
        },
        _ => json!(format_value(value, data_type)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_kind() {
        let check = |value: Value, data_type: DataType, expected: Json| {
            assert_eq!(value_json(&value, Some(&data_type)), expected);
        };
        check(Value::Int(-7), DataType::Int64, json!(-7));
        check(
            Value::Int(u64::MAX.into()),
            DataType::UInt64,
            json!(u64::MAX),
        );
        check(
            Value::Int(i128::MAX),
            DataType::Int64,
            json!(i128::MAX.to_string()),
        );
        check(Value::Int(9568), DataType::Date32, json!("1996-03-13"));
        check(Value::Float(0.5), DataType::Float64, json!(0.5));
        check(Value::Float(f64::INFINITY), DataType::Float64, json!("inf"));
        check(Value::Bool(true), DataType::Boolean, json!(true));
        let price = Value::Decimal {
            unscaled: 105,
            scale: 2,
        };
        check(price, DataType::Decimal128(9, 2), json!("1.05"));
        check(
            Value::Bytes(b"a\n\"b\"".to_vec()),
            DataType::Utf8,
            json!("a\n\"b\""),
        );
        check(Value::Bytes(vec![0xff]), DataType::Binary, json!("0xff"));
    }
}
