//! One table: a line a column, and below it what belongs to the table as a whole.

use std::time::SystemTime;

use arrow::datatypes::{DataType, Schema};
use joinwright_stats::{ColumnStats, Order, TableInfo};

use super::value::shorten;
use super::{
    WIDTH, age, bound, data_type, describe_age, distinct, dropped_line, known_from, percent,
    unknown,
};
use crate::render::{Grid, bytes, group, rows};

/// Kinds of dropped parts that are told one by one.
const DROPPED: usize = 12;

/// The table in full.
pub(crate) fn table(table: &TableInfo, schema: &Schema, now: SystemTime) -> String {
    let mut out = columns(table, schema);
    let estimated = |column: &ColumnStats| column.ndv.is_some() && !column.ndv_exact;
    if table.stats.columns.iter().any(estimated) {
        out.push_str("\n~ is estimated, to about 1 %; other distinct counts are exact");
    }
    out.push_str("\n\n");
    for (name, value) in facts(table, now) {
        out.push_str(&format!("{name:<14} {value}\n"));
    }
    if let Some(keys) = keys(table) {
        out.push('\n');
        out.push_str(&keys);
        out.push('\n');
    }
    out.trim_end().to_owned()
}

/// One line a column, narrow enough if anyhow possible.
fn columns(table: &TableInfo, schema: &Schema) -> String {
    let mut text = String::new();
    for (types, values) in [(26, 32), (20, 24), (17, 19), (17, 14), (14, 11), (12, 8)] {
        text = column_grid(table, schema, types, values).to_narrow_terminal();
        if text.lines().all(|line| line.chars().count() <= WIDTH) {
            break;
        }
    }
    text
}

fn column_grid(table: &TableInfo, schema: &Schema, types: usize, values: usize) -> Grid {
    let row = |column: &ColumnStats| {
        let data_type = data_type(schema, &column.name);
        vec![
            column.name.clone(),
            data_type.map_or_else(unknown, |data_type| shorten(&data_type.to_string(), types)),
            if column.is_key { "key" } else { "" }.to_owned(),
            column.null_count.map_or_else(unknown, group),
            match data_type.is_some_and(DataType::is_nested) {
                true => "-".to_owned(),
                false => distinct(column.ndv, column.ndv_exact),
            },
            bound(&column.min, column.min_exact, "≥", data_type, values),
            bound(&column.max, column.max_exact, "≤", data_type, values),
            match column.order {
                Some(Order::Ascending) => "asc",
                Some(Order::Descending) => "desc",
                Some(Order::Mixed) => "mixed",
                None => "",
            }
            .to_owned(),
            column
                .byte_width
                .map_or_else(unknown, |width| format!("{width:.1}")),
        ]
    };
    let header = [
        "column", "type", "", "nulls", "distinct", "min", "max", "order", "bytes",
    ];
    Grid {
        header: header.map(str::to_owned).to_vec(),
        rows: table.stats.columns.iter().map(row).collect(),
        left: vec![0, 1, 2, 5, 6, 7],
    }
}

fn facts(table: &TableInfo, now: SystemTime) -> Vec<(&'static str, String)> {
    let stats = &table.stats;
    // To the minute: what was told a second ago should read the same now.
    let age = age(table, now).map(|age| match age.as_secs() {
        0..60 => ", just now".to_owned(),
        _ => format!(", {} ago", describe_age(age)),
    });
    let index = if table.page_index { "with" } else { "no" };
    let mut facts = vec![
        ("rows", group(stats.rows)),
        (
            "data",
            format!(
                "{} in {}, {}, {index} page index",
                bytes(stats.bytes),
                count(stats.files as u64, "file"),
                count(table.row_groups, "row group"),
            ),
        ),
        ("known from", known_from(stats) + &age.unwrap_or_default()),
        (
            "statistics",
            format!(
                "{} ({} of the data)",
                bytes(table.entry_bytes),
                percent(table.entry_bytes as f64, stats.bytes)
            ),
        ),
        ("row sample", row_sample(table)),
    ];
    let dropped = table.details.dropped();
    if !dropped.is_empty() {
        let line = dropped_line(dropped, DROPPED) + " for space";
        let mut name = "dropped";
        for line in wrap(&line, WIDTH - 15) {
            facts.push((std::mem::take(&mut name), line));
        }
    }
    facts
}

fn row_sample(table: &TableInfo) -> String {
    let stats = &table.stats;
    match table.details.sample() {
        // No degrees are counted then, and no column is marked as a key.
        Some(sample) if sample.complete => {
            "all rows, which tell the degrees of every column".to_owned()
        }
        Some(sample) if sample.batch.num_rows() > 0 => {
            let rows = sample.batch.num_rows() as u64;
            format!(
                "{} rows ({})",
                group(rows),
                percent(rows as f64, stats.rows)
            )
        }
        _ if stats.rows == 0 => "none, there are no rows".to_owned(),
        _ if stats.scanned_rows == 0 => "none, only footers were read".to_owned(),
        _ => "none".to_owned(),
    }
}

/// One line a key column.
fn keys(table: &TableInfo) -> Option<String> {
    let row = |column: &ColumnStats| {
        let sample = table.details.key_rows(&column.name);
        let degrees = table.details.degrees(&column.name);
        let bounded = |number: String, exact: bool| match exact {
            true => number,
            false => format!("≤ {number}"),
        };
        vec![
            column.name.clone(),
            sample.as_ref().map_or_else(
                || "none".to_owned(),
                |sample| group(sample.batch.num_rows() as u64),
            ),
            sample.map_or_else(String::new, |sample| match sample.below {
                u64::MAX => "all".to_owned(),
                _ => percent(1e6 * sample.share(), 1_000_000),
            }),
            degrees.as_ref().map_or_else(unknown, |degrees| {
                bounded(group(degrees.max), degrees.exact)
            }),
            match (&degrees, column.ndv) {
                (Some(degrees), Some(ndv)) if ndv > 0.0 => {
                    format!("{:.1}", degrees.rows as f64 / ndv)
                }
                _ => unknown(),
            },
            degrees.as_ref().map_or_else(unknown, |degrees| {
                bounded(rows(degrees.norms[1]), degrees.exact)
            }),
        ]
    };
    let rows: Vec<_> = table
        .stats
        .columns
        .iter()
        .filter(|column| column.is_key)
        .map(row)
        .collect();
    if rows.is_empty() {
        return None;
    }
    let header = [
        "key",
        "sampled rows",
        "of all keys",
        "max degree",
        "mean degree",
        "ℓ2 norm",
    ];
    let grid = Grid {
        header: header.map(str::to_owned).to_vec(),
        rows,
        left: vec![0],
    };
    Some(grid.to_terminal())
}

/// The text in lines of at most so many characters, broken after commas.
fn wrap(text: &str, longest: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in text.split_inclusive(", ") {
        match lines.last_mut() {
            Some(line) if line.chars().count() + part.trim_end().chars().count() <= longest => {
                line.push_str(part);
            }
            _ => lines.push(part.to_owned()),
        }
    }
    lines
        .iter()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// A number of things.
fn count(number: u64, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        number => format!("{} {thing}s", group(number)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Field;
    use joinwright_stats::{TableStats, Value};

    use super::*;

    fn check(names: &[&str], data_type: DataType, value: &Value) -> String {
        let column = |name: &&str| ColumnStats {
            name: (*name).to_owned(),
            null_count: Some(1_234_567),
            min: Some(value.clone()),
            max: Some(value.clone()),
            min_exact: true,
            byte_width: Some(12.0),
            ndv: Some(1_000_000.0),
            order: Some(Order::Ascending),
            ..ColumnStats::default()
        };
        let info = TableInfo {
            name: "t".to_owned(),
            files: Vec::new(),
            stats: Arc::new(TableStats {
                columns: names.iter().map(column).collect(),
                ..TableStats::default()
            }),
            details: Arc::default(),
            analyzed_at: None,
            row_groups: 0,
            page_index: false,
            entry_bytes: 0,
        };
        let field = |name: &&str| Field::new(*name, data_type.clone(), true);
        let schema = Schema::new(names.iter().map(field).collect::<Vec<_>>());
        table(&info, &schema, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn columns_fit_a_terminal() {
        let long = Value::Bytes("a long story ".repeat(9).into_bytes());
        for (data_type, value) in [
            (DataType::Utf8View, long),
            (DataType::Date32, Value::Int(10_000)),
            (
                DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, Some("UTC".into())),
                Value::Int(1_700_000_000_000_000_000),
            ),
        ] {
            let text = check(&["id", "catalog_sales_ship_date"], data_type, &value);
            for line in text.lines() {
                assert!(line.chars().count() <= WIDTH, "too wide: {line}");
            }
        }
    }

    #[test]
    fn long_lines_are_broken_after_commas() {
        assert_eq!(wrap("a, bc, d", 20), ["a, bc, d"]);
        assert_eq!(wrap("a, bc, d", 6), ["a, bc,", "d"]);
        assert_eq!(wrap("a, a very long part", 6), ["a,", "a very long part"]);
    }

    #[test]
    fn a_table_without_details() {
        let text = check(&["id"], DataType::Int64, &Value::Int(5));
        for part in [
            "~1,000,000",
            "≤ 5",
            " asc ",
            "none, there are no rows",
            "0 files",
            "no page index",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
    }
}
