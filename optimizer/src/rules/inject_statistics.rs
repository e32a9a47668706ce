//! `InjectStatistics`: what the catalog knows of a table, for DataFusion's own estimates.
//!
//! DataFusion reads rows, bounds and null counts from Parquet footers, but finds no distinct counts
//! there, since hardly a writer stores them. So it takes every column for a key, unless its bounds
//! are narrow, and a `GROUP BY` for one that groups nothing. This rule adds the missing numbers to
//! the scans of a physical plan, right before `join_selection` picks build sides by them.
//!
//! Of all places this is the one that a session's own option can reach. The file statistics cache belongs
//! to every session of a runtime, is filled by the first scan, and merges the distinct counts of files
//! by their bounds; `TableProvider::statistics` is never asked; a provider around another hides it; and
//! `StatisticsRegistry` has formulas of its own, whose byte sizes ignore the rows that they find.
//!
//! DataFusion answers `count`, `min` and `max` from statistics that are `Exact`. Ours describe the
//! files as they were when analyzed, so all of them are `Inexact`, and none takes the place of an
//! exact one.
//!
//! Bounds are left out altogether. DataFusion's `FilterExec` takes a column for a constant as soon as
//! bounds and predicate leave one value, exact bounds or not, and a sort by that column is dropped;
//! bounds that contradict each other are an error of the query. The size of a whole table is left
//! out too: it would count as the size of whichever columns are projected.

use crate::options::JoinwrightOptions;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{ColumnStatistics, Result, Statistics};
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use joinwright_stats::{Catalog, ColumnStats, Snapshot, TableStats};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The physical optimizer rule. Does nothing unless `joinwright.inject_statistics` is set.
#[derive(Debug)]
pub struct InjectStatistics {
    catalog: Arc<Catalog>,
}

impl InjectStatistics {
    /// A rule with the statistics of `catalog`.
    pub fn new(catalog: Arc<Catalog>) -> Self {
        Self { catalog }
    }
}

impl PhysicalOptimizerRule for InjectStatistics {
    fn name(&self) -> &str {
        "inject_statistics"
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = config.extensions.get::<JoinwrightOptions>();
        if !options.is_some_and(|options| options.inject_statistics) {
            return Ok(plan);
        }
        let snapshot = self.catalog.snapshot();
        let informed = Arc::clone(&plan).transform_up(|node| {
            Ok(match informed_scan(&node, &snapshot) {
                Some(scan) => Transformed::yes(scan),
                None => Transformed::no(node),
            })
        });
        // The nodes above a scan are made anew, and some of them look at its statistics.
        Ok(informed.data().unwrap_or_else(|error| {
            tracing::warn!(%error, "statistics could not be injected");
            plan
        }))
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The scan with what the catalog knows of its files; `None` if this is no scan of files, or if the
/// catalog does not know every one of them: the distinct values of some files say little about all.
fn informed_scan(
    node: &Arc<dyn ExecutionPlan>,
    snapshot: &Snapshot,
) -> Option<Arc<dyn ExecutionPlan>> {
    let exec = node.downcast_ref::<DataSourceExec>()?;
    let scan = exec.data_source().downcast_ref::<FileScanConfig>()?;
    let files = file_keys(scan);
    let table = snapshot.table(&files)?;
    if table.files != files.len() {
        return None;
    }
    // Before projection and filters: DataFusion applies both to whatever stands here.
    let mut statistics = scan.statistics();
    let schema = scan.file_source().table_schema().table_schema();
    inform(&mut statistics, schema, &table, scan.limit);
    let scan = FileScanConfigBuilder::from(scan.clone())
        .with_statistics(statistics)
        .build();
    Some(Arc::new(exec.clone().with_data_source(Arc::new(scan))))
}

/// The catalog's keys of the files that are scanned, which are those that partition pruning left.
/// Sorted, each once: a file may be cut into ranges.
fn file_keys(scan: &FileScanConfig) -> Vec<String> {
    let store = scan.object_store_url.as_str();
    let files = scan.file_groups.iter().flat_map(|group| group.iter());
    let keys: BTreeSet<String> = files
        .map(|file| format!("{store}{}", file.object_meta.location))
        .collect();
    keys.into_iter().collect()
}

/// Adds to the statistics of a scan what `table` knows beyond them. `schema` is that of the columns
/// before projection.
fn inform(statistics: &mut Statistics, schema: &Schema, table: &TableStats, limit: Option<usize>) {
    // Somebody's own source with something else in there.
    if statistics.column_statistics.len() != schema.fields().len() {
        return;
    }
    if statistics.num_rows == Precision::Absent {
        let rows = estimate(table.rows as f64).map(|rows| rows.min(limit.unwrap_or(rows)));
        statistics.num_rows = rows.map_or(Precision::Absent, Precision::Inexact);
    }
    let most = statistics.num_rows.get_value().copied();
    let most = most.into_iter().chain(limit).min();
    let known: HashMap<&str, &ColumnStats> = table
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column))
        .collect();
    let fields = schema.fields().iter();
    for (column, field) in statistics.column_statistics.iter_mut().zip(fields) {
        if let Some(known) = known.get(field.name().as_str()) {
            inform_column(column, known, table.rows, most);
        }
    }
}

/// Adds to the statistics of a column of `rows` rows what `known` says beyond them. The scan returns
/// `most` rows at most.
fn inform_column(
    column: &mut ColumnStatistics,
    known: &ColumnStats,
    rows: u64,
    most: Option<usize>,
) {
    let add = |slot: &mut Precision<usize>, value: Option<f64>| {
        if let Some(value) = value.and_then(estimate)
            && *slot == Precision::Absent
        {
            *slot = Precision::Inexact(value);
        }
    };
    add(&mut column.null_count, known.null_count.map(|n| n as f64));
    let values = rows.saturating_sub(known.null_count.unwrap_or(0)) as f64;
    add(&mut column.byte_size, known.byte_width.map(|w| w * values));
    // An inexact count is the largest of those of single row groups or files. Ours is of all.
    let exact = matches!(column.distinct_count, Precision::Exact(_));
    if let Some(ndv) = known.ndv.and_then(estimate)
        && !exact
    {
        // A join of columns without any value is one that DataFusion gives up on.
        let ndv = ndv.max(1).min(most.unwrap_or(usize::MAX));
        column.distinct_count = Precision::Inexact(ndv);
    }
}

/// A number as DataFusion counts; `None` if it is none.
fn estimate(value: f64) -> Option<usize> {
    // Beyond the largest integer this is the largest integer.
    (value >= 0.0).then(|| value.round() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::{DataType, Field};
    use datafusion::common::ScalarValue;

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("a", DataType::Int32, true),
            Field::new("p", DataType::Utf8, true),
        ])
    }

    /// A table of 100 rows and the column `a`.
    fn table(a: ColumnStats) -> TableStats {
        let name = "a".to_string();
        TableStats {
            rows: 100,
            bytes: 1_000,
            files: 1,
            analyzed: true,
            columns: vec![ColumnStats { name, ..a }],
            ..TableStats::default()
        }
    }

    fn column() -> ColumnStats {
        ColumnStats {
            null_count: Some(10),
            min: Some(joinwright_stats::Value::Int(1)),
            max: Some(joinwright_stats::Value::Int(1)),
            byte_width: Some(4.0),
            ndv: Some(30.0),
            ..ColumnStats::default()
        }
    }

    /// The statistics of a scan of unknown, or of these.
    fn informed(before: Statistics, table: &TableStats, limit: Option<usize>) -> Statistics {
        let mut statistics = before;
        inform(&mut statistics, &schema(), table, limit);
        statistics
    }

    fn unknown() -> Statistics {
        Statistics::new_unknown(&schema())
    }

    #[test]
    fn what_is_missing_is_added() {
        let statistics = informed(unknown(), &table(column()), None);
        assert_eq!(statistics.num_rows, Precision::Inexact(100));
        let a = &statistics.column_statistics[0];
        assert_eq!(a.distinct_count, Precision::Inexact(30));
        assert_eq!(a.null_count, Precision::Inexact(10));
        assert_eq!(a.byte_size, Precision::Inexact(360));
        assert_eq!(
            (&a.min_value, &a.max_value),
            (&Precision::Absent, &Precision::Absent)
        );
        assert_eq!(
            statistics.column_statistics[1],
            ColumnStatistics::new_unknown()
        );
        // Whatever is projected, the size of all columns is not the size of that.
        assert_eq!(statistics.total_byte_size, Precision::Absent);
        // It is still so when told again.
        assert_eq!(
            informed(statistics.clone(), &table(column()), None),
            statistics
        );
    }

    #[test]
    fn what_is_known_stays() {
        let bound = |value| Precision::Exact(ScalarValue::Int32(Some(value)));
        let a = ColumnStatistics {
            null_count: Precision::Exact(3),
            min_value: bound(5),
            max_value: bound(500),
            sum_value: Precision::Absent,
            distinct_count: Precision::Exact(7),
            byte_size: Precision::Inexact(9),
        };
        let known = Statistics {
            num_rows: Precision::Exact(1_000),
            total_byte_size: Precision::Inexact(11),
            column_statistics: vec![a.clone(), ColumnStatistics::new_unknown()],
        };
        assert_eq!(informed(known.clone(), &table(column()), None), known);
        // An inexact distinct count is the largest of the parts, and ours is of the whole.
        let mut parts = known;
        parts.column_statistics[0].distinct_count = Precision::Inexact(7);
        let column = &informed(parts, &table(column()), None).column_statistics[0];
        let distinct_count = Precision::Inexact(30);
        assert_eq!(
            *column,
            ColumnStatistics {
                distinct_count,
                ..a
            }
        );
    }

    #[test]
    fn no_more_values_than_rows() {
        let distinct = |rows, limit| {
            let before = unknown().with_num_rows(rows);
            informed(before, &table(column()), limit).column_statistics[0].distinct_count
        };
        assert_eq!(distinct(Precision::Exact(20), None), Precision::Inexact(20));
        assert_eq!(
            distinct(Precision::Exact(20), Some(5)),
            Precision::Inexact(5)
        );
        assert_eq!(distinct(Precision::Absent, Some(5)), Precision::Inexact(5));
        assert_eq!(distinct(Precision::Exact(0), None), Precision::Inexact(0));
        let limited = informed(unknown(), &table(column()), Some(5));
        assert_eq!(limited.num_rows, Precision::Inexact(5));
    }

    #[test]
    fn absurd_numbers_are_no_numbers() {
        let distinct = |ndv| {
            let column = ColumnStats {
                null_count: Some(u64::MAX),
                byte_width: Some(ndv),
                ndv: Some(ndv),
                ..column()
            };
            informed(unknown(), &table(column), None).column_statistics[0].distinct_count
        };
        assert_eq!(distinct(f64::NAN), Precision::Absent);
        assert_eq!(distinct(-1.0), Precision::Absent);
        assert_eq!(distinct(f64::INFINITY), Precision::Inexact(100));
        assert_eq!(distinct(0.0), Precision::Inexact(1));
    }

    #[test]
    fn statistics_of_other_columns_are_left_alone() {
        let other = Statistics::default();
        assert_eq!(informed(other.clone(), &table(column()), None), other);
    }
}
