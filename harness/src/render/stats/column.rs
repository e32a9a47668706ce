//! One column: facts, histogram, most common values.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use joinwright_stats::{ColumnStats, CommonValue, Degrees, Distribution, KeyRows, Mcv, TableInfo};

use super::histogram::{BARS, Bars, quantile};
use super::value::{format_value, shorten, width};
use super::{bound, data_type, distinct, known_from, order, percent, unknown};
use crate::render::{Grid, group, rows};

/// Most common values that are shown.
const COMMON: usize = 20;

/// Largest degrees that are shown.
const TOP: usize = 5;

/// The widest value of a list or fact.
const LONGEST: usize = 60;

/// All that is known of a column.
pub(crate) struct ColumnView<'a> {
    pub(super) table: &'a TableInfo,
    pub(super) column: &'a ColumnStats,
    pub(super) data_type: Option<&'a DataType>,
    pub(super) distribution: Option<Arc<Distribution>>,
    pub(super) degrees: Option<Arc<Degrees>>,
    pub(super) key_rows: Option<Arc<KeyRows>>,
}

impl<'a> ColumnView<'a> {
    /// Reads what the catalog has of the column.
    pub(crate) fn read(table: &'a TableInfo, column: &'a ColumnStats, schema: &'a Schema) -> Self {
        let details = &table.details;
        let name = &column.name;
        let mut distribution = details.distribution(name);
        // Footers tell the ends of ranges, and nothing of what lies between two booleans.
        let data_type = data_type(schema, name);
        if data_type == Some(&DataType::Boolean) && table.stats.scanned_rows == 0 {
            distribution = None;
        }
        Self {
            table,
            column,
            data_type,
            distribution: distribution.filter(|known| !known.histogram.buckets.is_empty()),
            degrees: details.degrees(name).filter(|_| column.is_key),
            key_rows: details.key_rows(name).filter(|_| column.is_key),
        }
    }

    /// The column as text.
    pub(crate) fn to_text(&self) -> String {
        let lines: Vec<String> = self
            .facts()
            .into_iter()
            .map(|(name, value)| format!("{name:<14} {value}"))
            .collect();
        let mut out = lines.join("\n");
        for part in [self.histogram(), self.common()].into_iter().flatten() {
            out.push_str("\n\n");
            out.push_str(&part);
        }
        out
    }

    /// Rows with a value.
    fn values(&self) -> Option<u64> {
        let nulls = self.column.null_count?;
        Some(self.table.stats.rows.saturating_sub(nulls))
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let Self {
            table,
            column,
            data_type,
            ..
        } = self;
        let all = table.stats.rows;
        let of_rows = |count: f64| format!(" ({} of {} rows)", percent(count, all), group(all));
        let mut facts = vec![
            ("column", format!("{}.{}", table.name, column.name)),
            ("type", data_type.map_or_else(unknown, DataType::to_string)),
            ("known from", known_from(&table.stats)),
            (
                "nulls",
                column
                    .null_count
                    .map_or_else(unknown, |nulls| group(nulls) + &of_rows(nulls as f64)),
            ),
            (
                "distinct",
                distinct(column.ndv, column.ndv_exact)
                    + &column
                        .ndv
                        .filter(|ndv| ndv * 100.0 >= all as f64)
                        .map(of_rows)
                        .unwrap_or_default(),
            ),
            (
                "min",
                bound(&column.min, column.min_exact, "≥", *data_type, LONGEST),
            ),
            (
                "max",
                bound(&column.max, column.max_exact, "≤", *data_type, LONGEST),
            ),
        ];
        facts.extend(self.quantiles().map(|text| ("quantiles", text)));
        facts.extend(
            self.nan_rows()
                .map(|nan| ("NaN", format!("~{}", group(nan)))),
        );
        facts.push((
            "bytes a value",
            column
                .byte_width
                .map_or_else(unknown, |width| format!("{width:.1}")),
        ));
        facts.extend(column.order.map(|known| ("order", order(known).to_owned())));
        if column.is_key {
            facts.push(("degrees", self.degree_fact()));
            facts.push(("key sample", self.key_fact()));
        }
        facts
    }

    /// A few values on the way from the least to the greatest, as many as fit a line.
    fn quantiles(&self) -> Option<String> {
        let known = self.distribution.as_ref()?;
        let few = self.column.ndv.is_none_or(|ndv| ndv <= BARS as f64);
        if few || self.table.stats.scanned_rows == 0 {
            return None;
        }
        for (percents, longest) in [(&[5, 25, 50, 75, 95][..], 10), (&[25, 50, 75], 22)] {
            let one = |&percent: &i32| {
                let value = quantile(&known.histogram, f64::from(percent) / 100.0)?;
                Some((percent, format_value(value, self.data_type)))
            };
            let values: Vec<_> = percents.iter().filter_map(one).collect();
            let fit = values.iter().all(|(_, text)| width(text) <= longest);
            if fit || percents.len() == 3 {
                let texts = values
                    .iter()
                    .map(|(percent, text)| format!("{percent} % {}", shorten(text, longest)));
                return Some(texts.collect::<Vec<_>>().join(", "));
            }
        }
        None
    }

    /// Rows that are neither null nor in the histogram, about: its rows are no exact count.
    pub(super) fn nan_rows(&self) -> Option<u64> {
        if !is_float(self.data_type) || !self.table.stats.analyzed {
            return None;
        }
        let values = self.values()?;
        let known = self.distribution.as_ref()?;
        if let Some(nan) = known.common.entries.iter().find(|e| e.value.is_none()) {
            return Some(nan.count);
        }
        let ordered = known.histogram.rows().round() as u64;
        Some(values.saturating_sub(ordered)).filter(|nan| nan * 100 > values)
    }

    fn degree_fact(&self) -> String {
        let Some(degrees) = &self.degrees else {
            return unknown();
        };
        let at_most = if degrees.exact { "" } else { "≤ " };
        let mut text = format!(
            "max {at_most}{}, ℓ2 norm {at_most}{}",
            group(degrees.max),
            rows(degrees.norms[1]),
        );
        if let Some(ndv) = self.column.ndv.filter(|ndv| *ndv > 0.0) {
            let mean = degrees.rows as f64 / ndv;
            text.push_str(&format!(", mean {mean:.2} rows a key"));
        }
        let top = top_degrees(degrees);
        if top.len() > 1 {
            let top: Vec<_> = top.into_iter().map(group).collect();
            text.push_str(&format!("; largest {}", top.join(" ")));
        }
        text
    }

    fn key_fact(&self) -> String {
        match &self.key_rows {
            Some(sample) if sample.below == u64::MAX => "all rows".to_owned(),
            Some(sample) => format!(
                "{} rows, {} of all keys",
                group(sample.batch.num_rows() as u64),
                percent(1e6 * sample.share(), 1_000_000)
            ),
            None => "none".to_owned(),
        }
    }

    fn histogram(&self) -> Option<String> {
        let Some(known) = &self.distribution else {
            return Some(format!("no histogram: {}", self.why_no_histogram()));
        };
        let histogram = &known.histogram;
        let (scanned, all) = (self.table.stats.scanned_rows, self.table.stats.rows);
        if scanned == 0 {
            let bars = Bars::of(histogram, self.data_type).draw(all);
            return Some(format!(
                "histogram, as far as the ranges of row groups tell\n{bars}"
            ));
        }
        if let Some(exact) = self.all_values() {
            return Some(format!("histogram, exact\n{}", exact.draw(scanned)));
        }
        let bars = Bars::of(histogram, self.data_type).draw(scanned);
        Some(match histogram.rank_error {
            error if error > 0.0 => {
                format!("histogram, ranks within ±{:.1} %\n{bars}", 100.0 * error)
            }
            _ => format!("histogram\n{bars}"),
        })
    }

    /// One bar a value, where there are few and all are counted.
    fn all_values(&self) -> Option<Bars> {
        let entries = &self.distribution.as_ref()?.common.entries;
        let ndv = self.column.ndv.filter(|_| self.column.ndv_exact)?;
        if entries.len() > BARS || entries.len() as f64 != ndv {
            return None;
        }
        let counted = |entry: &CommonValue| {
            let value = entry.value.clone().filter(|_| entry.error == 0)?;
            Some((value, entry.count as f64))
        };
        let values: Option<Vec<_>> = entries.iter().map(counted).collect();
        Some(Bars::of_values(values?, self.data_type))
    }

    fn why_no_histogram(&self) -> &'static str {
        let missing = format!("distribution of {}", self.column.name);
        let dropped = self.table.details.dropped();
        if self.values() == Some(0) {
            "the column has no values"
        } else if self.data_type.is_some_and(DataType::is_nested) {
            "of nested columns only the nulls are counted"
        } else if self.table.stats.scanned_rows == 0 {
            "only footers were read; `joinwright analyze` reads the data"
        } else if dropped.iter().any(|(what, ..)| *what == missing) {
            "it was dropped for space"
        } else if self.nan_only() {
            "all values are NaN"
        } else {
            "there is none for this type"
        }
    }

    fn nan_only(&self) -> bool {
        is_float(self.data_type) && self.column.min.is_none() && self.column.max.is_none()
    }

    fn common(&self) -> Option<String> {
        let known = self.distribution.as_ref()?;
        let scanned = self.table.stats.scanned_rows;
        if scanned == 0 {
            return None;
        }
        let common = &known.common;
        Some(match common.entries.first() {
            None => format!(
                "most common values: none has more than {}",
                row_count(common.missing)
            ),
            Some(first) if first.count + first.error <= 1 => {
                "most common values: none, each has one row".to_owned()
            }
            Some(_) => common_grid(common, self.data_type, scanned),
        })
    }
}

fn common_grid(common: &Mcv, data_type: Option<&DataType>, scanned: u64) -> String {
    let row = |entry: &CommonValue| {
        vec![
            match &entry.value {
                Some(value) => shorten(&format_value(value, data_type), LONGEST),
                None if is_float(data_type) => "NaN".to_owned(),
                None => format!("(long, hash {:016x})", entry.hash),
            },
            group(entry.count),
            percent(entry.count as f64, scanned),
            match entry.error {
                0 => "exact".to_owned(),
                error => format!("+ {} at most", group(error)),
            },
        ]
    };
    let header = ["most common value", "rows", "share", "error"];
    let grid = Grid {
        header: header.map(str::to_owned).to_vec(),
        rows: common.entries.iter().take(COMMON).map(row).collect(),
        left: vec![0],
    };
    let mut out = grid.to_terminal();
    let more = common.entries.len().saturating_sub(COMMON);
    if more > 0 {
        out.push_str(&format!("\n{} more are known", group(more as u64)));
    }
    if common.missing > 0 {
        let and = if more > 0 {
            "; any other has"
        } else {
            "\nany other has"
        };
        out.push_str(&format!("{and} {} at most", row_count(common.missing)));
    }
    out
}

/// Floats are never long: the one that is known by its hash alone is NaN.
pub(super) fn is_float(data_type: Option<&DataType>) -> bool {
    data_type.is_some_and(DataType::is_floating)
}

fn row_count(count: u64) -> String {
    match count {
        1 => "1 row".to_owned(),
        count => format!("{} rows", group(count)),
    }
}

/// The largest degrees, as far as each key's is known.
pub(super) fn top_degrees(degrees: &Degrees) -> Vec<u64> {
    let Some(vector) = &degrees.vector else {
        return Vec::new();
    };
    let mut counts = vector.counts.clone();
    counts.sort_unstable_by_key(|count| std::cmp::Reverse(*count));
    counts.into_iter().take(TOP).map(u64::from).collect()
}

#[cfg(test)]
mod tests {
    use joinwright_stats::{Bucket, Histogram, TableStats, Value};

    use super::*;

    fn view_of<'a>(
        table: &'a TableInfo,
        column: &'a ColumnStats,
        data_type: &'a DataType,
        distribution: Option<Distribution>,
    ) -> ColumnView<'a> {
        ColumnView {
            table,
            column,
            data_type: Some(data_type),
            distribution: distribution.map(Arc::new),
            degrees: None,
            key_rows: None,
        }
    }

    fn table(rows: u64, analyzed: bool) -> TableInfo {
        TableInfo {
            name: "t".to_owned(),
            files: Vec::new(),
            stats: Arc::new(TableStats {
                rows,
                analyzed,
                scanned_rows: if analyzed { rows } else { 0 },
                ..TableStats::default()
            }),
            details: Arc::default(),
            analyzed_at: None,
            row_groups: 1,
            page_index: false,
            entry_bytes: 0,
        }
    }

    fn column(nulls: u64) -> ColumnStats {
        ColumnStats {
            name: "c".to_owned(),
            null_count: Some(nulls),
            ..ColumnStats::default()
        }
    }

    fn bucket(value: f64, below: f64, equal: f64) -> Bucket {
        Bucket {
            upper: Value::Float(value),
            below,
            equal,
        }
    }

    #[test]
    fn common_values_and_nan() {
        let entry = |value, count, error| CommonValue {
            hash: 7,
            value,
            count,
            error,
        };
        let distribution = Distribution {
            common: Mcv {
                entries: vec![entry(Some(Value::Float(1.5)), 60, 0), entry(None, 20, 3)],
                missing: 9,
            },
            histogram: Histogram {
                buckets: vec![bucket(1.5, 0.0, 60.0), bucket(2.5, 10.0, 20.0)],
                rank_error: 0.0,
            },
        };
        let (info, stats) = (table(105, true), column(5));
        let view = view_of(&info, &stats, &DataType::Float64, Some(distribution));
        let text = view.to_text();
        for part in [
            "column         t.c",
            "nulls          5 (4.8 % of 105 rows)",
            "NaN            ~20",
            "+ 3 at most",
            " NaN   ",
            "57.1 %",
            "any other has 9 rows at most",
            "█",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
    }

    #[test]
    fn columns_without_histogram_say_why() {
        let check = |rows, nulls, analyzed, data_type: &DataType, expected: &str| {
            let (info, stats) = (table(rows, analyzed), column(nulls));
            let text = view_of(&info, &stats, data_type, None).to_text();
            assert!(text.contains(expected), "{text}");
        };
        let list = DataType::new_list(DataType::Int32, true);
        check(5, 5, true, &DataType::Int32, "the column has no values");
        check(0, 0, false, &DataType::Int32, "the column has no values");
        check(5, 1, true, &list, "of nested columns");
        check(5, 1, false, &DataType::Utf8, "only footers");
        check(5, 1, true, &DataType::Float32, "NaN");
        let interval = DataType::Interval(arrow::datatypes::IntervalUnit::DayTime);
        check(5, 1, true, &interval, "this type");
    }
}
