//! What is known about the rows and columns of a relation, a plain value that predicates refine.

use super::EstimateSource;
use crate::query_graph::Relation;
use datafusion::arrow::datatypes::DataType;
use joinwright_stats::{ColumnStats, TableStats, Value};

/// Fewer rows than this are not told apart; no estimate is zero.
pub(crate) const MIN_ROWS: f64 = 1e-3;

/// Distinct values of a column that has neither a sketch nor a range to derive them from: System R's
/// default of a tenth for an equality. Low on purpose: a join on two such columns looks large and comes late, where a
/// high guess would once have made a join of billions of rows look small and come first.
const GUESS_NDV: f64 = 10.0;

/// What is known about one column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnProfile {
    /// The column's type.
    pub data_type: DataType,
    /// Distinct values among the rows, NULL not counted; at least one.
    pub ndv: f64,
    /// Share of the rows that are NULL, within [0, 1].
    pub null_fraction: f64,
    /// A value that no value of the column is below.
    pub min: Option<Value>,
    /// A value that no value of the column is above.
    pub max: Option<Value>,
    /// Where `ndv` came from.
    pub source: EstimateSource,
}

impl ColumnProfile {
    /// A column of which only the type is known. It is taken for a key: joined with another column it
    /// then keeps the rows of the smaller side, and an equality finds one row.
    pub fn unknown(data_type: DataType, rows: f64) -> Self {
        let ndv = match data_type {
            DataType::Boolean => 2.0,
            _ => rows,
        };
        Self {
            data_type,
            ndv: ndv.clamp(1.0, rows.max(1.0)),
            null_fraction: 0.0,
            min: None,
            max: None,
            source: EstimateSource::Guess,
        }
    }

    /// A column of a table with statistics.
    pub fn from_stats(stats: &ColumnStats, data_type: DataType, rows: f64) -> Self {
        let nulls = stats.null_count.unwrap_or(0) as f64;
        let null_fraction = if rows > 0.0 {
            (nulls / rows).clamp(0.0, 1.0)
        } else {
            0.0
        };
        let not_null = (rows - nulls).max(1.0);
        let (ndv, source) = match (stats.ndv, integer_span(stats)) {
            (Some(ndv), _) => (ndv, EstimateSource::Ndv),
            // Without a sketch: integer columns are mostly dense keys.
            (None, Some(span)) => (span, EstimateSource::MinMax),
            (None, None) if data_type == DataType::Boolean => (2.0, EstimateSource::MinMax),
            (None, None) => (GUESS_NDV, EstimateSource::Guess),
        };
        Self {
            data_type,
            ndv: ndv.clamp(1.0, not_null),
            null_fraction,
            min: stats.min.clone(),
            max: stats.max.clone(),
            source,
        }
    }

    /// The column after its relation shrank from `before` to `after` rows by predicates that have
    /// nothing to do with it.
    pub(crate) fn shrink(&mut self, before: f64, after: f64) {
        self.ndv = distinct_after(self.ndv, before * (1.0 - self.null_fraction), after).max(1.0);
    }
}

/// Number of integers between a column's bounds, or of days of a date column.
fn integer_span(stats: &ColumnStats) -> Option<f64> {
    match (&stats.min, &stats.max) {
        (Some(Value::Int(min)), Some(Value::Int(max))) => {
            Some(max.saturating_sub(*min) as f64 + 1.0)
        }
        _ => None,
    }
}

/// What is known about the rows of a relation or of a whole plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Rows; above zero.
    pub rows: f64,
    /// Where `rows` came from.
    pub source: EstimateSource,
    /// Whether the row count of every table below is known. What rests on a table of unknown size
    /// is a guess, however precise the rest.
    pub known: bool,
    /// Whether a table below has files that its statistics do not cover, so that they were scaled.
    pub stale: bool,
    /// By column, in the order of the schema.
    pub columns: Vec<ColumnProfile>,
}

impl Profile {
    /// A relation of `rows` rows, counted, with columns of which nothing is known.
    pub fn counted(rows: f64, types: impl IntoIterator<Item = DataType>) -> Self {
        Self {
            rows: rows.max(MIN_ROWS),
            source: EstimateSource::Exact,
            known: true,
            stale: false,
            columns: types
                .into_iter()
                .map(|t| ColumnProfile::unknown(t, rows))
                .collect(),
        }
    }

    /// The columns `names` of a table with statistics.
    pub fn from_stats<'a>(
        table: &TableStats,
        columns: impl IntoIterator<Item = (&'a str, DataType)>,
    ) -> Self {
        let rows = table.rows as f64;
        Self {
            rows: rows.max(MIN_ROWS),
            source: EstimateSource::Exact,
            known: true,
            stale: table.stale,
            columns: columns
                .into_iter()
                .map(|(name, data_type)| match table.column(name) {
                    Some(stats) => ColumnProfile::from_stats(stats, data_type, rows),
                    None => ColumnProfile::unknown(data_type, rows),
                })
                .collect(),
        }
    }

    /// Sets the rows of what predicates leave of a relation, where they are known better than from formulas. What a predicate says of its
    /// own column stays.
    pub(crate) fn correct_rows(&mut self, relation: &Relation, rows: f64) {
        let base = &relation.base;
        for (column, place) in self.columns.iter_mut().zip(&relation.output) {
            if let Some(whole) = base.columns.get(*place) {
                let of = |rows| distinct_after(whole.ndv, base.rows, rows).max(1.0);
                column.ndv = (of(rows) * column.ndv / of(self.rows)).clamp(1.0, rows.max(1.0));
            }
        }
        self.rows = rows;
    }

    /// Sets the rows; the columns follow as after predicates that have nothing to do with them. More
    /// rows than before leave the columns as they are: joins repeat values, they do not make any.
    pub(crate) fn set_rows(&mut self, rows: f64) {
        let before = self.rows;
        self.rows = rows.max(MIN_ROWS);
        if self.rows < before {
            for column in &mut self.columns {
                column.shrink(before, self.rows);
            }
        }
    }
}

/// Expected distinct values among `after` rows drawn from `before` rows with `ndv` distinct values,
/// each equally frequent: d · (1 − (1 − m/n)^(n/d)), the usual approximation of Yao (CACM 1977).
pub fn distinct_after(ndv: f64, before: f64, after: f64) -> f64 {
    if after >= before || before <= 0.0 || ndv <= 0.0 {
        return ndv;
    }
    let kept = (after / before).clamp(0.0, 1.0);
    let per_value = (before / ndv).max(1.0);
    // ln_1p keeps precision where a tiny share of a huge relation is drawn.
    let hit = -f64::exp_m1(per_value * f64::ln_1p(-kept));
    (ndv * hit).min(after).max(ndv.min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_values_of_a_part() {
        // A key keeps one value a row, a two-valued column keeps both, nothing grows.
        assert!((distinct_after(1e6, 1e6, 1e3) - 1e3).abs() < 1.0);
        assert!((distinct_after(2.0, 1e6, 1e3) - 2.0).abs() < 1e-9);
        assert_eq!(distinct_after(50.0, 100.0, 200.0), 50.0);
        // Drawing half of 2-row groups hits three quarters of them.
        assert!((distinct_after(500.0, 1000.0, 500.0) - 375.0).abs() < 1e-6);
        assert!(distinct_after(500.0, 1000.0, 0.0) >= 1.0);
    }
}
