//! The plans that the rule makes, as text to be read in review.

use crate::support::{absurd_ordering, optimized, session, set, table};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use joinwright_optimizer::enumerate::{Adaptive, Enumerator, Problem, Solution};
use joinwright_optimizer::estimate::{Cardinalities, CardinalityEstimator, Textbook};
use joinwright_optimizer::query_graph::QueryGraph;
use joinwright_optimizer::{JoinOrdering, TraceLog};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `t0` has 1,000 rows, `t1` 100, `t2` 10 and `t3` one. Nothing else is known of them, so every
/// column counts as a key.
fn tables() -> Vec<Arc<MemTable>> {
    [1000, 100, 10, 1]
        .into_iter()
        .map(|n| table(&(0..n).map(|i| [Some(i); 3]).collect::<Vec<_>>()))
        .collect()
}

/// The optimized plan of a query, and the log of what the rule did.
async fn plan(sql: &str, options: &[(&str, &str)]) -> (String, TraceLog) {
    let log = TraceLog::default();
    let ordering = JoinOrdering {
        trace: Some(log.clone()),
        ..JoinOrdering::default()
    };
    let context = session(&tables(), Some(ordering));
    for (key, value) in options {
        set(&context, key, value);
    }
    let plan = optimized(&context, sql).await.expect("a valid query");
    (plan.display_indent().to_string(), log)
}

#[tokio::test]
async fn the_small_tables_come_first() {
    let (plan, log) = plan(
        "SELECT a.s FROM t0 a, t1 b, t2 c, t3 d WHERE a.k0 = b.k0 AND b.k1 = c.k1 AND c.k2 = d.k2",
        &[],
    )
    .await;
    insta::assert_snapshot!(plan, @r"
    Projection: a.s
      Inner Join: b.k0 = a.k0
        Projection: b.k0
          Inner Join: c.k1 = b.k1
            Projection: c.k1
              Inner Join: d.k2 = c.k2
                SubqueryAlias: d
                  TableScan: t3 projection=[k2]
                SubqueryAlias: c
                  TableScan: t2 projection=[k1, k2]
            SubqueryAlias: b
              TableScan: t1 projection=[k0, k1]
        SubqueryAlias: a
          TableScan: t0 projection=[k0, s]
    ");
    let traces = log.take();
    assert_eq!(traces.len(), 1);
    assert!(traces[0].reordered && traces[0].cost < traces[0].written_cost);
    assert_eq!(traces[0].stop, "exact");
    assert_eq!(traces[0].pairs, 10, "a chain of 4 has (4³ - 4) / 6 pairs");
}

#[tokio::test]
async fn equalities_close_transitively() {
    // c and d are connected through a alone, and yet joined with each other first.
    let (plan, log) = plan(
        "SELECT a.s FROM t0 a, t1 b, t2 c WHERE a.k0 = b.k0 AND a.k0 = c.k0",
        &[],
    )
    .await;
    insta::assert_snapshot!(plan, @r"
    Projection: a.s
      Inner Join: b.k0 = a.k0
        Projection: b.k0
          Inner Join: c.k0 = b.k0
            SubqueryAlias: c
              TableScan: t2 projection=[k0]
            SubqueryAlias: b
              TableScan: t1 projection=[k0]
        SubqueryAlias: a
          TableScan: t0 projection=[k0, s]
    ");
    assert_eq!(
        log.take()[0].pairs,
        6,
        "a clique of 3 has (3³ - 2⁴ + 1) / 2 pairs"
    );
}

#[tokio::test]
async fn regions_go_on_below_renaming_projections() {
    // Both sub-queries use the alias `b`: one of the leaves must be renamed.
    let (plan, log) = plan(
        "SELECT x.u, y.v FROM (SELECT a.k0 AS u, b.k1 AS w FROM t0 a JOIN t1 b ON a.k0 = b.k0) x \
         JOIN (SELECT b.k1 AS v, c.k2 AS w FROM t3 b JOIN t2 c ON b.k2 = c.k2) y ON x.w = y.w",
        &[],
    )
    .await;
    insta::assert_snapshot!(plan, @r"
    Projection: a.k0 AS u, __joinwright_2.k1:1 AS v
      Inner Join: b.k0 = a.k0
        Projection: __joinwright_2.k1:1, b.k0
          Inner Join: __joinwright_2.k2:2 = b.k1
            Projection: __joinwright_2.k1:1, __joinwright_2.k2:2
              Inner Join: __joinwright_2.k2:2 = c.k2
                Projection: b.k1 AS k1:1, b.k2 AS k2:2
                  SubqueryAlias: b
                    TableScan: t3 projection=[k1, k2]
                SubqueryAlias: c
                  TableScan: t2 projection=[k2]
            SubqueryAlias: b
              TableScan: t1 projection=[k0, k1]
        SubqueryAlias: a
          TableScan: t0 projection=[k0]
    ");
    let traces = log.take();
    let mut aliases: Vec<&str> = traces[0]
        .relations
        .iter()
        .map(|r| r.alias.as_str())
        .collect();
    aliases.sort_unstable();
    assert_eq!(aliases, ["a", "b", "b#2", "c"]);
}

#[tokio::test]
async fn predicates_on_three_relations_are_applied_once() {
    let (plan, _) = plan(
        "SELECT a.s FROM t0 a, t1 b, t2 c \
         WHERE a.k0 = b.k0 AND b.k1 = c.k1 AND a.k2 + b.k2 > c.k2 AND a.k1 < c.k0",
        &[],
    )
    .await;
    insta::assert_snapshot!(plan, @r"
    Projection: a.s
      Inner Join: b.k0 = a.k0 Filter: a.k2 + b.k2 > c.k2 AND c.k0 > a.k1
        Projection: c.k0, c.k2, b.k0, b.k2
          Inner Join: c.k1 = b.k1
            SubqueryAlias: c
              TableScan: t2 projection=[k0, k1, k2]
            SubqueryAlias: b
              TableScan: t1 projection=[k0, k1, k2]
        SubqueryAlias: a
          TableScan: t0 projection=[k0, k1, k2, s]
    ");
}

#[tokio::test]
async fn leaves_may_be_sub_plans_with_regions_of_their_own() {
    let (plan, log) = plan(
        "SELECT a.s, agg.n FROM t0 a JOIN \
         (SELECT b.k0 AS g, sum(c.k0 + d.k0) AS n FROM t0 b, t1 c, t3 d \
          WHERE b.k1 = c.k1 AND c.k2 = d.k2 GROUP BY b.k0) agg ON a.k0 = agg.g \
         JOIN t2 e ON a.k1 = e.k1",
        &[],
    )
    .await;
    insta::assert_snapshot!(plan, @r"
    Projection: a.s, agg.n
      Inner Join: a.k1 = e.k1
        Projection: a.k1, a.s, agg.n
          Inner Join: a.k0 = agg.g
            SubqueryAlias: a
              TableScan: t0 projection=[k0, k1, s]
            SubqueryAlias: agg
              Projection: b.k0 AS g, sum(c.k0 + d.k0) AS n
                Aggregate: groupBy=[[b.k0]], aggr=[[sum(CAST(c.k0 + d.k0 AS Int64))]]
                  Projection: b.k0, c.k0, d.k0
                    Inner Join: c.k1 = b.k1
                      Projection: d.k0, c.k0, c.k1
                        Inner Join: d.k2 = c.k2
                          SubqueryAlias: d
                            TableScan: t3 projection=[k0, k2]
                          SubqueryAlias: c
                            TableScan: t1 projection=[k0, k1, k2]
                      SubqueryAlias: b
                        TableScan: t0 projection=[k0, k1]
        SubqueryAlias: e
          TableScan: t2 projection=[k1]
    ");
    let traces = log.take();
    let regions: Vec<(usize, usize)> = traces
        .iter()
        .map(|t| (t.region, t.relations.len()))
        .collect();
    assert_eq!(regions, [(0, 3), (1, 3)], "the outer region comes first");
}

#[tokio::test]
async fn outer_joins_take_part() {
    let (_, log) = plan(
        "SELECT a.s FROM t0 a LEFT JOIN t1 b ON a.k0 = b.k0 JOIN t3 c ON a.k1 = c.k1",
        &[],
    )
    .await;
    let traces = log.take();
    let aliases = traces[0].relations.iter().map(|r| r.alias.as_str());
    assert_eq!(
        aliases.collect::<BTreeSet<_>>(),
        BTreeSet::from(["a", "b", "c"])
    );
    assert!(traces[0].reordered, "{}", traces[0].stop);
}

#[tokio::test]
async fn nothing_changes_when_nothing_is_to_gain_or_known() {
    let sql = "SELECT a.s FROM t0 a, t1 b, t2 c, t3 d \
               WHERE a.k0 = b.k0 AND b.k1 = c.k1 AND c.k2 = d.k2";
    let unchanged = {
        let context = session(&tables(), None);
        let plan = optimized(&context, sql).await.expect("a valid query");
        plan.display_indent().to_string()
    };
    for options in [
        &[("enabled", "false")],
        &[("min_gain", "0.999999")],
        &[("enumerator", "written")],
        // An unknown part is reported, not an error of the query.
        &[("estimator", "crystal_ball")],
    ] {
        let (plan, _) = plan(sql, options).await;
        assert_eq!(plan, unchanged, "{options:?}");
    }
}

#[tokio::test]
async fn tables_of_unknown_size_keep_the_written_order() {
    let log = TraceLog::default();
    let ordering = JoinOrdering {
        trace: Some(log.clone()),
        ..JoinOrdering::default()
    };
    let context = session(&tables(), Some(ordering));
    let folder = std::env::temp_dir().join(format!("joinwright-plans-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    std::fs::write(folder.join("u.csv"), "k0,k1\n1,2\n").expect("a file");
    let create = format!(
        "CREATE EXTERNAL TABLE u (k0 INT, k1 INT) STORED AS CSV LOCATION '{}' \
         OPTIONS ('format.has_header' 'true')",
        folder.join("u.csv").display()
    );
    context.sql(&create).await.expect("a table of a CSV file");
    let sql = "SELECT a.s FROM t0 a, t1 b, u WHERE a.k0 = b.k0 AND b.k1 = u.k1";
    optimized(&context, sql).await.expect("a valid query");
    assert_eq!(log.take()[0].stop, "no_statistics");
    set(&context, "require_statistics", "false");
    optimized(&context, sql).await.expect("a valid query");
    assert_eq!(log.take()[0].stop, "exact");
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
}

#[tokio::test]
async fn one_plan_for_one_query() {
    let sql = "SELECT count(*) FROM t0 a, t1 b, t2 c, t3 d, t1 e, t2 f \
               WHERE a.k0 = b.k0 AND b.k1 = c.k1 AND c.k2 = d.k2 AND a.k1 = e.k1 AND e.k2 = f.k2";
    let (first, _) = plan(sql, &[]).await;
    for _ in 0..5 {
        assert_eq!(plan(sql, &[]).await.0, first);
    }
}

#[tokio::test]
async fn a_tower_of_outer_joins_is_planned_in_time() {
    // Each level asks for the one below several times: without a memory that would be 3^40 times.
    let mut from = "t0 AS a0".to_owned();
    for level in 1..40 {
        from = format!("({from} LEFT JOIN t1 AS a{level} ON a0.k0 = a{level}.k0)");
    }
    let sql = format!("SELECT a0.k1 FROM {from} JOIN t2 AS b ON a0.k1 = b.k1");
    let (plan, log) = plan(&sql, &[]).await;
    assert!(plan.contains("a39"), "{plan}");
    assert_eq!(log.take().len(), 1);
}

/// Counts how often a region is prepared.
#[derive(Debug)]
struct Counting(Arc<AtomicUsize>);

impl CardinalityEstimator for Counting {
    fn name(&self) -> &str {
        "counting"
    }

    fn prepare(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Textbook.prepare(graph)
    }
}

#[tokio::test]
async fn a_region_is_estimated_once_a_query() {
    let count = Arc::new(AtomicUsize::new(0));
    let mut ordering = JoinOrdering::default();
    let counting = Arc::new(Counting(Arc::clone(&count)));
    ordering.registry.add_estimator(counting);
    let context = session(&tables(), Some(ordering));
    set(&context, "estimator", "counting");
    let sql = "SELECT a.s FROM t0 a, t1 b, t2 c WHERE a.k0 = b.k0 AND b.k1 = c.k1";
    for queries in 1..3 {
        optimized(&context, sql).await.expect("a valid query");
        // The rule sees the region in each pass; another query is another decision.
        assert_eq!(count.load(Ordering::Relaxed), queries);
    }
}

/// Counts how often a region is searched.
#[derive(Debug)]
struct CountingSearch(Arc<AtomicUsize>);

impl Enumerator for CountingSearch {
    fn name(&self) -> &str {
        "counting"
    }

    fn search(&self, problem: &Problem<'_>) -> Solution {
        self.0.fetch_add(1, Ordering::Relaxed);
        Adaptive.search(problem)
    }
}

/// A session whose searches are counted.
fn counted_searches() -> (SessionContext, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let mut ordering = JoinOrdering::default();
    let counting = Arc::new(CountingSearch(Arc::clone(&count)));
    ordering.registry.add_enumerator(counting);
    let context = session(&tables(), Some(ordering));
    set(&context, "enumerator", "counting");
    (context, count)
}

#[tokio::test]
async fn regions_that_look_alike_are_searched_each() {
    let (context, count) = counted_searches();
    // Of one shape, with as many rows, and written in the best order: what was decided of one says nothing of the other.
    let part = |key: u32| {
        format!(
            "SELECT a.s FROM t2 c, t1 b, t0 a WHERE a.k0 = b.k0 AND b.k1 = c.k1 AND c.k2 = {key}"
        )
    };
    let sql = format!("{} UNION ALL {}", part(3), part(5));
    optimized(&context, &sql).await.expect("a valid query");
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_region_in_other_words_is_searched_once() {
    let (context, count) = counted_searches();
    // Between its passes the optimizer drops what is said twice, and computes once what filters use twice.
    let sql = "SELECT a.s FROM t0 a, t1 b, t2 c WHERE a.k0 = b.k0 AND b.k1 = c.k1 \
        AND (c.k2 = 3 OR c.k2 = 5 OR c.k2 = 3) AND ((a.k1 = 3 AND b.k2 > 3) OR (a.k1 = 4 AND b.k2 > 5))";
    optimized(&context, sql).await.expect("a valid query");
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_guard_keeps_what_estimates_are_not_sure_of() {
    let sql =
        "SELECT a.s FROM t0 a, t1 b, t2 c, t3 d WHERE a.k0 = b.k0 AND b.k1 = c.k1 AND c.k2 = d.k2";
    let mut reordered = vec![];
    for boldness in ["0", "0.3", "1"] {
        let mut cases = 0;
        for seed in 0..20 {
            let (ordering, log) = absurd_ordering(seed);
            let context = session(&tables(), Some(ordering));
            set(&context, "estimator", "absurd");
            set(&context, "boldness", boldness);
            optimized(&context, sql).await.expect("a valid query");
            let trace = log.take().remove(0);
            let sure: f64 = 1.0 - boldness.parse::<f64>().unwrap();
            if trace.reordered {
                cases += 1;
                assert!(trace.won.is_none_or(|won| won >= sure), "{:?}", trace.won);
            } else if trace.stop == "guarded" {
                assert!(trace.won.unwrap() < sure);
                assert_eq!(format!("{:?}", trace.tree), format!("{:?}", trace.written));
            }
        }
        reordered.push(cases);
    }
    assert!(
        reordered.is_sorted() && reordered[0] < reordered[2],
        "{reordered:?}"
    );
}
