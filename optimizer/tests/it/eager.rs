//! Aggregates above joins, one shape of query at a time: which are computed in part below the joins, and that rows and schema are
//! those of DataFusion alone.

use crate::support::{aggregated, rows, set};
use datafusion::execution::SessionStateBuilder;
use datafusion::functions_aggregate::stddev::stddev_udaf;
use datafusion::prelude::{SessionConfig, SessionContext};
use joinwright_optimizer::{JoinOrdering, SessionStateBuilderExt};
use joinwright_stats::Catalog;
use std::sync::Arc;

/// Facts with keys that are NULL or have no partner, dimensions with a key that is there twice, and a table without rows.
const TABLES: [&str; 4] = [
    "CREATE TABLE f (k INT, h INT, i INT, b BIGINT, d DECIMAL(7, 2), x DOUBLE, s VARCHAR) AS VALUES
        (1, 1, 10, 100, 1.25, 0.5, 'a'), (1, 1, 20, NULL, 2.25, 1.5, 'b'), (1, 2, NULL, 300, NULL, NULL, NULL),
        (2, 1, 40, 400, 4.5, 2.5, 'a'), (2, 2, 40, 400, 4.5, 2.5, 'a'), (3, NULL, NULL, NULL, NULL, NULL, NULL),
        (NULL, 1, 70, 700, 7.75, 3.5, 'c'), (9, 1, 80, 800, 8.25, 4.5, 'd'), (9, 3, 90, 900, 9.25, 5.5, 'd')",
    "CREATE TABLE c (k INT, n VARCHAR, w INT, y DOUBLE) AS VALUES
        (1, 'one', 5, 0.5), (1, 'uno', 6, 1.5), (2, 'two', NULL, NULL), (3, NULL, 7, 2.5), (4, 'four', 8, 3.5),
        (NULL, 'none', 9, 4.5)",
    "CREATE TABLE g (h INT, m VARCHAR, v INT) AS VALUES (1, 'x', 1), (2, 'y', 2), (2, 'z', 3), (NULL, 'w', 4)",
    "CREATE TABLE e (k INT, n VARCHAR, w INT) AS VALUES (1, 'one', 5) LIMIT 0",
];

/// Two sessions with the same tables: DataFusion alone, and with every aggregate below joins that can be there.
struct Sessions {
    alone: SessionContext,
    forced: SessionContext,
}

impl Sessions {
    async fn new() -> Self {
        let builder = || {
            SessionStateBuilder::new()
                .with_default_features()
                .with_config(SessionConfig::new().with_target_partitions(2))
        };
        let catalog = Arc::new(Catalog::in_memory());
        let with_rule = builder().with_join_ordering(catalog, JoinOrdering::default());
        let sessions = Self {
            alone: SessionContext::new_with_state(builder().build()),
            forced: SessionContext::new_with_state(with_rule.build()),
        };
        set(&sessions.forced, "eager_min_rows", "0");
        // So that it is the aggregates alone that differ.
        set(&sessions.forced, "enabled", "false");
        for statement in TABLES {
            sessions.run(statement).await;
        }
        sessions
    }

    /// Runs a statement in both.
    async fn run(&self, statement: &str) {
        for context in [&self.alone, &self.forced] {
            let planned = context.sql(statement).await.expect("a valid statement");
            planned.collect().await.expect("it runs");
        }
    }

    /// Checks that both answer alike, and whether the plan of one has more aggregates.
    async fn check(&self, sql: &str, pushed: bool) {
        let (expected, without) = aggregated(&self.alone, sql).await.expect("a valid query");
        let (got, with) = match aggregated(&self.forced, sql).await {
            Ok(answer) => answer,
            Err(error) => panic!("{sql}\n{error}"),
        };
        assert_eq!(got, expected, "{sql}");
        assert_eq!(
            with > without,
            pushed,
            "{sql}: {with} aggregates, {without} without"
        );
    }

    /// Checks that both answer alike, and that one refuses what the other does.
    async fn check_rows(&self, sql: &str) {
        match (
            aggregated(&self.alone, sql).await,
            aggregated(&self.forced, sql).await,
        ) {
            (Ok((expected, _)), Ok((got, _))) => assert_eq!(got, expected, "{sql}"),
            (Ok(_), Err(error)) => panic!("{sql}\n{error}"),
            (Err(_), _) => {}
        }
    }

    async fn pushed(&self, sql: &str) {
        self.check(sql, true).await;
    }

    async fn stays(&self, sql: &str) {
        self.check(sql, false).await;
    }
}

#[tokio::test]
async fn each_function_below_an_inner_join() {
    let s = Sessions::new().await;
    for function in [
        "sum(i)",
        "sum(b)",
        "sum(d)",
        "sum(x)",
        "sum(i + 1)",
        "count(*)",
        "count(i)",
        "count(1)",
        "count(i, b)",
        "min(i)",
        "max(s)",
        "min(d)",
        "max(x)",
        "avg(x)",
        "avg(i)",
        "avg(d)",
        "avg(d), sum(d), avg(x)",
        "count(DISTINCT i)",
        "sum(DISTINCT d)",
        "max(i + w)",
        "count(DISTINCT w)",
        "min(DISTINCT i)",
    ] {
        s.pushed(&format!(
            "SELECT n, {function} FROM f JOIN c ON f.k = c.k GROUP BY n"
        ))
        .await;
        s.pushed(&format!("SELECT {function} FROM f JOIN c ON f.k = c.k"))
            .await;
        s.pushed(&format!("SELECT {function} FROM f JOIN e ON f.k = e.k"))
            .await;
        s.pushed(&format!("SELECT n, {function} AS \"Of All\" FROM f JOIN c USING (k) GROUP BY n HAVING count(*) > 1")).await;
    }
}

#[tokio::test]
async fn functions_that_are_not_taken_apart() {
    let s = Sessions::new().await;
    for function in [
        "avg(CAST(d AS DECIMAL(30, 2)))",
        "stddev(x)",
        "median(i)",
        "sum(i) FILTER (WHERE i > 10)",
        "count(*) FILTER (WHERE w > 5)",
        "array_agg(i ORDER BY i)",
        "first_value(i ORDER BY i)",
        "bool_and(i > 10)",
        "approx_distinct(i)",
        // Of both sides.
        "sum(i * w)",
        "count(i, w)",
        "sum(i), sum(w)",
        "sum(i), stddev(i)",
    ] {
        s.stays(&format!(
            "SELECT n, {function} FROM f JOIN c ON f.k = c.k GROUP BY n"
        ))
        .await;
    }
}

#[tokio::test]
async fn outer_joins() {
    let s = Sessions::new().await;
    for join in [
        "f LEFT JOIN c",
        "c RIGHT JOIN f",
        "c LEFT JOIN f",
        "f RIGHT JOIN c",
    ] {
        for function in [
            "sum(i)",
            "count(i)",
            "avg(x)",
            "min(d)",
            "count(i, b)",
            "count(f.k)",
        ] {
            s.pushed(&format!(
                "SELECT n, {function} FROM {join} ON f.k = c.k GROUP BY n"
            ))
            .await;
            s.pushed(&format!("SELECT {function} FROM {join} ON f.k = c.k"))
                .await;
        }
        for function in [
            "count(*)",
            "sum(2)",
            "count(coalesce(i, 1))",
            "sum(coalesce(w, 1))",
            "count(w), count(*)",
        ] {
            // Below the side that is kept only.
            s.check_rows(&format!(
                "SELECT n, h, {function} FROM {join} ON f.k = c.k GROUP BY n, h"
            ))
            .await;
        }
    }
    // Of no partner there is no row, not even one to count.
    s.stays("SELECT n, count(*), count(i) FROM c FULL JOIN f ON f.k = c.k GROUP BY n")
        .await;
    s.stays("SELECT n, sum(i) FROM c FULL JOIN f ON f.k = c.k GROUP BY n")
        .await;
    s.pushed("SELECT h, count(f.i) FROM g LEFT JOIN f USING (h) LEFT JOIN c USING (k) GROUP BY h")
        .await;
    s.check_rows("SELECT c.n, count(one), sum(one) FROM c LEFT JOIN (SELECT k, 1 AS one FROM f) q ON q.k = c.k GROUP BY c.n").await;
    s.check_rows("SELECT c.n, count(q.j), sum(q.j) FROM c LEFT JOIN (SELECT f.k, coalesce(i, 0) AS j FROM f JOIN g ON f.h = g.h) q ON q.k = c.k GROUP BY c.n").await;
    s.check_rows("SELECT c.n, count(q.j), sum(q.j) FROM c LEFT JOIN (SELECT f.k, coalesce(v, 0) AS j FROM f LEFT JOIN g ON f.h = g.h) q ON q.k = c.k GROUP BY c.n").await;
    s.check_rows("SELECT c.n, count(i) FROM c LEFT JOIN f ON f.k = c.k AND f.h = 1 WHERE f.i IS NULL OR f.i > 10 GROUP BY c.n").await;
}

#[tokio::test]
async fn groups() {
    let s = Sessions::new().await;
    for groups in [
        "f.k",
        "c.k",
        "n, h",
        "upper(n)",
        "h + w",
        "'constant'",
        "n, 'constant', w % 2",
        "GROUPING SETS ((n), (h), ())",
        "ROLLUP (n, h)",
        "CUBE (n, h)",
        "GROUPING SETS ((), ())",
        "GROUPING SETS (())",
        "s, n",
    ] {
        s.pushed(&format!(
            "SELECT sum(i), count(*), max(d), avg(d) FROM f JOIN c ON f.k = c.k GROUP BY {groups}"
        ))
        .await;
        s.pushed(&format!(
            "SELECT count(*), sum(d) FROM f JOIN e ON f.k = e.k GROUP BY {}",
            groups.replace("c.k", "e.k")
        ))
        .await;
    }
    s.pushed("SELECT n, h, grouping(n), grouping(h), count(*) FROM f JOIN c ON f.k = c.k GROUP BY ROLLUP (n, h)").await;
    s.pushed("SELECT DISTINCT n, h FROM f JOIN c ON f.k = c.k")
        .await;
    s.pushed("SELECT DISTINCT 1 FROM f JOIN c ON f.k = c.k")
        .await;
    // Equal numbers are not one number: 0 and -0.
    s.check_rows("SELECT x, sum(i) FROM f JOIN c ON f.k = c.k GROUP BY x")
        .await;
    s.check_rows("SELECT count(*) FROM f JOIN c ON f.x = c.y")
        .await;
    s.stays(
        "SELECT random() < 2.0 AS r, sum(i) FROM f JOIN c ON f.k = c.k GROUP BY random() < 2.0",
    )
    .await;
    s.stays("SELECT n, sum(i + 0 * CAST(random() AS INT)) FROM f JOIN c ON f.k = c.k GROUP BY n")
        .await;
    s.stays("SELECT r, sum(i) FROM (SELECT random() < 2.0 AS r, i FROM f JOIN c ON f.k = c.k) GROUP BY r").await;
}

/// Zeros of either sign are equal to a join, and not to who looks at them.
#[tokio::test]
async fn zeros_of_either_sign() {
    let s = Sessions::new().await;
    s.run("CREATE TABLE z (x DOUBLE, i INT) AS VALUES (0.0, 1), (-0.0, 2), (arrow_cast('NaN', 'Float64'), 3), (arrow_cast('NaN', 'Float64'), 4)").await;
    s.run("CREATE TABLE z2 (x DOUBLE, i INT) AS VALUES (0.0, 1), (-0.0, 2), (arrow_cast('NaN', 'Float64'), 3)").await;
    for sql in [
        "SELECT sum(z.i) FROM z JOIN z2 ON z.x = z2.x",
        "SELECT z2.x, count(*), max(z.x) FROM z JOIN z2 ON z.x = z2.x GROUP BY z2.x",
        "SELECT CAST(z.x AS VARCHAR), count(*) FROM z JOIN z2 ON z.i = z2.i GROUP BY CAST(z.x AS VARCHAR)",
        "SELECT count(DISTINCT CAST(z.x AS VARCHAR)) FROM z JOIN z2 ON z.i = z2.i",
        "SELECT min(1 / z.x) FROM z JOIN z2 ON z.i = z2.i",
        "SELECT z2.i, min(z.x), max(z.x), sum(z.x), avg(z.x) FROM z JOIN z2 ON z.i = z2.i GROUP BY z2.i",
    ] {
        s.check_rows(sql).await;
    }
}

#[tokio::test]
async fn kinds_of_joins() {
    let s = Sessions::new().await;
    s.pushed("SELECT h, sum(i) FROM f LEFT SEMI JOIN c ON f.k = c.k GROUP BY h")
        .await;
    s.pushed("SELECT h, sum(i) FROM f LEFT ANTI JOIN c ON f.k = c.k GROUP BY h")
        .await;
    s.check_rows("SELECT h, sum(i) FROM c RIGHT SEMI JOIN f ON f.k = c.k GROUP BY h")
        .await;
    s.check_rows("SELECT h, sum(i) FROM c RIGHT ANTI JOIN f ON f.k = c.k GROUP BY h")
        .await;
    s.pushed("SELECT h, count(*) FROM f WHERE k IN (SELECT k FROM c) GROUP BY h")
        .await;
    s.stays("SELECT h, count(*) FROM f WHERE k NOT IN (SELECT k FROM c) GROUP BY h")
        .await;
    s.stays(
        "SELECT h, count(*) FROM f WHERE k NOT IN (SELECT k FROM c WHERE k IS NOT NULL) GROUP BY h",
    )
    .await;
    s.check_rows("SELECT h, count(*) FROM f WHERE k = 1 OR k IN (SELECT k FROM c) GROUP BY h")
        .await;
    s.pushed("SELECT h, count(*) FROM f WHERE EXISTS (SELECT 1 FROM c WHERE c.k = f.k AND c.w > f.i) GROUP BY h").await;
    s.pushed("SELECT n, sum(i) FROM f CROSS JOIN c GROUP BY n, f.h")
        .await;
    s.stays("SELECT sum(i) FROM f CROSS JOIN c").await;
    s.stays("SELECT n, sum(i) FROM f CROSS JOIN c GROUP BY n")
        .await;
    s.pushed("SELECT n, sum(i), count(*) FROM f JOIN c ON f.k < c.k GROUP BY n")
        .await;
    s.pushed("SELECT n, sum(i), count(*) FROM f JOIN c ON f.k = c.k AND f.i > c.w GROUP BY n")
        .await;
    s.pushed("SELECT n, sum(i), count(*) FROM f JOIN c ON f.k IS NOT DISTINCT FROM c.k GROUP BY n")
        .await;
    s.pushed("SELECT n, sum(i) FROM f JOIN c ON f.k + f.h = c.k + 1 GROUP BY n")
        .await;
    s.pushed("SELECT a.h, sum(b.i) FROM f a JOIN f b ON a.k = b.k GROUP BY a.h")
        .await;
    s.pushed("SELECT k, count(*) FROM (SELECT k, h FROM f INTERSECT SELECT k, v FROM c JOIN g ON c.k = g.v) GROUP BY k").await;
}

#[tokio::test]
async fn deeper_joins() {
    let s = Sessions::new().await;
    for sql in [
        "SELECT n, m, sum(i), count(*) FROM f JOIN c ON f.k = c.k JOIN g ON f.h = g.h GROUP BY n, m",
        "SELECT m, sum(i), max(w), count(DISTINCT v) FROM f JOIN c ON f.k = c.k JOIN g ON f.h = g.h GROUP BY m",
        "SELECT m, max(i + w) FROM f JOIN c ON f.k = c.k JOIN g ON f.h = g.h GROUP BY m",
        "SELECT m, max(q.t), count(*) FROM (SELECT f.h, i + w AS t FROM f JOIN c ON f.k = c.k) q JOIN g ON q.h = g.h GROUP BY m",
        "SELECT m, sum(q.t), count(q.u) FROM (SELECT f.h, i + f.k AS t, d AS u FROM f JOIN c ON f.k = c.k) q LEFT JOIN g ON q.h = g.h GROUP BY m",
        "SELECT m, sum(i) FROM f JOIN (c JOIN g ON c.w - 4 = g.v) ON f.k = c.k GROUP BY m",
    ] {
        s.pushed(sql).await;
    }
}

#[tokio::test]
async fn queries_around_aggregates() {
    let s = Sessions::new().await;
    for sql in [
        "SELECT max(t), count(c) FROM (SELECT n, sum(i) AS t, count(*) AS c FROM f JOIN c ON f.k = c.k GROUP BY n)",
        "SELECT c, count(*) FROM (SELECT n, count(*) AS c FROM f JOIN c ON f.k = c.k GROUP BY n) GROUP BY c",
        "SELECT n, c, row_number() OVER (ORDER BY c, n) FROM (SELECT n, count(i) AS c FROM f JOIN c ON f.k = c.k GROUP BY n)",
        "SELECT n, sum(sum(i)) OVER (PARTITION BY count(*)) FROM f JOIN c ON f.k = c.k GROUP BY n",
        "SELECT n, count(*) AS q FROM f JOIN c ON f.k = c.k GROUP BY n ORDER BY q DESC, n LIMIT 2",
        "WITH a AS (SELECT n, count(*) AS q FROM f JOIN c ON f.k = c.k GROUP BY n) SELECT x.n, y.q FROM a x JOIN a y ON x.q = y.q",
        "SELECT n, count(*) FROM f JOIN c ON f.k = c.k GROUP BY n UNION ALL SELECT m, v FROM g",
        "SELECT m, v FROM g UNION ALL SELECT n, count(*) FROM f JOIN c ON f.k = c.k GROUP BY n",
        "SELECT m FROM g WHERE v < (SELECT count(*) FROM f JOIN c ON f.k = c.k)",
        "SELECT m, (SELECT sum(i) FROM f JOIN c ON f.k = c.k WHERE f.h = g.h) FROM g",
        "SELECT m, (SELECT count(*) FROM f JOIN c ON f.k = c.k WHERE f.h = g.h) FROM g",
        "SELECT m FROM g WHERE EXISTS (SELECT count(*) FROM f JOIN c ON f.k = c.k WHERE f.h = g.h)",
        "SELECT 1 + count(*), 2 * sum(i) / count(i) FROM f JOIN c ON f.k = c.k",
        "SELECT n, sum(q.i) FROM (SELECT k, i FROM f UNION ALL SELECT k, w FROM c) q JOIN c ON q.k = c.k GROUP BY n",
        "SELECT q.n, sum(f.i) FROM f JOIN (SELECT DISTINCT k, n FROM c LIMIT 100) q ON f.k = q.k GROUP BY q.n",
    ] {
        s.pushed(sql).await;
    }
    s.run("CREATE VIEW v AS SELECT n, count(*) AS q, sum(i) AS t FROM f JOIN c ON f.k = c.k GROUP BY n").await;
    s.pushed("SELECT * FROM v").await;
    s.pushed("SELECT q, max(t) FROM v GROUP BY q").await;
}

/// A table made of a query has the schema of its plan, and refuses rows of another.
#[tokio::test]
async fn tables_made_of_aggregates() {
    let s = Sessions::new().await;
    s.run("CREATE TABLE made AS SELECT n, count(*) AS q, sum(i) AS t FROM f JOIN c ON f.k = c.k GROUP BY n").await;
    s.stays("SELECT * FROM made").await;
    s.run("INSERT INTO made SELECT n, count(*), sum(i) FROM f JOIN c ON f.k = c.k GROUP BY n")
        .await;
    s.stays("SELECT * FROM made").await;
}

#[tokio::test]
async fn explain_shows_it() {
    let s = Sessions::new().await;
    let plan = rows(
        &s.forced,
        "EXPLAIN SELECT n, sum(i) FROM f JOIN c ON f.k = c.k GROUP BY n",
    )
    .await;
    let plan = plan.expect("a valid query").join("\n");
    assert!(plan.contains("__joinwright_part"), "{plan}");
    let plan = rows(
        &s.forced,
        "EXPLAIN ANALYZE SELECT n, sum(i) FROM f JOIN c ON f.k = c.k GROUP BY n",
    )
    .await;
    let plan = plan.expect("a valid query").join("\n");
    assert!(plan.contains("__joinwright_part"), "{plan}");
}

/// Expressions that fail for some value are not evaluated where there are rows that a join drops.
#[tokio::test]
async fn rows_that_joins_drop_may_be_bad() {
    let s = Sessions::new().await;
    s.run("CREATE TABLE bad (k INT, i INT, s VARCHAR, b BIGINT) AS VALUES (1, 1, '1', 1), (2, 2, '2', 2), (9, 0, 'bad', 9223372036854775807)").await;
    for argument in [
        "10 / i",
        "10 % i",
        "CAST(s AS INT)",
        "CAST(b AS INT)",
        "-9 / CAST(i AS BIGINT)",
        "CASE WHEN i > 0 THEN 1 ELSE 1 / i END",
    ] {
        for function in ["sum", "count"] {
            s.stays(&format!(
                "SELECT n, {function}({argument}) FROM bad JOIN c ON bad.k = c.k GROUP BY n"
            ))
            .await;
        }
        // Below the other side only.
        s.check_rows(&format!(
            "SELECT n, min({argument}) FROM bad JOIN c ON bad.k = c.k GROUP BY n"
        ))
        .await;
    }
    for argument in [
        "i / 10",
        "i % 3",
        "i * b",
        "CAST(s AS VARCHAR)",
        "TRY_CAST(s AS INT)",
        "CAST(i AS DOUBLE)",
    ] {
        s.pushed(&format!(
            "SELECT n, min({argument}) FROM bad JOIN c ON bad.k = c.k GROUP BY n"
        ))
        .await;
    }
}

#[tokio::test]
async fn decimals() {
    let s = Sessions::new().await;
    s.run("CREATE TABLE n38 (k INT, a DECIMAL(38, 2), b DECIMAL(30, 10), c DECIMAL(20, 0), t DECIMAL(9, 2)) AS VALUES
        (1, '999999999999999999999999999999999999.99', 1.5, '99999999999999999999', 1.25),
        (1, '-999999999999999999999999999999999999.99', 2.5, '99999999999999999999', NULL), (2, '3.25', 3.5, '1', 4.25), (2, NULL, NULL, NULL, NULL)",
    )
    .await;
    for column in [
        "a",
        "b",
        "c",
        "t",
        "arrow_cast(t, 'Decimal32(9, 2)')",
        "arrow_cast(t, 'Decimal64(18, 2)')",
        "arrow_cast(t, 'Decimal256(76, 2)')",
        "t * t",
    ] {
        for function in ["sum", "min", "max", "avg", "count"] {
            s.check_rows(&format!(
                "SELECT n, {function}({column}) FROM n38 JOIN c ON n38.k = c.k GROUP BY n"
            ))
            .await;
            s.check_rows(&format!(
                "SELECT {function}({column}) FROM n38 JOIN c ON n38.k = c.k"
            ))
            .await;
        }
    }
    s.pushed("SELECT n, sum(a), sum(b), sum(c), sum(t) FROM n38 JOIN c ON n38.k = c.k GROUP BY n")
        .await;
}

/// Sums of integers wrap around, in parts as in one piece.
#[tokio::test]
async fn sums_that_overflow() {
    let s = Sessions::new().await;
    s.run("CREATE TABLE big (k INT, b BIGINT, u BIGINT UNSIGNED) AS VALUES (1, 9223372036854775807, 18446744073709551615), (1, 9223372036854775807, 18446744073709551615), (2, -5, 7)").await;
    s.pushed("SELECT n, sum(b), sum(u) FROM big JOIN c ON big.k = c.k GROUP BY n")
        .await;
    s.pushed("SELECT sum(b), sum(u) FROM big JOIN c ON big.k = c.k")
        .await;
}

#[tokio::test]
async fn types_of_columns() {
    let s = Sessions::new().await;
    s.run("CREATE TABLE types AS SELECT k, i,
        arrow_cast(s, 'Dictionary(Int32, Utf8)') AS dict, arrow_cast(s, 'LargeUtf8') AS large, arrow_cast(s, 'Utf8View') AS view,
        arrow_cast(s, 'Binary') AS bin, arrow_cast('2020-01-01', 'Timestamp(Nanosecond, Some(\"UTC\"))') AS ts, CAST('2020-01-01' AS DATE) AS day,
        h = 1 AS flag, arrow_cast(i, 'Int8') AS tiny, arrow_cast(x, 'Float32') AS small,
        named_struct('p', i, 'q', s) AS st, [i, h] AS list, NULL AS nothing, arrow_cast(i, 'Duration(Second)') AS dur FROM f").await;
    for column in [
        "dict", "large", "view", "bin", "ts", "day", "flag", "tiny", "small", "st", "list",
        "nothing", "dur",
    ] {
        for function in ["min", "max", "count", "sum", "count(DISTINCT"] {
            let close = if function.contains('(') { ")" } else { "" };
            let open = if function.contains('(') { " " } else { "(" };
            for select in ["n, ", ""] {
                let group = if select.is_empty() { "" } else { " GROUP BY n" };
                let sql = format!(
                    "SELECT {select}{function}{open}{column}{close}{} FROM types JOIN c ON types.k = c.k{group}",
                    if close.is_empty() { ")" } else { "" }
                );
                s.check_rows(&sql).await;
            }
        }
        s.check_rows(&format!(
            "SELECT {column}, sum(i), count(*) FROM types JOIN c ON types.k = c.k GROUP BY {column}"
        ))
        .await;
        s.check_rows(&format!(
            "SELECT count(*) FROM types JOIN types t2 ON types.{column} = t2.{column}"
        ))
        .await;
        s.check_rows(&format!("SELECT t2.{column}, count(types.i) FROM types RIGHT JOIN types t2 ON types.{column} = t2.{column} GROUP BY t2.{column}")).await;
    }
    s.check_rows(
        "SELECT n, sum(st['p']), max(list[1]) FROM types JOIN c ON types.k = c.k GROUP BY n",
    )
    .await;
}

#[tokio::test]
async fn names() {
    let s = Sessions::new().await;
    s.run("CREATE TABLE \"Odd Names\" (k INT, \"I\" INT, i INT, \"a.b\" INT, \"__joinwright_part_0\" INT, \"SUM(x)\" INT) AS VALUES (1, 1, 2, 3, 4, 5), (1, 10, 20, 30, 40, 50), (2, NULL, 5, 6, 7, 8)").await;
    for sql in [
        "SELECT n, sum(\"I\"), sum(i), sum(\"a.b\"), sum(\"__joinwright_part_0\"), sum(\"SUM(x)\") FROM \"Odd Names\" o JOIN c ON o.k = c.k GROUP BY n",
        "SELECT \"a.b\", \"I\", \"__joinwright_part_0\", count(*) AS \"__joinwright_part_1\" FROM \"Odd Names\" o JOIN c ON o.k = c.k GROUP BY \"a.b\", \"I\", \"__joinwright_part_0\"",
        "SELECT \"Q\".\"N\", sum(\"Q\".\"X Y\") FROM (SELECT \"I\" AS \"X Y\", c.n AS \"N\", o.k AS \"K\" FROM \"Odd Names\" o JOIN c ON o.k = c.k) \"Q\" JOIN g ON g.v = \"Q\".\"K\" GROUP BY \"Q\".\"N\"",
        // The same names on both sides.
        "SELECT a.n, b.n, count(a.n), max(b.n) FROM c a JOIN c b ON a.k = b.k GROUP BY a.n, b.n",
        "SELECT l.k, sum(r.i), sum(r.k), max(l.i) FROM (SELECT k, i FROM f) l JOIN (SELECT k, i FROM f) r ON l.k = r.k GROUP BY l.k",
        "SELECT l.k, count(r.k) FROM f l LEFT JOIN f r ON l.k = r.k AND l.i = r.i GROUP BY l.k",
        "SELECT k, sum(i) FROM f JOIN c USING (k) GROUP BY k",
        "SELECT sum(i) AS n, n AS i FROM f NATURAL JOIN c GROUP BY n",
    ] {
        s.pushed(sql).await;
    }
}

/// A function goes by what it does, not by its name.
#[tokio::test]
async fn functions_of_the_user() {
    let s = Sessions::new().await;
    for context in [&s.alone, &s.forced] {
        let named = stddev_udaf()
            .as_ref()
            .clone()
            .with_aliases(["sum", "count"]);
        context.register_udaf(named);
    }
    s.stays("SELECT n, sum(x) FROM f JOIN c ON f.k = c.k GROUP BY n")
        .await;
    // Its own sum and count are those of the engine.
    s.pushed("SELECT n, avg(x) FROM f JOIN c ON f.k = c.k GROUP BY n")
        .await;
}

#[tokio::test]
async fn prepared_statements() {
    let s = Sessions::new().await;
    s.run("PREPARE p(INT) AS SELECT n, sum(i + $1), count(*) FROM f JOIN c ON f.k = c.k WHERE w > $1 GROUP BY n")
        .await;
    s.pushed("EXECUTE p(5)").await;
}

/// No plan over small tables is slow enough.
#[tokio::test]
async fn small_tables_are_left_alone() {
    let s = Sessions::new().await;
    let sql = "SELECT n, sum(i) FROM f JOIN c ON f.k = c.k GROUP BY n";
    s.pushed(sql).await;
    set(&s.forced, "eager_min_rows", "10000");
    s.stays(sql).await;
    set(&s.forced, "eager_min_rows", "0");
    set(&s.forced, "eager_aggregation", "false");
    s.stays(sql).await;
}
