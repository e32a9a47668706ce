//! What the catalog knows, as text and as JSON.
//!
//! | module | renders |
//! |---|---|
//! | this one | the tables of a folder |
//! | `table` | one table: its columns, keys and samples |
//! | `column` | one column: facts, histogram, most common values |
//! | `histogram` | the bars of a histogram |
//! | `json` | all of it as JSON |
//! | `value` | values as SQL would show them |

mod column;
mod histogram;
mod json;
mod table;
mod value;

use std::time::{Duration, SystemTime};

use arrow::datatypes::{DataType, Schema};
use joinwright_stats::{Order, TableInfo, TableStats, Value};

pub(crate) use self::column::ColumnView;
pub(crate) use self::json::{column_json, table_json, tables_json};
pub(crate) use self::table::table;
use self::value::{format_value, shorten};
use super::{Grid, bytes, group};

/// Columns of the narrowest terminal that everything should fit.
const WIDTH: usize = 100;

/// What is told of the catalog beside its tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Bytes that the statistics of these tables may have.
    pub(crate) budget: u64,
    /// Bytes of the cache folder, where other tables may have entries too.
    pub(crate) cache: u64,
}

/// One line a table, and what they come to.
pub(crate) fn tables(tables: &[TableInfo], sizes: Sizes, now: SystemTime) -> String {
    let row = |table: &TableInfo| {
        vec![
            table.name.clone(),
            group(table.stats.rows),
            table.stats.files.to_string(),
            bytes(table.stats.bytes),
            table.stats.columns.len().to_string(),
            known_from(&table.stats),
            age(table, now).map(describe_age).unwrap_or_default(),
            bytes(table.entry_bytes),
        ]
    };
    let header = [
        "table",
        "rows",
        "files",
        "size",
        "columns",
        "known from",
        "age",
        "statistics",
    ];
    let grid = Grid {
        header: header.map(str::to_owned).to_vec(),
        rows: tables.iter().map(row).collect(),
        left: vec![0, 5, 6],
    };
    let data: u64 = tables.iter().map(|table| table.stats.bytes).sum();
    let statistics: u64 = tables.iter().map(|table| table.entry_bytes).sum();
    format!(
        "{}\ndata {}, statistics {} ({}, budget {}), cache folder {}",
        grid.to_terminal(),
        bytes(data),
        bytes(statistics),
        percent(statistics as f64, data),
        bytes(sizes.budget),
        bytes(sizes.cache),
    )
}

fn unknown() -> String {
    "?".to_owned()
}

fn data_type<'a>(schema: &'a Schema, column: &str) -> Option<&'a DataType> {
    let field = schema.field_with_name(column).ok()?;
    Some(field.data_type())
}

/// What was read of a table.
fn known_from(stats: &TableStats) -> String {
    let seen = match (stats.analyzed, stats.scanned_rows, stats.rows) {
        (true, ..) => "analyzed".to_owned(),
        (false, 0, _) => "footer only".to_owned(),
        (false, scanned, rows) => format!("{} analyzed", percent(scanned as f64, rows)),
    };
    match stats.stale {
        true => seen + ", stale",
        false => seen,
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

/// `part` of `all` in percent, to two digits or so; nothing of nothing is nothing.
fn percent(part: f64, all: u64) -> String {
    let percent = match all {
        0 => 0.0,
        all => 100.0 * part / all as f64,
    };
    match percent {
        percent if percent <= 0.0 => "0 %".to_owned(),
        percent if percent < 0.01 => "<0.01 %".to_owned(),
        percent if percent < 1.0 => format!("{percent:.2} %"),
        // What is not all should not look like all.
        percent if percent < 100.0 => format!("{:.1} %", percent.min(99.9)),
        percent => format!("{percent:.0} %"),
    }
}

/// Distinct values: counted, or about so many.
fn distinct(ndv: Option<f64>, exact: bool) -> String {
    match ndv {
        Some(ndv) if exact => super::rows(ndv),
        Some(ndv) => format!("~{}", super::rows(ndv)),
        None => unknown(),
    }
}

fn order(order: Order) -> &'static str {
    match order {
        Order::Ascending => "ascending",
        Order::Descending => "descending",
        Order::Mixed => "mixed",
    }
}

/// A bound; one that is no value of the column has a sign before it.
fn bound(
    value: &Option<Value>,
    exact: bool,
    sign: &str,
    data_type: Option<&DataType>,
    longest: usize,
) -> String {
    let Some(value) = value else {
        return unknown();
    };
    let text = shorten(&format_value(value, data_type), longest);
    match exact {
        true => text,
        false => format!("{sign} {text}"),
    }
}

/// What gave way to the size budget, the largest first, in one line.
pub(crate) fn dropped_line(mut dropped: Vec<(String, u64, u64)>, most: usize) -> String {
    dropped.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.cmp(&b.0)));
    let more = dropped.len().saturating_sub(most);
    let mut parts: Vec<String> = dropped
        .iter()
        .take(most)
        .map(|(what, _, size)| format!("{what} ({})", bytes(*size)))
        .collect();
    if more > 0 {
        let rest: u64 = dropped.iter().skip(most).map(|part| part.2).sum();
        parts.push(format!("{more} more ({})", bytes(rest)));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use joinwright_stats::TableDetails;

    use super::*;

    fn info(name: &str, stats: TableStats) -> TableInfo {
        TableInfo {
            name: name.to_owned(),
            files: Vec::new(),
            stats: Arc::new(stats),
            details: Arc::new(TableDetails::default()),
            analyzed_at: Some(SystemTime::UNIX_EPOCH),
            row_groups: 1,
            page_index: false,
            entry_bytes: 10_000,
        }
    }

    #[test]
    fn tables_of_all_states() {
        let stats = |rows, scanned_rows, analyzed, stale| TableStats {
            rows,
            bytes: 1 << 20,
            files: 2,
            analyzed,
            stale,
            scanned_rows,
            columns: Vec::new(),
        };
        let all = [
            info("done", stats(1000, 1000, true, false)),
            info("empty", stats(0, 0, true, false)),
            info("footers", stats(7, 0, false, false)),
            info("grown", stats(1_000_000, 999_999, false, true)),
        ];
        let sizes = Sizes {
            budget: 1 << 21,
            cache: 50_000,
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(7200);
        let text = tables(&all, sizes, now);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4 + all.len() + 1);
        for (line, parts) in lines[3..].iter().zip([
            ["done", "1,000", " analyzed ", "2 h"],
            ["empty", "0", " analyzed ", "2 h"],
            ["footers", "7", "footer only", "9.77 KiB"],
            ["grown", "1,000,000", "99.9 % analyzed, stale", "1.00 MiB"],
        ]) {
            for part in parts {
                assert!(line.contains(part), "no {part} in {line}");
            }
        }
        assert_eq!(
            lines[lines.len() - 1],
            "data 4.00 MiB, statistics 39.06 KiB (0.95 %, budget 2.00 MiB), cache folder 48.83 KiB"
        );
    }

    #[test]
    fn shares() {
        let check = |part, all, expected: &str| assert_eq!(percent(part, all), expected);
        check(0.0, 0, "0 %");
        check(0.001, 100, "<0.01 %");
        check(0.5, 100, "0.50 %");
        check(12.34, 100, "12.3 %");
        check(99.999, 100, "99.9 %");
        check(100.0, 100, "100 %");
        check(250.0, 100, "250 %");
    }

    #[test]
    fn what_was_dropped_is_told_in_a_line() {
        let dropped = |sizes: &[u64]| {
            let part = |(at, size): (usize, &u64)| (format!("part {at}"), 1, *size);
            dropped_line(sizes.iter().enumerate().map(part).collect(), 2)
        };
        assert_eq!(dropped(&[1024]), "part 0 (1.00 KiB)");
        let many = dropped(&[1024, 4096, 1024, 2048]);
        assert_eq!(
            many,
            "part 1 (4.00 KiB), part 3 (2.00 KiB), 2 more (2.00 KiB)"
        );
    }
}
