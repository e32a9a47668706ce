//! Sub-plans that stand in a query more than once: which of them run once, and that rows and order are those of DataFusion alone.

use crate::support::{rows_in_order, set, texts};
use crate::tables::Tables;
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use joinwright_optimizer::{JoinOrdering, SessionStateBuilderExt};
use joinwright_stats::Catalog;
use std::sync::Arc;
use std::time::Duration;

const TABLES: [&str; 2] = [
    "CREATE TABLE f AS SELECT value AS id, value % 700 AS k, value % 13 AS h, concat('a text of the row ', value) AS s
        FROM generate_series(1, 20000)",
    "CREATE TABLE d AS SELECT value AS k, concat('name ', value % 50) AS n FROM generate_series(0, 600)",
];

struct Sessions {
    alone: SessionContext,
    forced: SessionContext,
}

impl Sessions {
    async fn new() -> Self {
        Self::with_memory(None).await
    }

    /// Sessions of which the one with the rule may use so many bytes.
    async fn with_memory(limit: Option<usize>) -> Self {
        let builder = |limit: Option<usize>| {
            let mut runtime = RuntimeEnvBuilder::new();
            if let Some(limit) = limit {
                runtime = runtime.with_memory_limit(limit, 1.0);
            }
            SessionStateBuilder::new()
                .with_default_features()
                .with_runtime_env(runtime.build_arc().expect("a runtime"))
                .with_config(
                    SessionConfig::new()
                        .with_target_partitions(2)
                        .with_batch_size(512),
                )
        };
        let catalog = Arc::new(Catalog::in_memory());
        let with_rule = builder(limit).with_join_ordering(catalog, JoinOrdering::default());
        let sessions = Self {
            alone: SessionContext::new_with_state(builder(None).build()),
            forced: SessionContext::new_with_state(with_rule.build()),
        };
        set(&sessions.forced, "spool_min_rows", "0");
        set(&sessions.forced, "eager_aggregation", "false");
        for statement in TABLES {
            let filled = sessions
                .alone
                .sql(statement)
                .await
                .expect("a valid statement");
            filled.collect().await.expect("it runs");
        }
        // The same tables in both.
        for name in ["f", "d"] {
            let batches = sessions.alone.table(name).await.expect("a table");
            let schema = Arc::new(batches.schema().as_arrow().clone());
            let batches = batches.collect().await.expect("its rows");
            let table = MemTable::try_new(schema, vec![batches]).expect("rows of the schema");
            let _ = sessions.forced.register_table(name, Arc::new(table));
        }
        sessions
    }

    /// Checks that both answer alike, and how many operators of the one read from spools.
    async fn check(&self, sql: &str, readers: usize) {
        let mut expected = rows_in_order(&self.alone, sql)
            .await
            .expect("a valid query");
        let mut got = rows_in_order(&self.forced, sql)
            .await
            .expect("a valid query");
        expected.sort();
        got.sort();
        assert_eq!(got, expected, "{sql}");
        let plan = plan(&self.forced, sql).await;
        let text = displayable(plan.as_ref()).indent(false).to_string();
        assert_eq!(text.matches("readers=").count(), readers, "{sql}\n{text}");
    }
}

async fn plan(context: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    let planned = context.sql(sql).await.expect("a valid query");
    planned.create_physical_plan().await.expect("a plan")
}

const GROUPED: &str = "WITH g AS (SELECT k, count(*) AS c, sum(id) AS i FROM f GROUP BY k)";

#[tokio::test]
async fn copies_are_shared() {
    let s = Sessions::new().await;
    for (sql, readers) in [
        // As inputs of one join, of several, of a union, and below other operators.
        (format!("{GROUPED} SELECT * FROM g a JOIN g b ON a.k = b.c"), 2),
        (format!("{GROUPED} SELECT a.k, b.c, x.i FROM g a JOIN g b ON a.k = b.k + 1 JOIN g x ON b.k = x.k + 1 WHERE a.c > 3"), 2),
        (format!("{GROUPED} SELECT a.*, b.*, x.* FROM g a JOIN g b ON a.k = b.k + 1 JOIN g x ON b.k = x.k + 1"), 3),
        (format!("{GROUPED} SELECT * FROM g UNION ALL SELECT * FROM g UNION ALL SELECT * FROM g"), 3),
        (format!("{GROUPED} SELECT * FROM g UNION ALL SELECT * FROM g ORDER BY k, c, i LIMIT 7"), 2),
        (format!("{GROUPED} SELECT * FROM g a LEFT JOIN g b ON a.k = b.c AND a.c < b.i"), 2),
        // A scalar subquery, which runs first, and the query around it.
        (format!("{GROUPED} SELECT * FROM g JOIN d ON g.k = d.k WHERE g.i > (SELECT avg(i) FROM g WHERE c > 0 AND k >= 0)"), 0),
        (format!("{GROUPED}, h AS (SELECT * FROM g) SELECT *, (SELECT sum(k + c + i) FROM h) FROM h"), 2),
        // Of a copy in a copy, only what stands elsewhere, too.
        (format!("{GROUPED}, h AS (SELECT a.k, a.c, b.i, a.i AS j, b.c AS l FROM g a JOIN g b ON a.k = b.c) SELECT * FROM h x JOIN h y ON x.k = y.l"), 6),
        // Joins alone, windows, DISTINCT.
        ("WITH j AS (SELECT f.id, d.n FROM f JOIN d ON f.k = d.k WHERE f.h = 3) SELECT a.id, a.n, b.n FROM j a JOIN j b ON a.id = b.id".to_owned(), 2),
        ("WITH w AS (SELECT k, id, rank() OVER (PARTITION BY h ORDER BY id) AS r FROM f) SELECT a.k, a.id, b.id, b.k FROM w a JOIN w b ON a.r = b.r AND a.k = b.k".to_owned(), 2),
        ("WITH w AS (SELECT DISTINCT k, h FROM f) SELECT a.k FROM w a JOIN w b ON a.h = b.k".to_owned(), 2),
        // Without columns.
        ("SELECT (SELECT count(2) FROM f JOIN d ON f.k = d.k) AS n, count(1) FROM f JOIN d ON f.k = d.k".to_owned(), 2),
        // Nothing to share: one table twice, filters of their own, a random column.
        ("SELECT * FROM d a JOIN d b ON a.k = b.k".to_owned(), 0),
        ("SELECT * FROM (SELECT k, count(*) c FROM f WHERE h = 1 GROUP BY k) a JOIN (SELECT k, count(*) c FROM f WHERE h = 2 GROUP BY k) b ON a.k = b.k".to_owned(), 0),
    ] {
        s.check(&sql, readers).await;
    }
    let random = "WITH r AS (SELECT DISTINCT k + random() AS x FROM f) SELECT count(*) FROM r a JOIN r b ON a.x = b.x";
    let plan = plan(&s.forced, random).await;
    let text = displayable(plan.as_ref()).indent(false).to_string();
    assert!(!text.contains("SpoolExec"), "{text}");
    set(&s.forced, "spool", "false");
    s.check(
        &format!("{GROUPED} SELECT * FROM g a JOIN g b ON a.k = b.c"),
        0,
    )
    .await;
}

/// A limit's order is no other copy's: DataFusion hands it to aggregates, through operators of which it knows that they keep all rows.
#[tokio::test]
async fn limits_do_not_reach_the_copies_of_others() {
    let s = Sessions::new().await;
    for sql in [
        "WITH g AS (SELECT DISTINCT k FROM f) (SELECT k FROM g ORDER BY k LIMIT 5) UNION ALL (SELECT k FROM g ORDER BY k DESC LIMIT 5)",
        "WITH g AS (SELECT k, max(id) AS m FROM f GROUP BY k) (SELECT k, m FROM g ORDER BY m LIMIT 5) UNION ALL (SELECT k, m FROM g ORDER BY m DESC LIMIT 5)",
    ] {
        s.check(sql, 2).await;
    }
}

/// Partitions of a join whose filter prunes a scan wait for each other, so none may be left out while another reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_of_a_shared_join_do_not_wait_for_ever() {
    let tables = Tables::new("spools of joins");
    for (file, query) in [
        (
            "p/1.parquet",
            "SELECT value AS k, value % 7 AS j, concat('text ', value) AS s FROM generate_series(1, 20000)",
        ),
        (
            "b/1.parquet",
            "SELECT value * 3 AS k, value % 5 AS i FROM generate_series(1, 5000)",
        ),
        (
            "t/1.parquet",
            "SELECT 42 AS k, value AS v FROM generate_series(1, 3)",
        ),
    ] {
        tables.write(file, query).await;
    }
    let names = ["p", "b", "t"];
    let catalog = tables.analyzed(&names).await;
    let sql = "WITH x AS (SELECT p.k, p.j, p.s, b.i FROM b JOIN p ON b.k = p.k)
        SELECT count(*), min(a.s), max(c.s) FROM t JOIN x c ON t.k = c.k JOIN x a ON a.j = c.j";
    let alone = tables.session(&names, None).await;
    let expected = rows_in_order(&alone, sql).await.expect("a valid query");
    let context = tables.session(&names, Some(&catalog)).await;
    set(&context, "spool_min_rows", "0");
    let mut shared = 0;
    for (order, select) in [("false", "false"), ("true", "true")] {
        set(&context, "enabled", order);
        set(&context, "select_joins", select);
        for setting in [
            "datafusion.optimizer.prefer_hash_join = true",
            "datafusion.optimizer.hash_join_single_partition_threshold = 0",
            "datafusion.optimizer.hash_join_single_partition_threshold_rows = 0",
            "datafusion.execution.target_partitions = 8",
        ] {
            let set = context
                .sql(&format!("SET {setting}"))
                .await
                .expect("a setting");
            set.collect().await.expect("it is set");
        }
        let text = displayable(plan(&context, sql).await.as_ref())
            .indent(false)
            .to_string();
        shared += usize::from(text.contains("readers=2") && text.contains("mode=Partitioned"));
        let got = tokio::time::timeout(Duration::from_secs(60), rows_in_order(&context, sql)).await;
        assert_eq!(got.expect("an end").expect("rows"), expected, "{text}");
    }
    assert!(shared > 0);
}

/// Counts of one fact table that differ in one dimension only join the others first, so that they share them.
#[tokio::test]
async fn regions_begin_with_what_they_have_in_common() {
    let tables = Tables::new("common joins");
    for (file, query) in [
        (
            "f/1.parquet",
            "SELECT value AS id, value * 7 % 100 AS h, value * 11 % 500 AS t, value % 300 AS s FROM generate_series(1, 60000)",
        ),
        (
            "h/1.parquet",
            "SELECT value AS k, value % 10 AS size FROM generate_series(0, 99)",
        ),
        (
            "t/1.parquet",
            "SELECT value AS k, value % 50 AS hour FROM generate_series(0, 499)",
        ),
        (
            "s/1.parquet",
            "SELECT value AS k, concat('store ', value % 20) AS n FROM generate_series(0, 299)",
        ),
    ] {
        tables.write(file, query).await;
    }
    let names = ["f", "h", "t", "s"];
    let catalog = tables.analyzed(&names).await;
    let count = |hour: usize| {
        format!(
            "(SELECT count(*) AS c{hour} FROM f, h, t, s WHERE f.h = h.k AND f.t = t.k AND f.s = s.k AND h.size = 3 AND s.n = 'store 4' AND t.hour = {hour}) AS x{hour}"
        )
    };
    let hours: Vec<String> = (8..13).map(count).collect();
    let sql = format!("SELECT * FROM {}", hours.join(", "));
    let alone = tables.session(&names, None).await;
    let expected = rows_in_order(&alone, &sql).await.expect("a valid query");
    let context = tables.session(&names, Some(&catalog)).await;
    for (spool, readers) in [("true", 5), ("false", 0)] {
        set(&context, "spool", spool);
        let text = displayable(plan(&context, &sql).await.as_ref())
            .indent(false)
            .to_string();
        assert_eq!(text.matches("readers=5").count(), readers, "{text}");
        assert_eq!(
            rows_in_order(&context, &sql).await.expect("a valid query"),
            expected
        );
    }
    // What two have in common is not worth an order that is worse for both.
    set(&context, "spool", "true");
    let sql = "SELECT * FROM (SELECT count(*) AS a FROM f, h, t WHERE f.h = h.k AND f.t = t.k AND t.k = 7) AS x,
        (SELECT count(*) AS b FROM f, h, s WHERE f.h = h.k AND f.s = s.k AND s.k = 9) AS y";
    let text = displayable(plan(&context, sql).await.as_ref())
        .indent(false)
        .to_string();
    assert!(!text.contains("SpoolExec"), "{text}");
    let expected = rows_in_order(&alone, sql).await.expect("a valid query");
    assert_eq!(
        rows_in_order(&context, sql).await.expect("a valid query"),
        expected
    );
}

/// A reader may stop early, or never begin.
#[tokio::test]
async fn readers_come_and_go() {
    let s = Sessions::new().await;
    for sql in [
        format!("{GROUPED} SELECT count(*) FROM (SELECT * FROM g LIMIT 3) a, g b"),
        format!(
            "{GROUPED} SELECT count(*) FROM (SELECT * FROM g WHERE k < 0) a JOIN (SELECT * FROM g UNION ALL SELECT * FROM g) b ON a.k = b.k"
        ),
        format!(
            "{GROUPED} SELECT count(*) FROM g WHERE EXISTS (SELECT 1 FROM g x WHERE x.c = g.k) AND k NOT IN (SELECT c FROM g)"
        ),
        format!("{GROUPED} SELECT k FROM g UNION ALL (SELECT i FROM g LIMIT 0)"),
    ] {
        let expected = rows_in_order(&s.alone, &sql).await.expect("a valid query");
        let got = rows_in_order(&s.forced, &sql).await.expect("a valid query");
        if sql.contains("count(*)") && sql.contains("SELECT count(*) FROM") {
            assert_eq!(got, expected, "{sql}");
        } else {
            assert_eq!(got.len(), expected.len(), "{sql}");
        }
    }
}

/// A plan may run again, a prepared statement with other values.
#[tokio::test]
async fn plans_run_again() {
    let s = Sessions::new().await;
    let sql = format!("{GROUPED} SELECT count(*), sum(a.c) FROM g a, g b WHERE a.k = b.c");
    let expected = rows_in_order(&s.alone, &sql).await.expect("a valid query");
    let prepared = "PREPARE p(BIGINT) AS WITH g AS (SELECT k, count(*) AS c FROM f WHERE id < $1 GROUP BY k) SELECT count(*) FROM g a JOIN g b ON a.k = b.c";
    for context in [&s.alone, &s.forced] {
        context
            .sql(prepared)
            .await
            .expect("a statement")
            .collect()
            .await
            .expect("prepared");
    }
    for value in [20_000, 5_000, 0] {
        let execute = format!("EXECUTE p({value})");
        let expected = rows_in_order(&s.alone, &execute)
            .await
            .expect("a valid query");
        assert_eq!(
            rows_in_order(&s.forced, &execute)
                .await
                .expect("a valid query"),
            expected
        );
    }
    for _ in 0..3 {
        assert_eq!(
            rows_in_order(&s.forced, &sql).await.expect("a valid query"),
            expected
        );
    }
    let explained = rows_in_order(&s.forced, &format!("EXPLAIN ANALYZE {sql}")).await;
    let explained = explained.expect("a valid query").join("\n");
    assert!(
        explained.contains("SpoolExec: number=0, readers=2, metrics=[output_rows=700"),
        "{explained}"
    );
}

/// Each copy has its own error in DataFusion; the one input's reaches whoever reads it.
#[tokio::test]
async fn errors_reach_the_query() {
    let s = Sessions::new().await;
    let sql = "WITH g AS (SELECT k, sum(10 / (id - 777)) AS c FROM f GROUP BY k) SELECT * FROM g a JOIN g b ON a.k = b.c";
    for context in [&s.alone, &s.forced] {
        let error = rows_in_order(context, sql)
            .await
            .expect_err("a division by zero");
        assert!(error.to_string().contains("Divide by zero"), "{error}");
    }
}

/// Tables of one name, as `read_parquet` makes them, need not be one table.
#[tokio::test]
async fn tables_of_one_name_are_told_apart() -> Result<()> {
    let tables = Tables::new("spools of one name");
    tables
        .write(
            "a/1.parquet",
            "SELECT value AS k FROM generate_series(1, 100)",
        )
        .await;
    tables
        .write(
            "b/1.parquet",
            "SELECT value + 50 AS k FROM generate_series(1, 100)",
        )
        .await;
    let s = Sessions::new().await;
    let mut answers = vec![];
    for context in [&s.alone, &s.forced] {
        let read = async |folder: &str| {
            let path = tables.folder.join(folder).join("1.parquet");
            let path = path.to_str().expect("a path of text").to_owned();
            context
                .read_parquet(path, ParquetReadOptions::default())
                .await?
                .distinct()
        };
        let (a, b) = (read("a").await?, read("b").await?);
        let both = a.clone().union(b)?.union(a)?;
        let plan = both.clone().create_physical_plan().await?;
        let batches = both
            .aggregate(
                vec![],
                vec![datafusion::functions_aggregate::expr_fn::sum(
                    datafusion::prelude::col("k"),
                )],
            )?
            .collect()
            .await?;
        answers.push((
            format!("{batches:?}"),
            displayable(plan.as_ref()).indent(false).to_string(),
        ));
    }
    assert_eq!(answers[0].0, answers[1].0, "{}", answers[1].1);
    Ok(())
}

/// What does not fit into memory is kept in files.
#[tokio::test]
async fn spools_spill() {
    let sql = "WITH j AS (SELECT f.id, f.s, d.n, concat(f.s, d.n) AS t FROM f JOIN d ON f.k = d.k)
        SELECT a.*, b.* FROM j a JOIN j b ON a.id = b.id + 1";
    let (mut finished, mut spilled) = (0, 0);
    for limit in (0..12).map(|step| 300_000 + 200_000 * step) {
        let s = Sessions::with_memory(Some(limit)).await;
        let expected = {
            let mut rows = rows_in_order(&s.alone, sql).await.expect("a valid query");
            rows.sort();
            rows
        };
        let plan = plan(&s.forced, sql).await;
        let Ok(batches) = collect(Arc::clone(&plan), s.forced.task_ctx()).await else {
            // Not even what is built of the join fits.
            continue;
        };
        finished += 1;
        let mut got = texts(&batches).expect("texts");
        got.sort();
        assert_eq!(got, expected);
        spilled += spilled_files(&plan);
    }
    assert!(
        finished > 0 && spilled > 0,
        "{finished} finished, {spilled} files"
    );
}

fn spilled_files(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let own = match plan.name() {
        "SpoolExec" => plan.metrics().and_then(|m| m.spill_count()).unwrap_or(0),
        _ => 0,
    };
    own + plan
        .children()
        .into_iter()
        .map(spilled_files)
        .sum::<usize>()
}
