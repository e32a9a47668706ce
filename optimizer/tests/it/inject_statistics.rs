//! What DataFusion makes of the statistics that it is given, on tables of Parquet files.

use crate::support::{rows, rows_in_order, set};
use crate::tables::{Tables, physical};
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue, Statistics};
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use joinwright_stats::Catalog;
use std::sync::Arc;

/// A plan with the statistics of each node.
async fn explained(context: &SessionContext, sql: &str) -> String {
    let plan = physical(context, sql).await;
    let shown = displayable(plan.as_ref()).set_show_statistics(true);
    shown.indent(true).to_string()
}

/// The joins of a plan over its tables: `CollectLeft(build, probe)`.
fn joins(plan: &dyn ExecutionPlan) -> String {
    let inputs: Vec<String> = plan.children().iter().map(|c| joins(c.as_ref())).collect();
    let inputs = inputs.join(", ");
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return format!("{:?}({inputs})", join.partition_mode());
    }
    let Some(scan) = file_scan(plan) else {
        return inputs;
    };
    let location = &scan.file_groups[0].files()[0].object_meta.location;
    // The table is the folder of the file.
    let parts: Vec<_> = location.parts().collect();
    parts[parts.len() - 2].as_ref().to_string()
}

fn file_scan(plan: &dyn ExecutionPlan) -> Option<&FileScanConfig> {
    let exec = plan.downcast_ref::<DataSourceExec>()?;
    exec.data_source().downcast_ref()
}

/// The statistics of the only scan of a query, projected.
async fn scan_statistics(context: &SessionContext, sql: &str) -> Arc<Statistics> {
    let mut plan = physical(context, sql).await;
    while let Some(input) = plan.children().first() {
        plan = Arc::clone(input);
    }
    assert!(file_scan(plan.as_ref()).is_some(), "{plan:?}");
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new());
    statistics.expect("a scan has statistics")
}

/// The distinct count of each column of the only scan of a query.
async fn distinct(context: &SessionContext, sql: &str) -> Vec<Precision<usize>> {
    let statistics = scan_statistics(context, sql).await;
    let columns = statistics.column_statistics.iter();
    columns.map(|c| c.distinct_count).collect()
}

/// `fact` has 100,000 rows and ten keys, so far apart that bounds tell nothing; `few` 200 rows, each
/// with a key of its own, `some` 1,000.
async fn star(test: &str) -> Tables {
    let tables = Tables::new(test);
    for (file, query) in [
        (
            "fact/1.parquet",
            "SELECT value % 10 * 1000003 AS k, value AS v, concat('s', value % 7) AS s \
             FROM generate_series(1, 100000)",
        ),
        (
            "some/1.parquet",
            "SELECT value * 1000003 AS k FROM generate_series(1, 1000)",
        ),
        (
            "few/1.parquet",
            "SELECT value * 1000003 AS k FROM generate_series(1, 200)",
        ),
    ] {
        tables.write(file, query).await;
    }
    tables
}

const STAR: [&str; 3] = ["fact", "some", "few"];

/// Ten groups, and not one for each row of `fact`.
const GROUPED: &str = "SELECT some.k, n FROM some \
     JOIN (SELECT k, count(*) AS n FROM fact GROUP BY k) AS g ON some.k = g.k";

/// Ten thousand rows for each key, and not one: the first join returns many more rows than `some` has.
const MANY_TO_MANY: &str = "SELECT count(*) FROM fact JOIN \
     (SELECT a.v FROM fact AS a JOIN fact AS b ON a.k = b.k WHERE a.v < 2000 AND b.v < 2000) AS m \
     ON fact.v = m.v";

#[tokio::test]
async fn build_sides_follow_distinct_values() {
    let tables = star("build sides").await;
    let catalog = tables.analyzed(&STAR).await;
    let context = tables.session(&STAR, Some(&catalog)).await;
    set(&context, "enabled", "false");
    set(&context, "select_joins", "false");
    // A count in part below the joins would be another input of them.
    set(&context, "eager_aggregation", "false");
    let shown = async |sql| joins(physical(&context, sql).await.as_ref());
    insta::assert_snapshot!(shown(GROUPED).await, @"CollectLeft(some, fact)");
    insta::assert_snapshot!(shown(MANY_TO_MANY).await, @"CollectLeft(CollectLeft(fact, fact), fact)");
    let statement = "SET joinwright.inject_statistics = true";
    context.sql(statement).await.expect("a setting");
    insta::assert_snapshot!(shown(GROUPED).await, @"CollectLeft(fact, some)");
    insta::assert_snapshot!(shown(MANY_TO_MANY).await, @"CollectLeft(fact, CollectLeft(fact, fact))");
}

#[tokio::test]
async fn a_plan_is_as_it_was_without_the_option_or_the_statistics() {
    let tables = star("untouched").await;
    let catalog = tables.analyzed(&STAR).await;
    let expected = explained(&tables.session(&STAR, None).await, GROUPED).await;
    let off = tables.session(&STAR, Some(&catalog)).await;
    set(&off, "enabled", "false");
    set(&off, "select_joins", "false");
    assert_eq!(explained(&off, GROUPED).await, expected);
    let nothing_known = Arc::new(Catalog::in_memory());
    let unknown = tables.informed(&STAR, &nothing_known).await;
    assert_eq!(explained(&unknown, GROUPED).await, expected);
    let on = tables.informed(&STAR, &catalog).await;
    assert_ne!(explained(&on, GROUPED).await, expected);
    // Tables that are no files.
    let values =
        "SELECT * FROM (VALUES (1), (2)) AS a (k) JOIN generate_series(1, 3) AS b (k) ON a.k = b.k";
    let without = tables.session(&[], None).await;
    assert_eq!(
        explained(&on, values).await,
        explained(&without, values).await
    );
}

#[tokio::test]
async fn scans_keep_what_datafusion_knows() {
    let tables = star("scans").await;
    let catalog = tables.analyzed(&STAR).await;
    let before = tables.session(&STAR, None).await;
    let after = tables.informed(&STAR, &catalog).await;
    let inexact = Precision::Inexact;
    for (sql, ndvs) in [
        (
            "SELECT * FROM fact",
            vec![inexact(10), inexact(100_000), inexact(7)],
        ),
        ("SELECT s, k FROM fact", vec![inexact(7), inexact(10)]),
        (
            "SELECT s FROM fact WHERE k > 3 AND s <> 's1'",
            vec![inexact(10), inexact(7)],
        ),
        (
            "SELECT k, v FROM fact LIMIT 5",
            vec![inexact(5), inexact(5)],
        ),
        (
            "SELECT k FROM fact WHERE v > 3 ORDER BY k LIMIT 5",
            vec![inexact(10), inexact(100_000)],
        ),
    ] {
        let mut got = Arc::unwrap_or_clone(scan_statistics(&after, sql).await);
        let expected = scan_statistics(&before, sql).await;
        // A sketch is off by a percent or two; small counts are exact.
        let mut counts: Vec<_> = got
            .column_statistics
            .iter()
            .map(|c| c.distinct_count)
            .collect();
        for count in &mut counts {
            if matches!(count, Precision::Inexact(95_000..=100_000)) {
                *count = inexact(100_000);
            }
        }
        assert_eq!(counts, ndvs, "{sql}");
        for column in &mut got.column_statistics {
            column.distinct_count = Precision::Absent;
        }
        assert_eq!(got, *expected, "{sql}");
    }
}

#[tokio::test]
async fn without_footers_all_but_bounds_is_known() {
    let tables = star("no footers").await;
    let catalog = tables.analyzed(&STAR).await;
    let context = tables.informed(&STAR, &catalog).await;
    let statement = "SET datafusion.execution.collect_statistics = false";
    context.sql(statement).await.expect("a setting");
    let statistics = scan_statistics(&context, "SELECT k, s FROM fact").await;
    assert_eq!(statistics.num_rows, Precision::Inexact(100_000));
    assert_eq!(statistics.total_byte_size, Precision::Absent);
    for column in &statistics.column_statistics {
        assert_eq!(column.null_count, Precision::Inexact(0));
        assert!(matches!(column.byte_size, Precision::Inexact(_)));
        assert_eq!(column.min_value, Precision::Absent);
    }
    let limited = scan_statistics(&context, "SELECT k FROM fact LIMIT 3").await;
    assert_eq!(limited.num_rows, Precision::Inexact(3));
}

#[tokio::test]
async fn the_files_of_a_scan_count() {
    let tables = Tables::new("files");
    let keys = |from, to| format!("SELECT value * 1000003 AS k FROM generate_series({from}, {to})");
    tables.write("t/p=1/1.parquet", &keys(1, 10)).await;
    tables.write("t/p=1/2.parquet", &keys(6, 15)).await;
    tables.write("t/p=2/1.parquet", &keys(101, 104)).await;
    let catalog = tables.analyzed(&["t"]).await;
    let context = tables.informed(&[], &catalog).await;
    let create = format!(
        "CREATE EXTERNAL TABLE t (k BIGINT, p INT) STORED AS PARQUET PARTITIONED BY (p) LOCATION '{}/'",
        tables.folder.join("t").display()
    );
    context.sql(&create).await.expect("a table");
    let all = distinct(&context, "SELECT k FROM t").await;
    assert_eq!(all, [Precision::Inexact(19)]);
    let pruned = distinct(&context, "SELECT k FROM t WHERE p = 1").await;
    assert_eq!(pruned, [Precision::Inexact(15)]);
    let pruned = distinct(&context, "SELECT k FROM t WHERE p = 2").await;
    assert_eq!(pruned, [Precision::Inexact(4)]);
    // What a path says is exact, and no business of ours.
    let partition = distinct(&context, "SELECT p FROM t WHERE p = 2").await;
    assert_eq!(partition, [Precision::Exact(1)]);

    // A file that came later: its values are nobody's guess.
    tables.write("t/p=2/2.parquet", &keys(201, 300)).await;
    let context = tables.informed(&["t"], &catalog).await;
    assert_eq!(
        distinct(&context, "SELECT k FROM t").await,
        [Precision::Absent]
    );
}

/// Queries with one answer each, rows in order.
const QUERIES: [&str; 14] = [
    "SELECT count(*) FROM fact",
    "SELECT count(k), count(v), count(s) FROM fact",
    "SELECT min(k), max(k), min(v), max(v), min(s), max(s) FROM fact",
    "SELECT count(DISTINCT k) FROM fact",
    "SELECT count(DISTINCT s), count(DISTINCT v) FROM fact",
    "SELECT sum(v), avg(k) FROM fact WHERE k >= 0",
    "SELECT min(v), max(v), count(*) FROM fact WHERE k > 5 AND v <= 99000",
    "SELECT v FROM fact WHERE v > 3 ORDER BY v DESC LIMIT 5",
    "SELECT k, count(*) FROM fact WHERE v >= 7 GROUP BY k ORDER BY k",
    "SELECT s, k, v FROM fact WHERE k = 1000003 AND v < 50 ORDER BY v OFFSET 2 LIMIT 3",
    "SELECT count(*) FROM (SELECT * FROM fact LIMIT 12345)",
    "SELECT some.k, n FROM some JOIN (SELECT k, count(*) AS n FROM fact GROUP BY k) AS g \
     ON some.k = g.k ORDER BY some.k",
    "SELECT few.k, count(v) FROM few LEFT JOIN fact ON few.k = fact.k AND v < 1000 \
     GROUP BY few.k ORDER BY few.k LIMIT 12",
    "SELECT k FROM some WHERE k IN (SELECT k FROM fact) AND k NOT IN (SELECT k FROM few) OR k = 7 ORDER BY k",
];

#[tokio::test]
async fn answers_are_right_whatever_the_catalog_says() {
    let truth = "SELECT value % 10 * 1000003 AS k, value AS v, concat('s', value % 7) AS s \
                 FROM generate_series(1, 100000)";
    // What the catalog has seen in the place of the files that are there now, and how many keys.
    for (i, (seen, keys)) in [
        (truth, Precision::Inexact(10)),
        // One value, where there are many.
        (
            "SELECT -1 AS k, 5 AS v, 'one' AS s FROM generate_series(1, 300000)",
            Precision::Inexact(1),
        ),
        // No row, and no value.
        (
            "SELECT 1 AS k, 1 AS v, 's' AS s WHERE false",
            Precision::Inexact(1),
        ),
        (
            "SELECT CAST(NULL AS BIGINT) AS k, CAST(NULL AS BIGINT) AS v, CAST(NULL AS VARCHAR) AS s \
             FROM generate_series(1, 1000)",
            Precision::Inexact(1),
        ),
        // Other columns and types under the same names, more values than there are rows.
        (
            "SELECT concat('text ', value) AS k, value / 7.0 AS v, CAST(value AS INT) AS s, 3 AS more \
             FROM generate_series(1, 500000)",
            Precision::Inexact(100_000),
        ),
        ("SELECT 1 AS nothing", Precision::Absent),
    ]
    .into_iter()
    .enumerate()
    {
        let tables = star(&format!("absurd {i}")).await;
        let without = tables.session(&STAR, None).await;
        tables.write("fact/1.parquet", seen).await;
        let catalog = tables.analyzed(&STAR).await;
        tables.write("fact/1.parquet", truth).await;
        let context = tables.informed(&STAR, &catalog).await;
        let known = distinct(&context, "SELECT k FROM fact").await;
        assert_eq!(known, [keys], "{seen}");
        for footers in ["true", "false"] {
            let context = tables.informed(&STAR, &catalog).await;
            let statement = format!("SET datafusion.execution.collect_statistics = {footers}");
            context.sql(&statement).await.expect("a setting");
            for sql in QUERIES {
                let expected = rows_in_order(&without, sql).await.expect("rows");
                let got = rows_in_order(&context, sql).await;
                assert_eq!(got.expect("rows"), expected, "{seen}: {sql}");
            }
            for sql in [GROUPED, MANY_TO_MANY] {
                let expected = rows(&without, sql).await.expect("rows");
                let got = rows(&context, sql).await;
                assert_eq!(got.expect("rows"), expected, "{seen}: {sql}");
            }
        }
    }
}

/// Puts inexact bounds on every column of every scan.
#[derive(Debug)]
struct Bounds(i64, i64);

impl PhysicalOptimizerRule for Bounds {
    fn name(&self) -> &str {
        "bounds"
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let bound = |value| Precision::Inexact(ScalarValue::Int64(Some(value)));
        let bounded = plan.transform_up(|node| {
            let Some(scan) = file_scan(node.as_ref()) else {
                return Ok(Transformed::no(node));
            };
            let mut statistics = scan.statistics();
            for column in &mut statistics.column_statistics {
                column.min_value = bound(self.0);
                column.max_value = bound(self.1);
            }
            let scan = FileScanConfigBuilder::from(scan.clone());
            let scan = scan.with_statistics(statistics).build();
            let scan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(scan);
            Ok(Transformed::yes(scan))
        });
        bounded.data()
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// FIXME: why bounds are not injected. DataFusion 55.2 takes inexact bounds that a filter narrows to
/// one value for a constant, and drops the sort; bounds in the wrong order fail the query. When this
/// test fails, bounds may come in again.
#[tokio::test]
async fn datafusion_takes_inexact_bounds_at_their_word() {
    let tables = star("bounds").await;
    let bounded = async |min, max| {
        let mut rules = PhysicalOptimizer::new().rules;
        let place = rules.iter().position(|r| r.name() == "join_selection");
        rules.insert(place.expect("a known rule"), Arc::new(Bounds(min, max)));
        let state = SessionStateBuilder::new()
            .with_default_features()
            .with_config(SessionConfig::new().with_target_partitions(2))
            .with_physical_optimizer_rules(rules)
            .build();
        let context = SessionContext::new_with_state(state);
        tables.register(&context, &["some"]).await;
        let sql = "SELECT k FROM some WHERE k > 3 ORDER BY k DESC LIMIT 1";
        rows_in_order(&context, sql).await
    };
    assert_eq!(bounded(0, 10).await.expect("rows"), ["1000003000"]);
    assert_ne!(bounded(5, 5).await.expect("rows"), ["1000003000"]);
    bounded(9, 2).await.expect_err("no such interval");
}
