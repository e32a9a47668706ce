//! Compares what the catalog says of a table with exact answers, which DataFusion's `GROUP BY` gives.
//!
//! One query a column returns its values in order with their rows. From it follow the number of distinct values, the rows of each
//! common value, the rank of each value, and the norms of the degrees. The bars:
//!
//! | of | bar |
//! |---|---|
//! | NDV | within 3 % for 95 % of all columns, within 8 % for each |
//! | common values | each of more than 0.1 % of the rows is listed, and its count is within the stated bound |
//! | histogram | ranks within 1 % of the rows, at the end of each bucket and at 2,000 values between |
//! | degrees | no norm, no maximum and no bin below the truth; what is said to be exact is |
//!
//! Nulls count nowhere; NaN is one value for NDV and common values, and has no place in a histogram. Negative zero is zero.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, UInt64Type};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use joinwright_stats::{
    CommonValue, Degrees, Distribution, Family, Histogram, Rank, TableDetails, TableStats, Value,
};

/// Share of the rows above which a value has to be listed.
const COMMON: f64 = 0.001;

/// NDV errors: for most columns, and for each.
const NDV_MOST: f64 = 0.03;
const NDV_WORST: f64 = 0.08;

/// The most that a rank may be wrong by.
const RANK: f64 = 0.01;

/// Ranks that are checked beside those of bucket ends.
const RANKS: u64 = 2_000;

/// Longer strings are ordered by so many bytes.
const ORDERED_BYTES: usize = 128;

/// The share of the rows that a histogram may have too few or too many: the weights of a quantile sketch are rounded.
const HISTOGRAM_ROWS: f64 = 0.001;

/// Sums of powers are rounded.
const ROUNDING: f64 = 1e-9;

/// Of a table with a line for each column; ratios are bounds over the truth.
pub(crate) const HEADER: [&str; 12] = [
    "column",
    "distinct",
    "NDV off by",
    "common listed",
    "entries",
    "ranks off by",
    "stated",
    "degrees",
    "l∞ ratio",
    "l2 ratio",
    "l3 ratio",
    "violations",
];

/// What was found of one column.
pub(crate) struct ColumnReport {
    pub(crate) table: String,
    pub(crate) column: String,
    /// The number of distinct values, and what the catalog says.
    pub(crate) distinct: u64,
    pub(crate) ndv: Option<f64>,
    /// Values of more than 0.1 % of the rows, those of them that are listed, and all that are.
    pub(crate) common: u64,
    pub(crate) listed: u64,
    pub(crate) entries: usize,
    /// The most by which the true rank differs, as a share of the rows.
    pub(crate) rank_error: Option<f64>,
    /// What the histogram says of that, at 99 % confidence.
    pub(crate) stated_error: Option<f64>,
    /// Of a key column.
    pub(crate) degrees: Option<DegreesReport>,
    /// What breaks a promise of the catalog, but for the share of columns whose NDV may be off.
    pub(crate) violations: Vec<String>,
}

/// How far the bounds of degrees lie above the truth, as ratios.
pub(crate) struct DegreesReport {
    pub(crate) exact: bool,
    pub(crate) max: f64,
    /// From ℓ1.
    pub(crate) norms: Vec<f64>,
}

impl ColumnReport {
    /// Relative error of the NDV.
    pub(crate) fn ndv_error(&self) -> Option<f64> {
        let truth = self.distinct as f64;
        self.ndv.map(|ndv| (ndv - truth).abs() / truth.max(1.0))
    }

    /// The cells of its line in a table, below [`HEADER`].
    pub(crate) fn cells(&self) -> Vec<String> {
        let percent = |share: Option<f64>| {
            let text = |share: f64| format!("{:.2} %", share * 100.0);
            share.map_or_else(|| "-".to_owned(), text)
        };
        let ratio = |ratio: f64| match ratio <= 1.0 + ROUNDING {
            true => "1".to_owned(),
            false => format!("{ratio:.2}"),
        };
        let mut cells = vec![
            format!("{}.{}", self.table, self.column),
            self.distinct.to_string(),
            percent(self.ndv_error()),
            format!("{} of {}", self.listed, self.common),
            self.entries.to_string(),
            percent(self.rank_error),
            percent(self.stated_error),
        ];
        match &self.degrees {
            Some(degrees) => {
                cells.push(if degrees.exact { "exact" } else { "bounds" }.to_owned());
                cells.push(ratio(degrees.max));
                cells.extend(
                    [1, 2].map(|p| degrees.norms.get(p).map_or("-".to_owned(), |n| ratio(*n))),
                );
            }
            None => cells.extend(["", "", "", ""].map(str::to_owned)),
        }
        cells.push(self.violations.len().to_string());
        cells
    }
}

/// What breaks a promise in any of the columns, by table and column.
pub(crate) fn violations(reports: &[ColumnReport]) -> Vec<String> {
    let named = |report: &ColumnReport| {
        let name = format!("{}.{}", report.table, report.column);
        let violations = report.violations.iter();
        violations
            .map(move |violation| format!("{name}: {violation}"))
            .collect::<Vec<_>>()
    };
    let mut all: Vec<String> = reports.iter().flat_map(named).collect();
    let errors = reports.iter().filter_map(ColumnReport::ndv_error);
    let off = errors.filter(|error| *error > NDV_MOST).count();
    if off * 20 > reports.len() {
        all.push(format!(
            "the NDV of {off} of {} columns is off by more than {:.0} %",
            reports.len(),
            NDV_MOST * 100.0
        ));
    }
    all
}

/// Compares all flat columns of a table, which `context` knows by its name.
pub(crate) async fn check_table(
    context: &SessionContext,
    table: &str,
    stats: &TableStats,
    details: &TableDetails,
) -> Result<Vec<ColumnReport>> {
    let frame = context.table(format!("\"{table}\"")).await?;
    let schema = frame.schema().as_arrow().clone();
    let mut reports = Vec::new();
    for field in schema.fields() {
        // Intervals have no order, and nested values not even a hash.
        let family = Family::of(field.data_type());
        if matches!(family, Family::Nested | Family::Interval(_)) {
            continue;
        }
        let name = field.name();
        let checking = || format!("cannot check column {name} of {table}");
        let mut check = Check::new(name, stats, details);
        let sql = format!(
            "SELECT \"{name}\" AS value, COUNT(*) AS n FROM \"{table}\" GROUP BY \"{name}\" ORDER BY \"{name}\" NULLS FIRST"
        );
        let groups = context.sql(&sql).await.with_context(checking)?;
        let mut groups = groups.execute_stream().await.with_context(checking)?;
        while let Some(batch) = groups.try_next().await.with_context(checking)? {
            let values = values_of(batch.column(0)).with_context(checking)?;
            let counts = batch.column(1).as_primitive::<Int64Type>().values();
            for (value, count) in values.into_iter().zip(counts) {
                check.add(value, count.unsigned_abs());
            }
        }
        reports.push(check.finish(table));
    }
    Ok(reports)
}

/// A rank to be compared once all rows are known.
struct RankAt {
    stated: Rank,
    /// It ends a bucket, so that the rows with the value itself are known as well.
    is_end: bool,
    below: u64,
    equal: u64,
}

/// The comparison of one column, to which its values come in order.
struct Check<'a> {
    name: &'a str,
    stats: &'a TableStats,
    distribution: Option<Arc<Distribution>>,
    entries: HashMap<u64, CommonValue>,
    degrees: Option<Arc<Degrees>>,
    /// The value before, whose rows may not be complete: both zeros are one value.
    pending: Option<(Value, u64)>,
    /// The same for the order of long strings.
    pending_rank: Option<(Value, u64)>,
    nulls: u64,
    distinct: u64,
    /// Rows with values that have a rank.
    ranked: u64,
    least: Option<Value>,
    greatest: Option<Value>,
    ranks: Vec<RankAt>,
    /// The next bucket whose end is to come, and the row from which on a rank is due.
    bucket: usize,
    due: u64,
    strange_ends: u64,
    common: u64,
    listed: u64,
    known_entries: usize,
    max: u64,
    powers: Vec<f64>,
    bins: Vec<(u64, u64, u64)>,
    violations: Vec<String>,
}

impl<'a> Check<'a> {
    fn new(name: &'a str, stats: &'a TableStats, details: &TableDetails) -> Self {
        let distribution = details.distribution(name);
        let entries = distribution.iter().flat_map(|d| &d.common.entries);
        let degrees = details.degrees(name);
        Self {
            name,
            stats,
            entries: entries.map(|entry| (entry.hash, entry.clone())).collect(),
            powers: vec![0.0; degrees.as_ref().map_or(0, |degrees| degrees.norms.len())],
            bins: vec![(0, 0, 0); degrees.as_ref().map_or(0, |degrees| degrees.bins.len())],
            degrees,
            distribution,
            pending: None,
            pending_rank: None,
            nulls: 0,
            distinct: 0,
            ranked: 0,
            least: None,
            greatest: None,
            ranks: Vec::new(),
            bucket: 0,
            due: 0,
            strange_ends: 0,
            common: 0,
            listed: 0,
            known_entries: 0,
            max: 0,
            violations: Vec::new(),
        }
    }

    /// Keeps a few of what may be thousands.
    fn violation(&mut self, text: String) {
        if self.violations.len() < 5 {
            self.violations.push(text);
        }
    }

    fn add(&mut self, value: Option<Value>, rows: u64) {
        let Some(value) = value else {
            self.nulls += rows;
            return;
        };
        match &mut self.pending {
            Some((last, count)) if is_same(last, &value) => *count += rows,
            pending => {
                if let Some((last, count)) = pending.replace((value, rows)) {
                    self.count(last, count);
                }
            }
        }
    }

    /// A value with all of its rows.
    fn count(&mut self, value: Value, rows: u64) {
        self.distinct += 1;
        let hash = value.hash();
        let listed = self.entries.get(&hash).cloned();
        let is_common = rows as f64 > COMMON * self.stats.rows as f64;
        self.common += u64::from(is_common);
        self.listed += u64::from(is_common && listed.is_some());
        let missing = self.distribution.as_ref().map(|d| d.common.missing);
        match (&listed, missing) {
            (Some(entry), _) => {
                self.known_entries += 1;
                if rows < entry.count || rows > entry.count + entry.error {
                    let (count, error) = (entry.count, entry.error);
                    self.violation(format!(
                        "{value:?} has {rows} rows, not {count} to {error} more"
                    ));
                }
                if entry
                    .value
                    .as_ref()
                    .is_some_and(|other| !is_same(other, &value))
                {
                    self.violation(format!("{value:?} is listed as {:?}", entry.value));
                }
            }
            (None, Some(missing)) if rows > missing || is_common => {
                self.violation(format!(
                    "{value:?} has {rows} rows and is not listed; {missing} may be missing"
                ));
            }
            (None, _) => {}
        }
        if let Some(degrees) = self.degrees.clone() {
            self.max = self.max.max(rows);
            let mut power = 1.0;
            for sum in &mut self.powers {
                power *= rows as f64;
                *sum += power;
            }
            let shift = u64::BITS - self.bins.len().trailing_zeros();
            let bin = &mut self.bins[(hash >> shift) as usize];
            *bin = (bin.0 + rows, bin.1 + 1, bin.2.max(rows));
            let known = degrees
                .vector
                .as_ref()
                .map(|vector| u64::from(vector.degree(hash)));
            if let Some(known) = known.filter(|known| *known != rows) {
                self.violation(format!("the degree of {value:?} is {rows}, not {known}"));
            }
        }
        if matches!(value, Value::Float(float) if float.is_nan()) {
            return;
        }
        self.least.get_or_insert_with(|| value.clone());
        self.greatest = Some(value.clone());
        let ordered = match value {
            Value::Bytes(mut bytes) => {
                bytes.truncate(ORDERED_BYTES);
                Value::Bytes(bytes)
            }
            value => value,
        };
        match &mut self.pending_rank {
            Some((last, count)) if is_same(last, &ordered) => *count += rows,
            pending => {
                if let Some((last, count)) = pending.replace((ordered, rows)) {
                    self.rank(&last, count);
                }
            }
        }
    }

    /// A value in the order of all, with all of its rows.
    fn rank(&mut self, value: &Value, rows: u64) {
        let below = self.ranked;
        self.ranked += rows;
        let Some(distribution) = self.distribution.clone() else {
            return;
        };
        let buckets = &distribution.histogram.buckets;
        let mut is_end = false;
        while let Some(bucket) = buckets.get(self.bucket) {
            match bucket.upper.compare(value) {
                Some(Ordering::Less) => self.strange_ends += 1,
                Some(Ordering::Equal) => is_end = true,
                _ => break,
            }
            self.bucket += 1;
        }
        if is_end || self.ranked > self.due {
            self.due = self.ranked + self.stats.rows / RANKS;
            match distribution.histogram.rank(value) {
                Some(stated) => self.ranks.push(RankAt {
                    stated,
                    is_end,
                    below,
                    equal: rows,
                }),
                None => self.violation(format!("{value:?} has no rank")),
            }
        }
    }

    fn finish(mut self, table: &str) -> ColumnReport {
        if let Some((value, rows)) = self.pending.take() {
            self.count(value, rows);
        }
        if let Some((value, rows)) = self.pending_rank.take() {
            self.rank(&value, rows);
        }
        self.check_bounds();
        let distribution = self.distribution.clone();
        let rank_error = match distribution.as_deref() {
            Some(distribution) => {
                if self.known_entries != distribution.common.entries.len() {
                    let strange = distribution.common.entries.len() - self.known_entries;
                    self.violation(format!("{strange} common values are none of the column"));
                }
                self.check_ranks(&distribution.histogram)
            }
            None => {
                self.violation("no distribution".to_owned());
                None
            }
        };
        let degrees = self.check_degrees();
        let column = self.stats.column(self.name);
        let report = ColumnReport {
            table: table.to_owned(),
            column: self.name.to_owned(),
            distinct: self.distinct,
            ndv: column.and_then(|column| column.ndv),
            common: self.common,
            listed: self.listed,
            entries: self.entries.len(),
            rank_error,
            stated_error: distribution.map(|distribution| distribution.histogram.rank_error),
            degrees,
            violations: Vec::new(),
        };
        match report.ndv_error() {
            None => self.violation("no NDV".to_owned()),
            Some(error) if error > NDV_WORST => {
                self.violation(format!("the NDV is off by {:.1} %", error * 100.0));
            }
            Some(error) if error > 0.0 && column.is_some_and(|column| column.ndv_exact) => {
                self.violation(format!(
                    "the NDV is {}, and is said to be counted",
                    self.distinct
                ));
            }
            Some(_) => {}
        }
        ColumnReport {
            violations: self.violations,
            ..report
        }
    }

    /// Nulls, least and greatest value.
    fn check_bounds(&mut self) {
        let Some(column) = self.stats.column(self.name) else {
            self.violation("not known".to_owned());
            return;
        };
        if column.null_count != Some(self.nulls) {
            self.violation(format!("{} nulls, not {:?}", self.nulls, column.null_count));
        }
        for (stated, truth, exact, wrong) in [
            (
                &column.min,
                self.least.clone(),
                column.min_exact,
                Ordering::Greater,
            ),
            (
                &column.max,
                self.greatest.clone(),
                column.max_exact,
                Ordering::Less,
            ),
        ] {
            let (Some(stated), Some(truth)) = (stated, truth) else {
                continue;
            };
            let order = stated.compare(&truth);
            if order == Some(wrong) || (exact && order != Some(Ordering::Equal)) {
                self.violation(format!("{stated:?} is no bound of {truth:?}, or not exact"));
            }
        }
    }

    fn check_ranks(&mut self, histogram: &Histogram) -> Option<f64> {
        let rows = self.ranked as f64;
        // Ends beyond the greatest value are of no value either.
        let strange = self.strange_ends + (histogram.buckets.len() - self.bucket) as u64;
        if strange > 0 {
            self.violation(format!(
                "{strange} buckets end at what is no value of the column"
            ));
        }
        if (histogram.rows() - rows).abs() > HISTOGRAM_ROWS * rows {
            self.violation(format!(
                "the histogram has {} rows of {rows}",
                histogram.rows()
            ));
        }
        let mut worst: Option<f64> = None;
        for at in std::mem::take(&mut self.ranks) {
            let below = (at.stated.below - at.below as f64 / rows).abs();
            let end = at.stated.below + at.stated.equal;
            let end = (end - (at.below + at.equal) as f64 / rows).abs();
            let error = if at.is_end { below.max(end) } else { below };
            worst = Some(worst.map_or(error, |worst| worst.max(error)));
        }
        if let Some(worst) = worst.filter(|worst| *worst > RANK) {
            self.violation(format!("ranks are off by {:.2} %", worst * 100.0));
        }
        worst
    }

    fn check_degrees(&mut self) -> Option<DegreesReport> {
        let Some(degrees) = self.degrees.clone() else {
            if self
                .stats
                .column(self.name)
                .is_some_and(|column| column.is_key)
            {
                self.violation("no degrees of a key".to_owned());
            }
            return None;
        };
        let rows = self.stats.rows - self.nulls;
        if degrees.rows != rows {
            self.violation(format!("degrees of {} rows, not {rows}", degrees.rows));
        }
        if degrees.max < self.max || (degrees.exact && degrees.max != self.max) {
            self.violation(format!(
                "the largest degree is {}, not {}",
                self.max, degrees.max
            ));
        }
        let mut norms = Vec::new();
        for (index, stated) in degrees.norms.iter().enumerate() {
            let truth = self.powers[index].powf(1.0 / (index + 1) as f64);
            let low = *stated < truth * (1.0 - ROUNDING);
            if low || (degrees.exact && *stated > truth * (1.0 + ROUNDING)) {
                self.violation(format!("the l{} norm is {truth}, not {stated}", index + 1));
            }
            norms.push(if truth > 0.0 { stated / truth } else { 1.0 });
        }
        for (bin, truth) in degrees.bins.iter().zip(std::mem::take(&mut self.bins)) {
            let keys = bin.keys != 0 && bin.keys != truth.1;
            if bin.rows != truth.0 || keys || bin.max < truth.2 {
                self.violation(format!("{bin:?} for (rows, keys, max) {truth:?}"));
            }
        }
        let keys = degrees
            .vector
            .as_ref()
            .map(|vector| vector.hashes.len() as u64);
        if keys.is_some_and(|keys| keys != self.distinct) {
            self.violation(format!(
                "a degree vector of {keys:?} keys, not {}",
                self.distinct
            ));
        }
        let max = degrees.max as f64 / self.max.max(1) as f64;
        Some(DegreesReport {
            exact: degrees.exact,
            max,
            norms,
        })
    }
}

/// NaN is no number, but one value.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a == b || (a.is_nan() && b.is_nan()),
        _ => a.compare(b) == Some(Ordering::Equal),
    }
}

/// The elements of an array, `None` where null. Made apart from the statistics' own way of doing so.
fn values_of(array: &ArrayRef) -> Result<Vec<Option<Value>>> {
    if let DataType::Dictionary(_, values) = array.data_type() {
        return values_of(&cast(array, values)?);
    }
    Ok(match Family::of(array.data_type()) {
        Family::Null => vec![None; array.len()],
        Family::Bool => {
            let values = array.as_boolean().iter();
            values.map(|value| value.map(Value::Bool)).collect()
        }
        Family::Float => {
            let array = cast(array, &DataType::Float64)?;
            let values = array.as_primitive::<Float64Type>().iter();
            values.map(|value| value.map(Value::Float)).collect()
        }
        Family::Decimal(scale) => {
            let array = cast(array, &DataType::Decimal128(38, scale))?;
            let values = array.as_primitive::<Decimal128Type>().iter();
            let decimal = |unscaled| Value::Decimal { unscaled, scale };
            values.map(|value| value.map(decimal)).collect()
        }
        Family::Bytes => {
            let array = match array.data_type() {
                DataType::BinaryView => Arc::clone(array),
                _ => cast(array, &DataType::BinaryView)?,
            };
            let values = array.as_binary_view().iter();
            values
                .map(|value| value.map(|bytes| Value::Bytes(bytes.to_vec())))
                .collect()
        }
        _ if *array.data_type() == DataType::UInt64 => {
            let values = array.as_primitive::<UInt64Type>().iter();
            values
                .map(|value| value.map(|value| Value::Int(value.into())))
                .collect()
        }
        _ => {
            // Days and short times become numbers of their own width first.
            let array = match array.data_type() {
                DataType::Date32 | DataType::Time32(_) => cast(array, &DataType::Int32)?,
                _ => Arc::clone(array),
            };
            let array = cast(&array, &DataType::Int64)?;
            let values = array.as_primitive::<Int64Type>().iter();
            values
                .map(|value| value.map(|value| Value::Int(value.into())))
                .collect()
        }
    })
}
